//! A guest in memory whose children see what a test says.

use serde::Serialize;

use super::tests::{examine_host, verdicts};
use crate::host::Outcome as Ended;
use crate::host::memory::Memory;
use crate::probe::api::{ApiSeen, Kernel, Memory as Copied, Pace, Properties};
use crate::probe::calls::{Card, NvmlSeen, Refusal};
use crate::probe::link::{
    Connected, DeviceSeen, Failed, HostSeen, LinkSeen, Outcome, StateSeen, Trouble, Try,
};

/// The running machine with an Ollama of 0.30 for CUDA 13 and its unit.
pub(super) fn guest() -> Memory {
    Memory::described(
        "file /etc/systemd/system/ollama.service [Service]\\nUser=ollama\\n\
         ExecStart=/usr/local/bin/ollama serve
         file /etc/passwd ollama:x:997:996::/x:/bin/false
         file /etc/group vgpu:x:900:\\nollama:x:996:
         file /usr/local/bin/ollama x
         file /usr/local/lib/ollama/llama-server x
         file /usr/local/lib/ollama/cuda_v13/libggml-cuda.so x
         file /usr/bin/systemctl x
         file /usr/bin/journalctl x",
    )
    .running()
}

/// What a program prints that ends well.
pub(super) fn said(stdout: &str, stderr: &str) -> Ended {
    let (stdout, stderr) = (stdout.into(), stderr.into());
    Ended { status: Some(0), stdout, stderr, ..Ended::default() }
}

pub(super) fn json(seen: &impl Serialize) -> Ended {
    said(&serde_json::to_string(seen).unwrap(), "")
}

/// A guest whose children see this.
pub(super) fn seeing(link: &LinkSeen, api: &ApiSeen) -> Memory {
    guest().answering("examine link", json(link)).answering("examine api", json(api))
}

/// A guest whose service logged these lines.
pub(super) fn logging(host: Memory, lines: &str) -> Memory {
    host.with_systemd()
        .answering("InvocationID", said("InvocationID=99aa\n", ""))
        .answering("_SYSTEMD_INVOCATION_ID=99aa", said(lines, ""))
}

/// Verdict and rows of one check on a guest.
pub(super) fn of(check: &str, host: &Memory) -> Vec<String> {
    verdicts(&examine_host(check, host))
}

pub(super) fn device() -> DeviceSeen {
    DeviceSeen {
        name: "Sim 999".into(),
        uuid: "GPU-99999999-0000-0000-0000-000000000000".into(),
        pci: "0000:01:00.0".into(),
        total_bytes: 999 << 30,
        attributes: vec![(18, 0), (41, 1), (75, 9), (76, 0), (97, 232448)],
        state: Ok(StateSeen { used_bytes: 0, free_bytes: 999 << 30, clients: Vec::new() }),
    }
}

pub(super) fn connected() -> Connected {
    Connected {
        host_version: env!("CARGO_PKG_VERSION").into(),
        wire_version: 1,
        epoch: 17,
        sessions: (1, Some(2)),
        handshake_us: 100,
        round_trip_ns: (20_000, 40_000),
        host: Ok(HostSeen {
            cuda_version: 13000,
            driver: "580.99.1".into(),
            capabilities: 7,
            devices: vec![device()],
        }),
    }
}

/// One link with this outcome.
pub(super) fn link(outcome: Outcome) -> LinkSeen {
    let one = Try { uri: "unix:/run/x".into(), socket: Some((0o660, 0, 900)), outcome };
    LinkSeen { origin: "the default".into(), tries: vec![one], ..LinkSeen::default() }
}

pub(super) fn reached() -> LinkSeen {
    link(Outcome::Connected(Box::new(connected())))
}

pub(super) fn unreached(trouble: Trouble) -> LinkSeen {
    let (error, errno) = ("connecting to unix:/run/x".into(), Some(13));
    link(Outcome::Failed(Failed { trouble, error, errno, file: None, hint: None }))
}

pub(super) fn card() -> Card {
    let DeviceSeen { name, uuid, pci, total_bytes, .. } = device();
    Card { name, uuid, pci, total_bytes }
}

/// An API in which all is well.
pub(super) fn api() -> ApiSeen {
    let nvml_card = Card { pci: "00000000:01:00.0".into(), ..card() };
    let nvml = NvmlSeen { driver: "580.99.1".into(), cuda_version: 13000, card: nvml_card };
    let copies = vec![(0x9900, None), (0x19900, None), (0x29900, None)];
    ApiSeen {
        driver: Ok((13000, 1)),
        card: Ok(card()),
        nvml: Ok(nvml),
        runtime: Ok(Properties { card: card(), attributes: vec![(75, 9), (97, 232448)] }),
        attributes: device().attributes,
        memory: Ok(Copied { free_before: 9, free_after: 9, total: 99, copies }),
        kernel: Ok(Kernel {
            wrong: None,
            threads_max: 1024,
            missing_kernel: Some(500),
            wild_free: Some(1),
        }),
        blas: Ok(0),
        graph: Ok(true),
        pace: Ok(Pace {
            call_ns: (30_000, 60_000),
            submit_ns: (100, 900),
            bytes_per_second: (999_000_000, 999_000_000),
        }),
    }
}

pub(super) fn refusal(function: &str, code: u32) -> Refusal {
    Refusal { function: function.into(), code: Some(code) }
}
