//! Several scopes in force at once: verify and status look at each, whichever came last, and also
//! after they were joined.

use std::process::Output;

use crate::guest::{self, Guest};
use serde_json::Value;

/// An Ollama that no unit starts: only scope bundle reaches it.
const OTHER: &str = "usr/lib/ollama";

/// A guest with every scope in force, service the newest.
fn guest() -> Guest {
    let guest = Guest::new();
    guest.write("etc/ld.so.conf", "include /etc/ld.so.conf.d/*.conf\n");
    let root = guest.root();
    std::fs::create_dir_all(root.join("usr/bin")).unwrap();
    std::fs::copy(root.join("usr/local/bin/ollama"), root.join("usr/bin/ollama")).unwrap();
    let from = root.join(guest::OLLAMA_DIR);
    guest::succeed("cp", &["-a", from.to_str().unwrap(), OTHER], &root);
    for scope in ["bundle", "system", "service"] {
        let link = format!("vsock:2:{}", scope.len());
        let output = guest.install(&["--scope", scope, "--link", &link]);
        assert!(output.status.success(), "{scope}: {output:?}");
    }
    guest
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// The checks of a verification, as words.
fn checks(answer: &Value) -> Vec<String> {
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    let checks = answer["checks"].as_array().unwrap().iter();
    checks
        .map(|one| {
            format!("{} {} {}", word(&one["verdict"]), word(&one["name"]), word(&one["what"]))
        })
        .collect()
}

/// Demands one check whose text holds these words.
#[track_caller]
fn has(checks: &[String], words: &[&str]) {
    let is_it = |check: &&String| words.iter().all(|word| check.contains(word));
    assert!(checks.iter().any(|check| is_it(&check)), "{words:?} in {checks:#?}");
}

#[test]
fn verify_and_status_see_every_scope_in_force() {
    let guest = guest();
    let status = guest.install(&["status"]);
    let said = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(status.status.success() && said.contains("in force and in place"), "{status:?}");
    let whole = checks(&json(&guest.install(&["verify", "--json"])));
    has(&whole, &["skipped cache"]);
    has(&whole, &["ok loader", "/usr/lib/ollama/cuda_v13"]);
    has(&whole, &["ok loader", "/usr/local/lib/ollama/cuda_v13"]);
    has(&whole, &["ok drift", "the 3 generations in force"]);
    let only = checks(&json(&guest.install(&["verify", "--json", "--scope", "service"])));
    has(&only, &["skipped loader", "/usr/lib/ollama/cuda_v13: no unit starts it"]);
    assert!(!only.iter().any(|check| check.contains("ok loader: /usr/lib/ollama")), "{only:#?}");

    // An upgrade wipes what the oldest generation linked.
    std::fs::remove_file(guest.root().join(OTHER).join("cuda_v13/libcuda.so.1")).unwrap();
    for joined in [false, true] {
        if joined {
            assert!(guest.install(&["gc", "--keep", "1"]).status.success());
            let history = guest.install(&["history"]);
            let said = String::from_utf8_lossy(&history.stdout).into_owned();
            assert!(said.contains("UTC  bundle, system, service  by "), "{said}");
        }
        let verify = guest.install(&["verify", "--json"]);
        assert_eq!(verify.status.code(), Some(1), "joined {joined}: {verify:?}");
        let seen = checks(&json(&verify));
        has(&seen, &["fail loader", "libcuda.so.1 is found nowhere"]);
        has(&seen, &["ok loader", "/usr/local/lib/ollama/cuda_v13"]);
        has(&seen, &["warn drift", "/usr/lib/ollama/cuda_v13/libcuda.so.1: nothing"]);
        let status = guest.install(&["status", "--json"]);
        assert_eq!(status.status.code(), Some(3), "{status:?}");
        let text = guest.install(&["status"]);
        let said = String::from_utf8_lossy(&text.stdout).into_owned();
        assert!(said.contains("vgpu-install would change it"), "joined {joined}: {said}");
        let scopes = &json(&status)["generations"];
        let of_last = scopes.as_array().unwrap().last().unwrap()["joined_scopes"].clone();
        assert_eq!(of_last.is_null(), !joined, "{scopes:#}");
    }
}

#[test]
fn an_ollama_that_another_program_keeps_fails_no_verification() {
    let guest = Guest::new();
    let root = guest.root();
    let store = "nix/store/aaa-ollama-0.33.0";
    for dir in ["bin", "lib"] {
        std::fs::create_dir_all(root.join(store).join(dir)).unwrap();
    }
    let program = root.join("usr/local/bin/ollama");
    std::fs::copy(program, root.join(store).join("bin/ollama")).unwrap();
    let from = root.join(guest::OLLAMA_DIR);
    let to = format!("{store}/lib/ollama");
    guest::succeed("cp", &["-a", from.to_str().unwrap(), &to], &root);
    guest.write(
        "etc/systemd/system/ours.service",
        &format!("[Service]\nExecStart=/{store}/bin/ollama serve\n"),
    );
    // Links are for the other one; a drop-in reaches both.
    for (scope, word) in [("bundle", "skipped"), ("service", "ok")] {
        let output = guest.install(&["--scope", scope, "--json"]);
        assert!(output.status.success(), "{scope}: {output:?}");
        let seen = checks(&json(&output));
        has(&seen, &[word, "loader", store]);
        has(&seen, &["ok loader", "/usr/local/lib/ollama/cuda_v13"]);
        assert!(guest.install(&["--rollback"]).status.success());
    }
}
