//! What people read of a command: nothing that was not done, and no silence.

use std::process::Output;

use crate::guest::Guest;

const DROP_IN: &str = "etc/systemd/system/ollama.service.d/50-vgpu.conf";

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn a_history_without_a_generation_says_so() {
    let guest = Guest::new();
    assert_eq!(text(&guest.install(&["history"])), "no generation is in force\n");
    assert!(guest.install(&[]).status.success());
    let history = text(&guest.install(&["history"]));
    assert!(history.starts_with("  generation 1 "), "{history}");
    assert!(!history.contains("no generation"), "{history}");
}

#[test]
fn a_generation_that_is_a_word_of_its_own_is_told_how_to_be_written() {
    let output = Guest::new().install(&["--rollback", "1"]);
    assert_eq!(output.status.code(), Some(64));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.ends_with("  try:     --rollback=1\n"), "{said}");
}

#[test]
fn steps_that_a_foreign_root_leaves_out_are_not_told_as_done() {
    let guest = Guest::new();
    let runs: [&[&str]; 4] =
        [&["apply", "--check"], &["apply"], &["--rollback", "--check"], &["--rollback"]];
    for arguments in runs {
        let output = guest.install(arguments);
        let (said, warned) = (text(&output), String::from_utf8(output.stderr.clone()).unwrap());
        assert!(said.contains("50-vgpu.conf"), "{said}");
        assert!(!said.contains("restart ollama.service"), "{said}");
        assert!(warned.contains("left out: ") && warned.contains("restart ollama"), "{warned}");
    }
}

#[test]
fn a_gpu_that_is_required_and_that_nobody_looked_for_is_a_failure() {
    let guest = Guest::new();
    let before = guest.digest();
    for arguments in [&["apply", "--require-gpu"][..], &["verify", "--require-gpu"]] {
        let output = guest.install(arguments);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(text(&output).contains("fail     gpu: no process looked"), "{output:?}");
        assert_eq!(guest.digest(), before);
    }
}

#[test]
fn a_link_that_was_named_goes_again_by_the_name_auto() {
    let guest = Guest::new();
    let drop_in = || std::fs::read_to_string(guest.root().join(DROP_IN)).unwrap();
    assert!(guest.install(&["--link", "unix:/run/x.sock"]).status.success());
    assert!(drop_in().contains("VGPU_LINK=unix:/run/x.sock"));
    assert!(guest.install(&[]).status.success());
    assert!(drop_in().contains("VGPU_LINK=unix:/run/x.sock"), "a later run keeps it");
    assert!(guest.install(&["--link", "auto"]).status.success());
    assert!(!drop_in().contains("VGPU_LINK"), "{}", drop_in());
}
