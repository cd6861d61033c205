//! Generations and journals from outside: going back, joining, and what an interrupted run left.

use std::path::Path;
use std::process::{Command, Output};

use crate::guest::{Guest, OLLAMA_DIR};
use serde_json::Value;

const DROP_IN: &str = "etc/systemd/system/ollama.service.d/50-vgpu.conf";

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// A digest without times.
fn without_times(text: &str) -> Vec<String> {
    let words = |line: &str| -> Vec<String> {
        line.split(' ').filter(|word| !word.starts_with("mtime=")).map(Into::into).collect()
    };
    text.lines().map(|line| words(line).join(" ")).collect()
}

#[track_caller]
fn refused(output: &Output, code: i32, words: &[&str]) {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    for word in words {
        assert!(said.contains(word), "{word:?} is in {said}");
    }
}

#[test]
fn an_interrupted_run_is_refused_until_it_is_recovered() {
    let guest = Guest::new();
    let inject = "inject=renameat2:signal=SIGKILL:when=1";
    guest.traced(&["-o", "/dev/null", "-e", inject], &[]);
    for arguments in [&["apply"][..], &["--check"], &["--rollback"], &["status"]] {
        refused(&guest.install(arguments), 4, &["interrupted", "vgpu-install recover"]);
    }
    let output = guest.install(&["recover"]);
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("undone"), "{output:?}");
}

#[test]
fn a_damaged_journal_is_followed_as_far_as_it_can_be_read() {
    let guest = Guest::new();
    let clean = guest.digest();
    let inject = "inject=renameat2:signal=SIGKILL:when=1";
    guest.traced(&["-o", "/dev/null", "-e", inject], &[]);
    let journal = guest.root().join("var/lib/vgpu/journal");
    let whole = std::fs::read(&journal).unwrap();
    // Nothing of it can be read: it stays until a person gives it up.
    std::fs::write(&journal, "no journal").unwrap();
    let recover = guest.install(&["recover"]);
    refused(&recover, 4, &["/var/lib/vgpu/journal is damaged at byte 0", "recover --force"]);
    assert!(String::from_utf8_lossy(&recover.stdout).contains(".vgpu-1-"), "{recover:?}");
    refused(&guest.install(&[]), 4, &["interrupted"]);
    // One record is lost: the first one names every step.
    let mut bytes = whole;
    let at = bytes.len() - 40;
    bytes[at] ^= 1;
    std::fs::write(&journal, bytes).unwrap();
    let recover = guest.install(&["recover"]);
    assert!(recover.status.success(), "{recover:?}");
    assert_eq!(without_times(&guest.digest()), without_times(&clean));
}

#[test]
fn gc_joins_generations_and_keeps_the_way_to_the_start() {
    let guest = Guest::new();
    let clean = guest.digest();
    for port in 1..=4 {
        assert!(guest.install(&["--link", &format!("vsock:2:{port}")]).status.success());
    }
    let before = guest.digest();
    let check = json(&guest.install(&["gc", "--keep", "2", "--check", "--json"]));
    assert_eq!(guest.digest(), before);
    let told = String::from_utf8(guest.install(&["gc", "--keep", "2", "--check"]).stdout).unwrap();
    for line in [
        "  would join the generations 1, 2, 3 into one\n      because older ones are only needed",
        "      because only going back to a generation that was joined would need it\n",
        "generation 1 is joined into 3: it is older than the newest 2\n",
        "generation 3 is kept: it stands for those before it, too\n",
        "generation 4 is kept: it is one of the newest 2\n",
    ] {
        assert!(told.contains(line), "{line:?} is in {told}");
    }
    let done = json(&guest.install(&["gc", "--keep", "2", "--json"]));
    assert_eq!(done["actions"], check["actions"]);
    assert_eq!(done["actions"].as_array().unwrap().len(), 3, "one join, two files: {done:#}");
    let history = guest.install(&["history"]);
    let said = String::from_utf8(history.stdout).unwrap();
    assert!(said.contains("generation 3  2") && said.contains("generation 4  2"), "{said}");
    assert!(said.contains("UTC  service  by ") && !said.contains("generation 2"), "{said}");
    refused(&guest.install(&["--rollback=2"]), 1, &["0 (the start) and 3, 4", "history"]);
    let again = json(&guest.install(&["gc", "--keep", "2", "--json"]));
    assert_eq!(again["changed"], false);
    assert!(guest.install(&["--rollback=3"]).status.success());
    let text = std::fs::read_to_string(guest.root().join(DROP_IN)).unwrap();
    assert!(text.contains("VGPU_LINK=vsock:2:3"), "{text}");
    assert!(guest.install(&["--rollback"]).status.success());
    assert_eq!(guest.digest(), clean);
}

/// An upgrade of Ollama comes when it comes, and by then the generations may be joined.
#[test]
fn a_refresh_after_gc_finds_nothing_to_do_and_renews_what_ollama_wiped() {
    let guest = Guest::new();
    let bundle = guest.root().join(OLLAMA_DIR);
    let kept = guest.root().join("kept");
    let copy = |from: &Path, to: &Path| {
        let status = Command::new("cp").arg("--archive").args([from, to]).status();
        assert!(status.unwrap().success());
    };
    copy(&bundle, &kept);
    let clean = guest.digest();
    for port in 1..=3 {
        assert!(guest.install(&["--link", &format!("vsock:2:{port}")]).status.success());
    }
    assert!(guest.install(&["apply", "--scope", "bundle"]).status.success());
    let collected = json(&guest.install(&["gc", "--keep", "1", "--json"]));
    assert_eq!(collected["changed"], true, "{collected:#}");
    let before = guest.digest();
    let looked = guest.install(&["refresh"]);
    assert!(looked.status.success(), "{looked:?}");
    assert_eq!(guest.digest(), before);
    // What Ollama's installer does: wipe, and lay anew.
    std::fs::remove_dir_all(&bundle).unwrap();
    copy(&kept, &bundle);
    assert_ne!(guest.digest(), before);
    let renewed = guest.install(&["refresh"]);
    assert!(renewed.status.success(), "{renewed:?}");
    let leads = std::fs::read_link(bundle.join("cuda_v13/libcudart.so.13")).unwrap();
    assert!(leads.ends_with("vgpu/libcudart.so.13"), "{leads:?}");
    let text = std::fs::read_to_string(guest.root().join(DROP_IN)).unwrap();
    assert!(text.contains("VGPU_LINK=vsock:2:3"), "{text}");
    assert!(guest.install(&["gc", "--keep", "1"]).status.success());
    let back = guest.install(&["--rollback"]);
    assert!(matches!(back.status.code(), Some(0 | 3)), "{back:?}");
    // The test itself moved the times of Ollama's directories on.
    assert_eq!(without_times(&guest.digest()), without_times(&clean));
}

#[test]
fn going_back_one_generation_keeps_the_one_before() {
    let guest = Guest::new();
    let before = guest.digest();
    assert!(guest.install(&[]).status.success());
    let text = std::fs::read_to_string(guest.root().join(DROP_IN)).unwrap();
    assert!(guest.install(&["--link", "vsock:2:6475"]).status.success());
    let linked = std::fs::read_to_string(guest.root().join(DROP_IN)).unwrap();
    let diff = guest.install(&["--check", "--diff", "--link", "unix:/x"]);
    let diff = String::from_utf8(diff.stdout).unwrap();
    let lines =
        ["\n-Environment=\"VGPU_LINK=vsock:2:6475\"\n", "\n+Environment=\"VGPU_LINK=unix:/x\"\n"];
    assert!(lines.iter().all(|line| diff.contains(line)), "{diff}");
    assert!(linked.contains("\"VGPU_LINK=vsock:2:6475\""), "{linked}");
    // The link stays when it is not named again.
    assert!(guest.install(&["--detailed-exitcode"]).status.success());
    let answer = json(&guest.install(&["--rollback=1", "--json"]));
    assert_eq!(answer["generation"], 1, "{answer:#}");
    assert_eq!(std::fs::read_to_string(guest.root().join(DROP_IN)).unwrap(), text);
    assert!(guest.install(&["--rollback"]).status.success());
    assert_eq!(guest.digest(), before);
}
