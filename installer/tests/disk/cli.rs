//! The program from outside: exit codes, messages and answers, also for bad input.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::process::{Command, Output, Stdio};

use crate::guest::{Guest, OLLAMA_DIR, SHIM_DIR};
use serde_json::Value;

const DROP_IN: &str = "etc/systemd/system/ollama.service.d/50-vgpu.conf";

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[track_caller]
fn refused(output: &Output, code: i32, words: &[&str]) {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    let said = stderr(output);
    for word in words {
        assert!(said.contains(word), "{word:?} is in {said}");
    }
}

#[test]
fn a_command_line_that_makes_no_sense_is_refused_with_64() {
    let guest = Guest::new();
    refused(&guest.install(&["--no-such-option"]), 64, &["--no-such-option", "--help"]);
    refused(&guest.install(&["nothing"]), 64, &["nothing"]);
    refused(&guest.install(&["--link", "udp:10.0.0.1"]), 64, &["unix:", "vsock:"]);
    refused(&guest.install(&["--link", "unix:run/x"]), 64, &["begins with /"]);
    refused(&guest.install(&["--rollback=x"]), 64, &["invalid"]);
    refused(&guest.install(&["--wait-lock", "18446744073709551615"]), 64, &["--wait-lock"]);
    refused(&guest.install(&["--rollback", "apply"]), 64, &["stands alone", "try:"]);
    for verb in ["apply", "--rollback", "verify", "status"] {
        refused(
            &guest.install(&[verb, "--facts", "x"]),
            64,
            &["--facts has no meaning", "it is for plan"],
        );
    }
    assert_eq!(guest.install(&["--help"]).status.code(), Some(0));
}

#[test]
fn an_answer_is_one_json_document_also_when_it_is_an_error() {
    let guest = Guest::new();
    let planned = json(&guest.install(&["plan", "--json"]));
    assert_eq!((&planned["schema_version"], &planned["changed"]), (&1.into(), &true.into()));
    let applied = guest.install(&["--json"]);
    assert!(applied.status.success());
    let applied = json(&applied);
    let planned = planned["actions"].as_array().unwrap();
    let files: Vec<_> = planned.iter().filter(|action| action["path"].is_string()).collect();
    let done: Vec<_> = applied["actions"].as_array().unwrap().iter().collect();
    assert_eq!(done, files, "the plan is what is done, without what a foreign root leaves out");
    assert!(files.len() < planned.len());
    assert_eq!((&applied["generation"], &applied["command"]), (&1.into(), &"apply".into()));
    let again = json(&guest.install(&["--json"]));
    assert_eq!((&again["changed"], &again["generation"]), (&false.into(), &1.into()));
    let history = json(&guest.install(&["history", "--json"]));
    assert_eq!(history["generations"][0]["generation"], 1);
    let wrong = guest.install(&["--rollback=7", "--json"]);
    assert_eq!(wrong.status.code(), Some(1));
    let wrong = json(&wrong);
    assert_eq!(wrong["errors"][0]["code"], "no_generation");
    assert!(wrong["errors"][0]["try"].as_str().unwrap().contains("history"));
}

#[test]
fn each_action_is_said_with_its_reason() {
    let guest = Guest::new();
    let text = |arguments: &[&str]| String::from_utf8(guest.install(arguments).stdout).unwrap();
    let planned = text(&["plan"]);
    assert!(planned.contains("because the drop-in goes there\n  would write /etc"), "{planned}");
    assert!(
        planned.contains("bytes)\n      because the service must find our libraries first"),
        "{planned}"
    );
    assert!(planned.contains("because Ollama looks for GPUs once, when it starts\n"), "{planned}");
    assert!(guest.install(&["--scope", "bundle"]).status.success());
    let back = text(&["--rollback", "--check"]);
    let why = "because generation 1 made this change";
    assert_eq!(back.matches(why).count(), 1, "once for all that have it: {back}");
}

#[test]
fn a_detailed_exit_code_tells_changes_from_none() {
    let guest = Guest::new();
    let code = |arguments: &[&str]| guest.install(arguments).status.code();
    assert_eq!(code(&["--check", "--detailed-exitcode"]), Some(2));
    assert_eq!(code(&["--detailed-exitcode"]), Some(2));
    assert_eq!(code(&["--check", "--detailed-exitcode"]), Some(0));
    assert_eq!(code(&["--detailed-exitcode"]), Some(0));
    assert_eq!(code(&["--rollback", "--detailed-exitcode"]), Some(2));
    assert_eq!(code(&["--rollback", "--detailed-exitcode"]), Some(0));
}

#[test]
fn a_second_installer_at_once_is_told_so_and_can_wait() {
    let guest = Guest::new();
    let root = std::fs::File::open(guest.root()).unwrap();
    root.lock().unwrap();
    refused(&guest.install(&[]), 5, &["lock", "--wait-lock"]);
    let mut waiting = Command::new(env!("CARGO_BIN_EXE_vgpu-install"))
        .arg("--root")
        .arg(guest.root())
        .args(["--wait-lock", "60"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    root.unlock().unwrap();
    assert!(waiting.wait().unwrap().success());
    assert!(guest.root().join(DROP_IN).exists());
}

#[test]
fn missing_libraries_are_named_with_the_remedy() {
    let guest = Guest::new();
    std::fs::remove_file(guest.root().join(SHIM_DIR).join("libcudart.so.13")).unwrap();
    let before = guest.digest();
    let output = guest.install(&[]);
    refused(&output, 1, &["libcudart.so.13", "/usr/lib/x86_64-linux-gnu/vgpu", "reinstall"]);
    assert_eq!(guest.digest(), before);
}

#[test]
fn verify_and_status_of_a_machine_without_our_libraries_claim_no_success() {
    let guest = Guest::new();
    std::fs::remove_dir_all(guest.root().join(SHIM_DIR)).unwrap();
    refused(&guest.install(&["verify"]), 1, &["check files", "libcuda.so.1 is not there"]);
    let status = guest.install(&["status"]);
    refused(&status, 1, &["libcuda.so.1 is missing", "reinstall"]);
    assert!(String::from_utf8_lossy(&status.stdout).contains("no generation is in force"));
}

#[test]
fn a_journal_of_another_version_asks_for_its_own_program_with_4() {
    let guest = Guest::new();
    std::fs::create_dir(guest.root().join("var/lib/vgpu")).unwrap();
    guest.write("var/lib/vgpu/journal", "vgpu journal 1\n");
    let before = guest.digest();
    refused(&guest.install(&["recover"]), 4, &["another version", "that wrote it"]);
    assert_eq!(guest.digest(), before);
}

#[test]
fn a_report_does_not_write_over_a_file_and_says_what_to_do() {
    let guest = Guest::new();
    let path = guest.dir.path().join("report.json");
    std::fs::write(&path, "theirs").unwrap();
    let path_text = path.to_str().unwrap();
    refused(&guest.install(&["report", "--output", path_text]), 1, &["exists", "another file"]);
    assert_eq!(std::fs::read(&path).unwrap(), b"theirs");
}

#[test]
fn a_library_that_is_not_what_it_says_is_found_and_everything_undone() {
    let guest = Guest::new();
    let dir = guest.root().join(SHIM_DIR);
    std::fs::copy(dir.join("libcudart.so.12"), dir.join("libcudart.so.13")).unwrap();
    let before = guest.digest();
    for scope in ["service", "bundle"] {
        let output = guest.install(&["--scope", scope]);
        refused(&output, 1, &["every step was undone", "calls itself libcudart.so.12"]);
        assert_eq!(guest.digest(), before);
    }
}

#[test]
fn a_backend_that_is_not_whole_is_named_and_keeps_no_other_from_being_served() {
    let guest = Guest::new();
    guest.write(&format!("{OLLAMA_DIR}/cuda_v13/libggml-cuda.so"), "half a download");
    let before = guest.digest();
    let output = guest.install(&["--json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let answer = json(&output);
    let warnings = answer["warnings"].as_array().unwrap();
    let broken = warnings.iter().find(|warning| warning["code"] == "backend").unwrap();
    let what = broken["what"].as_str().unwrap();
    assert!(what.contains("cuda_v13/libggml-cuda.so cannot be loaded, with us or without"));
    assert!(guest.install(&["--rollback"]).status.success());
    assert_eq!(guest.digest(), before);
}

#[test]
fn a_unit_whose_values_only_systemd_can_complete_is_served() {
    let guest = Guest::new();
    std::fs::create_dir(guest.root().join("etc/systemd/system/ollama.service.d")).unwrap();
    guest.write(
        "etc/systemd/system/ollama.service.d/10-theirs.conf",
        "[Service]\nEnvironment=LD_LIBRARY_PATH=%h/lib LD_PRELOAD=%h/theirs.so X=%n\n",
    );
    let before = guest.digest();
    let output = guest.install(&[]);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = std::fs::read_to_string(guest.root().join(DROP_IN)).unwrap();
    assert!(text.contains(":%h/lib\"") && text.contains(":%h/theirs.so\""), "{text}");
    assert!(guest.install(&["--rollback"]).status.success());
    assert_eq!(guest.digest(), before);
}

#[test]
fn a_machine_without_var_lib_is_refused_and_not_sent_to_recover() {
    let guest = Guest::new();
    std::fs::remove_dir(guest.root().join("var/lib")).unwrap();
    let before = guest.digest();
    refused(&guest.install(&[]), 6, &["there is no directory /var/lib"]);
    assert_eq!(guest.digest(), before);
}

#[test]
fn a_full_or_read_only_file_system_is_told_with_the_remedy() {
    let guest = Guest::new();
    let before = guest.digest();
    for (error, words) in
        [("EROFS", ["Read-only file system", "remount"]), ("ENOSPC", ["No space left", "free"])]
    {
        let inject = format!("inject=mkdirat:error={error}");
        let output = guest.traced(&["-o", "/dev/null", "-e", &inject], &[]);
        refused(&output, 1, &words);
        assert_eq!(guest.digest(), before);
    }
}

#[test]
fn a_path_that_is_not_utf_8_is_served_and_given_back() {
    let guest = Guest::new();
    let old = guest.root().join(OLLAMA_DIR).join("cuda_v13");
    let new = guest.root().join(OLLAMA_DIR).join(OsStr::from_bytes(b"cuda_\xff"));
    std::fs::rename(old, &new).unwrap();
    let before = guest.digest();
    let output = guest.install(&["--scope", "bundle", "--json", "--force"]);
    let answer = json(&output);
    let hex = answer["actions"].as_array().unwrap().iter().any(|a| a["path"]["hex"].is_string());
    assert!(hex, "{answer:#}");
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(new.join("libcuda.so.1").is_symlink());
    assert!(guest.install(&["--rollback"]).status.success());
    assert_eq!(guest.digest(), before);
}

#[test]
fn facts_of_another_machine_give_the_same_plan_here() {
    let guest = Guest::new();
    let facts = guest.dir.path().join("facts.json");
    let scan = guest.install(&["scan", "--json"]);
    std::fs::write(&facts, &scan.stdout).unwrap();
    let here = json(&guest.install(&["plan", "--json", "--scope", "bundle"]));
    let output = Command::new(env!("CARGO_BIN_EXE_vgpu-install"))
        .args(["plan", "--json", "--scope", "bundle", "--facts"])
        .arg(&facts)
        .output()
        .unwrap();
    assert_eq!(json(&output)["actions"], here["actions"]);
    let current = json(&scan)["schema_version"].as_u64().unwrap();
    for version in [1, current + 1] {
        // Whatever else they hold: another version has other fields.
        std::fs::write(&facts, format!("{{\"schema_version\":{version}}}")).unwrap();
        let other = guest.install(&["plan", "--facts", facts.to_str().unwrap()]);
        let cause = format!("facts of version {version}, and this program reads {current}");
        refused(&other, 1, &["facts.json", &cause, "scan --json of this version"]);
    }
    std::fs::write(&facts, "{").unwrap();
    let wrong = guest.install(&["plan", "--facts", facts.to_str().unwrap()]);
    refused(&wrong, 1, &["facts.json", "EOF", "scan --json"]);
    let nowhere = guest.install(&["plan", "--facts", "/nowhere/facts.json"]);
    refused(&nowhere, 1, &["/nowhere/facts.json", "check the path"]);
}

#[test]
fn verify_says_which_file_the_loader_would_take_and_why() {
    let guest = Guest::new();
    let before = guest.install(&["verify"]);
    refused(
        &before,
        1,
        &["libcudart.so.12 goes to", "cuda_v12/libcudart.so.12", "LD_LIBRARY_PATH"],
    );
    assert!(guest.install(&[]).status.success());
    let answer = json(&guest.install(&["verify", "--json"]));
    let verdicts: Vec<&str> = answer["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["verdict"].as_str().unwrap())
        .collect();
    assert_eq!(verdicts, ["ok", "ok", "ok", "skipped", "ok"], "{answer:#}");
    // A copy of another driver in the unit's own preload comes behind ours and changes nothing;
    // a drop-in that takes our line away does.
    let late = guest.root().join("etc/systemd/system/ollama.service.d/60-late.conf");
    std::fs::write(&late, "[Service]\nEnvironment=LD_PRELOAD=\n").unwrap();
    refused(&guest.install(&["--check"]), 1, &["60-late.conf", "LD_PRELOAD", "before 50-vgpu"]);
}

#[test]
fn a_reader_never_finds_a_replaced_name_missing_or_half() {
    let guest = Guest::new();
    let name = guest.root().join(OLLAMA_DIR).join("cuda_v13/libcublas.so.13");
    let theirs = std::fs::read(&name).unwrap();
    let ended = std::sync::atomic::AtomicBool::new(false);
    let looks = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut looks = 0_u64;
            while !ended.load(std::sync::atomic::Ordering::Relaxed) {
                let found = std::fs::symlink_metadata(&name).expect("the name is always there");
                let whole = found.is_symlink() || found.len() == theirs.len() as u64;
                assert!(whole, "{found:?}");
                looks += 1;
            }
            looks
        });
        for _ in 0..5 {
            assert!(guest.install(&["--scope", "bundle"]).status.success());
            assert!(guest.install(&["--rollback"]).status.success());
        }
        ended.store(true, std::sync::atomic::Ordering::Relaxed);
        reader.join().unwrap()
    });
    assert!(looks > 100, "{looks} looks");
}

#[test]
fn drift_is_left_and_reported_and_force_ends_it() {
    let guest = Guest::new();
    let before = guest.digest();
    assert!(guest.install(&["--scope", "bundle"]).status.success());
    let cublas = guest.root().join(OLLAMA_DIR).join("cuda_v13/libcublas.so.13");
    std::fs::remove_file(&cublas).unwrap();
    std::fs::write(&cublas, "edited").unwrap();
    let is_action = |answer: &Value| {
        let mut actions = answer["actions"].as_array().unwrap().iter();
        actions.any(|action| action["path"].to_string().contains("cuda_v13/libcublas.so.13"))
    };
    let output = guest.install(&["--rollback", "--check", "--json"]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(!is_action(&json(&output)), "what would be left is not what would be done");
    let output = guest.install(&["--rollback", "--json"]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(json(&output)["left"][0].as_str().unwrap().contains("libcublas.so.13"));
    assert!(!is_action(&json(&output)), "what was left is not said to be done");
    assert_eq!(std::fs::read(&cublas).unwrap(), b"edited");
    assert!(!cublas.with_file_name("libcuda.so.1").exists(), "all else was put back");
    assert!(guest.install(&["--rollback", "--force"]).status.success());
    let times = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.replace("mtime=", "\u{0}")).map(cut_time).collect()
    };
    // The directory was changed by somebody else, so its time is theirs.
    assert_eq!(times(&guest.digest()), times(&before));
}

fn cut_time(line: String) -> String {
    let is_dir = line.contains("cuda_v13\"");
    let words = line.split(' ').filter(|word| !(is_dir && word.starts_with('\u{0}')));
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn links_that_lead_out_of_a_foreign_root_lead_nowhere() {
    let guest = Guest::new();
    let outside = guest.dir.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    let units = guest.root().join("etc/systemd/system/ollama.service.d");
    // Absolute links and dots end at the root itself, as they would in a container.
    symlink(&outside, &units).unwrap();
    let output = guest.install(&[]);
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0, "{output:?}");
    std::fs::remove_file(&units).unwrap();
    symlink("../../../../../../../../outside", &units).unwrap();
    let output = guest.install(&[]);
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0, "{output:?}");
}

#[test]
fn a_closed_pipe_does_not_stop_an_apply() {
    let guest = Guest::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = Command::new(env!("CARGO_BIN_EXE_vgpu-install"))
        .arg("--root")
        .arg(guest.root())
        .stdout(writer)
        .status()
        .unwrap();
    assert!(status.success());
    assert!(guest.root().join(DROP_IN).exists());
}
