//! The doctor on a root of a real file system: it says what is wrong, changes nothing unless it is
//! asked to, and mends what it may.

use crate::guest::Guest;

const DROP_IN: &str = "etc/systemd/system/ollama.service.d/50-vgpu.conf";

/// Runs the doctor; gives its exit code and what it printed.
fn doctor(guest: &Guest, arguments: &[&str]) -> (i32, String) {
    let output = guest.install(&[&["doctor"], arguments].concat());
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code().expect("the doctor ends by itself"), said)
}

/// A guest with scope service applied.
fn applied() -> Guest {
    let guest = Guest::new();
    let output = guest.install(&["apply"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    guest
}

#[test]
fn the_doctor_changes_nothing_and_answers_one_document() {
    let guest = applied();
    let before = guest.digest();
    let (code, said) = doctor(&guest, &["--json"]);
    let answer: serde_json::Value = serde_json::from_str(&said).unwrap();
    let findings = answer["findings"].as_array().unwrap();
    let failed = findings.iter().filter(|finding| finding["verdict"] == "fail").count();
    assert_eq!(code, i32::from(failed > 0), "{said}");
    for finding in findings {
        let has_evidence = finding["evidence"].is_array() && finding["cause"].is_string();
        assert!(has_evidence && finding["check"].as_str().unwrap().contains('.'), "{finding}");
    }
    // What a foreign root cannot show is skipped, never fine.
    let of = |name: &str| findings.iter().find(|finding| finding["check"] == name).unwrap();
    assert_eq!(of("api.memory")["verdict"], "skipped");
    assert_eq!(of("loader.winner")["verdict"], "ok", "{}", of("loader.winner"));
    assert_eq!(of("service.dropin")["verdict"], "ok", "{}", of("service.dropin"));
    assert_eq!(guest.digest(), before);
}

#[test]
fn what_somebody_changed_is_named_and_mended_only_when_asked_for() {
    let guest = applied();
    assert_eq!(doctor(&guest, &["package.drift"]).0, 0);
    guest.write(DROP_IN, "[Service]\nEnvironment=LD_LIBRARY_PATH=/opt\n");
    let before = guest.digest();
    let (code, said) = doctor(&guest, &["package.drift", "service.dropin"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("fail     package.drift (P35)") && said.contains("try:   vgpu-install"));
    let (code, said) = doctor(&guest, &["package.drift", "--fix", "--check"]);
    assert_eq!((code, said.contains("would run: vgpu-install")), (1, true), "{said}");
    assert_eq!(guest.digest(), before);
    let (code, said) = doctor(&guest, &["package", "service.dropin", "--fix"]);
    assert!(!said.contains("P35") && said.contains("ran: vgpu-install"), "{code}: {said}");
    assert_eq!(doctor(&guest, &["package.drift", "service.dropin"]).0, 0);
}

#[test]
fn an_interrupted_run_is_found_and_recovered() {
    let guest = Guest::new();
    std::fs::create_dir(guest.root().join("var/lib/vgpu")).unwrap();
    let (code, said) = doctor(&guest, &["package.journal"]);
    assert_eq!((code, said.contains("try:   vgpu-install recover")), (1, true), "{said}");
    assert_eq!(doctor(&guest, &["package.journal", "--fix"]).0, 0);
    assert!(!guest.root().join("var/lib/vgpu").exists());
}
