//! A report tells what is wrong, and nothing of what is private: secrets of every kind are planted
//! in everything that it is made of, and none is found in it.

use std::os::unix::fs::MetadataExt;

use crate::guest::{self, Guest};
use clap::Parser;
use serde_json::Value;
use vgpu_install::cli::{Line, Options};
use vgpu_install::host::Outcome;
use vgpu_install::host::memory::Memory;
use vgpu_install::report;

/// What nobody else may learn, each planted somewhere below.
const PRIVATE: [&str; 27] = [
    "hunter8-of-ollama",
    "hunter9-of-ollama",
    "userinfo-999",
    "2001:db8:99::8",
    "fe80::99ff:fe00:7",
    "52-54-00-99-00-08",
    "hunter2-in-unit",
    "two words of a secret",
    "hunter3-in-file",
    "hunter4-in-preload",
    "hunter5-in-log",
    "hunter6-in-manifest",
    "hunter7-of-proxy",
    "hf_Abcdefgh1234567890",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
    "AAAAC3NzaC1lZDI1NTE5AAAAIPlanted",
    "plain-value-999",
    "192.168.44.9",
    "203.0.113.77",
    "fd00:99::7",
    "52:54:00:99:00:07",
    "gpubox",
    "corp.example.net",
    "gpu-of-the-host",
    "mallory",
    "trudy",
    "someone@example.org",
];

fn options() -> Options {
    Line::try_parse_from(["vgpu-install", "report"]).unwrap().options
}

fn said(text: &str) -> Outcome {
    Outcome { status: Some(0), stdout: text.into(), ..Outcome::default() }
}

fn machine() -> Memory {
    let home = ["/home", "/trudy/models"].concat();
    let unit = format!(
        "[Service]\\nExecStart=/usr/local/bin/ollama serve\\nUser=ollama\\n\
         Environment=\"API_TOKEN=two words of a secret\" DB_PASSWORD=hunter2-in-unit\\n\
         Environment=COLOUR=plain-value-999 OLLAMA_MODELS={home}\\n\
         Environment=OLLAMA_API_KEY=hunter8-of-ollama\\n\
         Environment=HTTPS_PROXY=http://mallory:hunter7-of-proxy@proxy.corp.example.net:3128\\n\
         EnvironmentFile=/etc/ollama.env"
    );
    let manifest =
        "{\"schema_version\":1,\"note\":\"Environment=\\\"A_SECRET=hunter6-in-manifest\\\"\"}";
    let log = "2026-01-01T00:00:00+0000 ollama[9]: routes OLLAMA_HOST:http://192.168.44.9:11434\n\
               POST from 203.0.113.77 and fd00:99::7 by 52:54:00:99:00:07 password=hunter5-in-log\n\
               Authorization: Bearer hf_Abcdefgh1234567890 for someone@example.org at gpubox\n\
               http://userinfo-999@[2001:db8:99::8]:80/ via fe80::99ff:fe00:7%eth0\n\
               link/ether 52-54-00-99-00-08 OLLAMA_KEY:hunter9-of-ollama\n\
               jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl\n\
               Your new public key is: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPlanted\n\
               inference compute id=0 library=CUDA name=CUDA0 driver=13.0 pci_id=0000:01:00.0\n";
    Memory::described(&format!(
        "file /etc/os-release PRETTY_NAME=\"Debian GNU/Linux 99\"
         file /lib64/ld-linux-x86-64.so.2 x
         dir /usr/lib/x86_64-linux-gnu/vgpu
         file /usr/bin/systemctl x
         file /usr/bin/journalctl x
         file /usr/local/bin/ollama x
         dir /usr/local/lib/ollama
         file /etc/systemd/system/ollama.service {unit}
         file /etc/ollama.env FILE_SECRET=hunter3-in-file
         file /etc/ld.so.preload hunter4-in-preload /usr/lib/libx.so
         file /etc/vgpu/guest.toml link = \"tls:gpu-of-the-host:6475\"
         file /etc/hostname gpubox
         file /etc/hosts 192.168.44.9 gpubox.corp.example.net gpubox
         file /etc/passwd root:x:0:0::/root:/bin/sh\\nmallory:x:1000:1000::/x:/bin/sh
         file /var/lib/vgpu/gen/1/manifest.json {manifest}"
    ))
    .with_systemd()
    .answering("systemctl show", said("InvocationID=99aa\n"))
    .answering("_SYSTEMD_INVOCATION_ID=99aa", said(log))
}

fn composed() -> Value {
    report::compose(&machine(), &options()).0
}

#[test]
fn no_planted_secret_address_or_name_is_in_a_report() {
    let text = format!("{:#}", composed()).to_lowercase();
    for private in PRIVATE {
        assert!(!text.contains(&private.to_lowercase()), "{private} in\n{text}");
    }
}

#[test]
fn what_explains_a_fault_is_in_a_report() {
    let document = composed();
    let text = document.to_string();
    for kept in [
        "library=CUDA",
        "pci_id=0000:01:00.0",
        "/usr/local/bin/ollama",
        "API_TOKEN",
        "Debian GNU/Linux 99",
        "/usr/lib/libx.so",
    ] {
        assert!(text.contains(kept), "{kept} is not in\n{document:#}");
    }
    for part in ["facts", "plan", "findings", "generations", "journal", "logs", "preload"] {
        assert!(!document[part].is_null() || part == "journal", "{part}\n{document:#}");
    }
    let log = document["logs"]["ollama.service"].as_array().expect("the unit's lines");
    assert_eq!(log.len(), 8, "{log:?}");
}

#[test]
fn reports_are_what_the_published_schema_says() {
    guest::fits("report", &composed(), &["a machine in memory"]);
    let damaged = Memory::described("file /var/lib/vgpu/gen/1/manifest.json damaged");
    guest::fits("report", &report::compose(&damaged, &options()).0, &["a damaged state"]);

    let guest = Guest::new();
    let file = guest.dir.path().join("report.json");
    for arguments in [&["--no-restart"][..], &["--no-restart", "--scope", "bundle"]] {
        let applied = guest.install(arguments);
        assert!(applied.status.success(), "{applied:?}");
        let output = guest.install(&["report", "--output", file.to_str().unwrap()]);
        assert!(output.status.success(), "{output:?}");
        let document: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        assert!(!document["generations"].as_array().unwrap().is_empty(), "{document:#}");
        guest::fits("report", &document, arguments);
        std::fs::remove_file(&file).unwrap();
    }
}

#[test]
fn a_part_that_cannot_be_read_is_in_the_report_as_its_error() {
    let host = Memory::described("file /var/lib/vgpu/gen/1/manifest.json damaged");
    let document = report::compose(&host, &options()).0;
    let error = document["generations"]["error"].as_str().expect("an error");
    assert!(error.contains("/var/lib/vgpu/gen/1"), "{error}");
}

#[test]
fn a_report_is_a_new_file_of_its_owner_alone() {
    let guest = Guest::new();
    let file = guest.dir.path().join("report.json");
    let path = file.to_str().unwrap();
    let output = guest.install(&["report", "--output", path]);
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && shown.contains(path), "{output:?}");
    let mode = std::fs::metadata(&file).unwrap().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let written = std::fs::read(&file).unwrap();
    let document: Value = serde_json::from_slice(&written).unwrap();
    assert_eq!(document["facts"]["ollamas"].as_array().map(Vec::len), Some(1), "{document:#}");

    let again = guest.install(&["report", "--output", path]);
    assert_eq!(again.status.code(), Some(1), "{again:?}");
    assert!(String::from_utf8_lossy(&again.stderr).contains(path), "{again:?}");
    assert_eq!(std::fs::read(&file).unwrap(), written, "it is left as it was");
}

#[test]
fn a_link_at_the_reports_name_is_not_followed() {
    let guest = Guest::new();
    let (link, aim) = (guest.dir.path().join("link.json"), guest.dir.path().join("aim"));
    std::os::unix::fs::symlink(&aim, &link).unwrap();
    let output = guest.install(&["report", "--output", link.to_str().unwrap()]);
    assert!(!output.status.success() && !aim.exists(), "{output:?}");
}
