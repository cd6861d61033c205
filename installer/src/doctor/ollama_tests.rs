//! What the checks of the Ollamas make of files, logs and Ollama's own children.

use super::guest::{api, guest, json, logging, of, reached, said, seeing, unreached};
use super::tests::{examine, examine_host, verdicts};
use crate::host::memory::Memory;
use crate::probe::link::Trouble;
use crate::probe::runner::{self, RunnerSeen};

const DEVICE: &str = "Available devices:\n  CUDA0: Sim 999 (81920 MiB, 81000 MiB free)\n";

fn listing(listed: &str, log: &str) -> Memory {
    seeing(&reached(), &api())
        .answering("--list-devices", said(listed, log))
        .answering("gpu-discover", said("{\"devices\":1}", ""))
}

fn files(text: &str) -> String {
    format!("file /usr/local/bin/ollama x\n{text}")
}

fn install(text: &str) -> Vec<String> {
    verdicts(&examine("ollama.install", &files(text)))
}

#[test]
fn installs_that_cannot_be_served_are_told() {
    let bundle = "file /usr/local/lib/ollama/cuda_v13/libggml-cuda.so x";
    assert_eq!(install(bundle), ["ok"]);
    let two = format!("{bundle}\nfile /usr/bin/ollama x\ndir /usr/lib/ollama");
    assert_eq!(install(&two), ["warn U14"]);
    assert_eq!(install("file /usr/local/lib/ollama/libggml-cuda.so x"), ["warn P08"]);
    let packaged = |version: &str| {
        let text = format!(
            "file /usr/bin/ollama x\nfile /usr/lib/ollama/cuda_v13/libggml-cuda.so x
             dir /var/lib/pacman/local/ollama-{version}-1"
        );
        verdicts(&examine("ollama.install", &text))
    };
    assert_eq!(packaged("0.12.3"), ["warn P08"]);
    assert_eq!(packaged("0.12.4"), ["ok"]);
    let left = format!("{bundle}\ndir /usr/lib/ollama");
    assert_eq!(install(&left), ["ok", "warn U14"]);
    let mixed = "link /usr/local/lib/ollama -> /opt/other/lib/ollama
                 file /opt/other/lib/ollama/cuda_v13/libggml-cuda.so x";
    assert_eq!(install(mixed), ["fail U14"]);
    assert_eq!(install(&format!("{bundle}\nfile /.dockerenv x")), ["warn U30"]);
    let none = examine("ollama.install", "dir /usr");
    assert_eq!(verdicts(&none), ["fail"]);
    assert!(none[0].remedy.as_deref().unwrap().starts_with("curl "), "{none:?}");
}

#[test]
fn homebrews_ollama_is_told() {
    let unit = "file /etc/systemd/system/ollama.service [Service]\\n\
                ExecStart=/var/linuxbrew/bin/ollama serve
                file /var/linuxbrew/bin/ollama x
                dir /var/linuxbrew/lib/ollama";
    assert_eq!(verdicts(&examine("ollama.install", unit)), ["warn U29"]);
}

#[test]
fn bundles_that_lack_something_are_told() {
    let bundle = |text: &str| verdicts(&examine("ollama.bundle", &files(text)));
    assert_eq!(bundle("file /usr/local/lib/ollama/cuda_v13/libggml-cuda.so x"), ["ok"]);
    assert_eq!(bundle("dir /usr/local/lib/ollama/cuda_v12"), ["fail F18"]);
    assert_eq!(bundle("dir /usr/local/lib/ollama"), ["fail U08"]);
    let arch = "dir /usr/local/lib/ollama\nfile /etc/os-release ID=arch";
    assert_eq!(bundle(arch), ["fail U08 U33"]);
    assert_eq!(verdicts(&examine("ollama.bundle", "dir /usr")), ["skipped"]);
    let theirs = "file /usr/local/lib/ollama/cuda_v13/libggml-cuda.so x
                  elf /usr/local/lib/ollama/cuda_v13/libcudart.so.13 soname=libcudart.so.13";
    assert_eq!(bundle(theirs), ["ok"]);
    assert_eq!(bundle(&format!("{theirs} note=vgpu")), ["fail F29"]);
}

#[test]
fn ollamas_own_children_are_asked_and_timed() {
    let found = examine_host("ollama.discovery", &listing(DEVICE, ""));
    assert_eq!(verdicts(&found), ["ok"]);
    let told = found[0].evidence.join("\n");
    assert!(told.contains("llama-server --list-devices took 0.00 s"), "{told}");
    assert!(told.contains("gpu-discover: {\"devices\":1}"), "{told}");
    let log = "load_backend: failed to load libggml-cuda.so: libcuda.so.1: cannot open\nother";
    let found = examine_host("ollama.discovery", &listing("Available devices:\n", log));
    assert_eq!(verdicts(&found), ["fail F03 U39"]);
    assert!(found[0].evidence[0].starts_with("load_backend: failed"), "{found:?}");
}

/// A packaged Ollama of a version without a `llama-server`.
fn packaged(version: &str) -> Memory {
    let text = format!(
        "file /usr/bin/ollama x\nfile /usr/lib/ollama/cuda_v13/libggml-cuda.so x
         dir /var/lib/pacman/local/ollama-{version}-1"
    );
    Memory::described(&text).running()
}

#[test]
fn a_runner_is_asked_by_an_ollama_that_starts_one() {
    let device = runner::Device {
        id: "GPU-9".into(),
        backend: "CUDA".into(),
        name: "CUDA0".into(),
        description: "Sim 999".into(),
        total_memory: 99 << 20,
        free_memory: 9 << 20,
    };
    let cpu = runner::Device { backend: "cpu".into(), ..device.clone() };
    let seen = |devices: Vec<runner::Device>, took_ms, trouble: Option<&str>| {
        json(&RunnerSeen { devices, took_ms, trouble: trouble.map(Into::into) })
    };
    let found = |version: &str, outcome| {
        let host = packaged(version).answering("examine runner --program /usr/bin/ollama", outcome);
        (examine_host("ollama.discovery", &host), host.commands())
    };
    let (fine, commands) = found("0.24.0", seen(vec![cpu.clone(), device.clone()], 999, None));
    assert_eq!(verdicts(&fine), ["ok"]);
    assert_eq!(fine[0].cause, "Ollama's children find CUDA0: Sim 999 (99 MiB, 9 MiB free)");
    assert_eq!(commands.iter().filter(|line| line.contains("examine runner")).count(), 2);
    // Its limit is twice that of the later child.
    assert_eq!(verdicts(&found("0.12.4", seen(vec![device], 16_000, None)).0), ["warn U18"]);
    assert_eq!(verdicts(&found("0.12.4", seen(vec![cpu], 9, None)).0), ["fail F03 U39"]);
    let (late, _) = found("0.23.1", seen(vec![], 30_001, Some("it gave no answer within 30 s")));
    assert_eq!(verdicts(&late), ["fail F03 U39", "fail U05"]);
    let told = late[0].evidence.join("\n");
    assert!(told.contains("runner: it gave no answer within 30 s"), "{told}");
}

#[test]
fn an_ollama_that_has_no_child_to_ask_is_not_asked() {
    let unknown = "file /usr/local/bin/ollama x
                   file /usr/local/lib/ollama/cuda_v13/libggml-cuda.so x";
    for (host, why) in [
        (Memory::described(unknown).running(), "needs the version of /usr/local/bin/ollama"),
        (packaged("0.12.3"), "needs Ollama 0.12.4 or later"),
        (packaged("0.30.1"), "needs /usr/lib/ollama/llama-server"),
    ] {
        let found = examine_host("ollama.discovery", &host);
        assert_eq!(verdicts(&found), ["skipped"]);
        assert!(found[0].cause.starts_with(why), "{found:?}");
        let asked = host.commands().into_iter().filter(|line| line.contains("ollama"));
        assert_eq!(asked.filter(|line| line.contains("examine")).count(), 0);
    }
}

#[test]
fn a_bundle_that_was_not_built_for_the_gpu_is_told() {
    let arch = |log: &str| of("ollama.arch", &listing(DEVICE, log));
    assert_eq!(arch("system_info: CUDA : ARCHS = 750,800,900 | USE_GRAPHS = 1 |"), ["ok"]);
    assert_eq!(arch("system_info: CUDA : ARCHS = 750,1000 | F16 = 1"), ["fail F71 U13"]);
    assert_eq!(arch(""), ["skipped"]);
    let logged = logging(listing(DEVICE, ""), "system_info: CUDA : ARCHS = 900 |\n");
    assert_eq!(of("ollama.arch", &logged), ["ok"]);
}

#[test]
fn the_log_says_what_the_service_found() {
    let log = |lines: &str| of("ollama.log", &logging(listing(DEVICE, ""), lines));
    assert_eq!(log("msg=\"inference compute\" id=0 library=CUDA compute=9.0\n"), ["ok"]);
    let cpu = "msg=\"inference compute\" id=cpu library=cpu\n";
    assert_eq!(log(cpu), ["fail U17"], "a host answers now");
    let away = seeing(&unreached(Trouble::Absent), &api());
    assert_eq!(of("ollama.log", &logging(away, cpu)), ["fail"]);
    for (line, row) in [
        ("load_tensors: offloaded 0/33 layers to GPU", "warn F81"),
        ("client connection closed before server finished loading, aborting load", "warn F83"),
        ("CUDA error: unspecified launch failure", "warn U23"),
        ("mlx runner failed", "warn U27"),
        ("filtering device which didn't fully initialize", "warn"),
    ] {
        assert_eq!(log(line), ["skipped", row], "{line}");
    }
    assert_eq!(of("ollama.log", &guest().answering("examine link", json(&reached()))), ["skipped"]);
}
