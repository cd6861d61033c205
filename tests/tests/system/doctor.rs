//! The doctor and the report, over a guest with the real systemd and its journal.

use serde_json::Value;
use vgpu_tests::schema;
use vgpu_tests::system::Guest;

use super::{has_gpu, has_no_gpu, served, setting};

const DROP_IN: &str = "/etc/systemd/system/ollama.service.d/50-vgpu.conf";

/// What people put into units and configurations, and what no report may show.
const SECRET: &str = "b1aa7f40c0ffee5ecret";

/// Runs the doctor; answers each failure as its check and rows.
#[track_caller]
fn failures(guest: &Guest, words: &[&str]) -> Vec<String> {
    let said = guest.vgpu_install(&[&["doctor", "--json"], words].concat()).unwrap();
    let answer: Value = serde_json::from_str(&said.stdout).expect(&said.stderr);
    schema::demand("answer", &answer);
    let findings = answer["findings"].as_array().expect("findings");
    assert!(!findings.is_empty(), "{answer:#}");
    let rows = |finding: &Value| {
        let rows = finding["rows"].as_array().expect("rows").iter();
        rows.filter_map(Value::as_str).map(|row| format!(" {row}")).collect::<String>()
    };
    let failed: Vec<String> = findings
        .iter()
        .filter(|finding| finding["verdict"] == "fail")
        .map(|finding| finding["check"].as_str().expect("a name").to_owned() + &rows(finding))
        .collect();
    let code = i32::from(!failed.is_empty());
    assert_eq!(said.status.code(), Some(code), "{answer:#}");
    failed
}

#[test]
fn an_edited_drop_in_and_a_link_that_comes_too_late_are_named_and_mended() {
    let (guest, _host) = served(&setting());
    guest.install_deb().unwrap();
    has_gpu(&guest.restart_ollama().unwrap(), "installed");
    assert_eq!(failures(&guest, &[]), [""; 0]);
    guest.sh(&format!("sed -i '/LD_LIBRARY_PATH\\|LD_PRELOAD/d' {DROP_IN}")).unwrap();
    let unread = failures(&guest, &["service.reload", "package.drift"]);
    // Whether a restart is due too is known only two seconds after a start.
    assert!(unread.contains(&"service.reload F05 P23".to_owned()), "{unread:?}");
    assert!(unread.contains(&"package.drift P35".to_owned()), "{unread:?}");
    guest.sh("systemctl daemon-reload").unwrap();
    has_no_gpu(&guest.restart_ollama().unwrap(), "the variables are gone");
    let read = failures(&guest, &[]);
    for expected in ["service.dropin F06", "loader.winner U01 U40", "package.drift P35"] {
        assert!(read.contains(&expected.to_owned()), "{expected}: {read:#?}");
    }
    assert!(!read.iter().any(|one| one.starts_with("api.")), "no driver, no verdict: {read:#?}");
    assert_eq!(failures(&guest, &["--fix"]), [""; 0]);
    has_gpu(&guest.discovery().unwrap(), "mended");
    // Somebody adds a unit that brings the link up, while Ollama runs.
    guest
        .sh("printf '[Service]\\nType=oneshot\\nRemainAfterExit=yes\\nExecStart=/bin/true\\n' \\
                 > /etc/systemd/system/vgpu-guest.service
             systemctl daemon-reload
             systemctl start vgpu-guest")
        .unwrap();
    assert_eq!(failures(&guest, &["service.order"]), ["service.order U03"]);
    assert_eq!(failures(&guest, &["--fix", "service.order"]), [""; 0]);
    let after = guest.sh("systemctl show --property=After --value ollama").unwrap();
    assert!(after.contains("vgpu-guest.service"), "{after}");
    assert_eq!(failures(&guest, &[]), [""; 0]);
}

#[test]
fn a_wiped_bundle_is_named_and_mended() {
    let (guest, _host) = served(&setting());
    guest.keep_ollama().unwrap();
    guest.install_deb().unwrap();
    guest.vgpu_install(&["--rollback"]).unwrap().success().unwrap();
    guest.vgpu_install(&["apply", "--scope", "bundle"]).unwrap().success().unwrap();
    assert_eq!(failures(&guest, &[]), [""; 0]);
    guest.sh("systemctl stop vgpu-refresh.path vgpu-refresh.service").unwrap();
    guest.upgrade_ollama().unwrap();
    has_no_gpu(&guest.discovery().unwrap(), "the bundle was wiped");
    let failed = failures(&guest, &[]);
    assert!(failed.iter().any(|one| one.starts_with("package.drift P25")), "{failed:#?}");
    assert_eq!(failures(&guest, &["--fix"]), [""; 0]);
    has_gpu(&guest.discovery().unwrap(), "mended");
}

#[test]
fn a_report_holds_the_journal_and_no_secret() {
    let (guest, _host) = served(&setting());
    guest
        .sh(&format!(
            "mkdir -p /etc/systemd/system/ollama.service.d
             printf '[Service]\\nEnvironment=OLLAMA_API_KEY={SECRET}\\n\\
             ExecStartPre=/bin/echo token={SECRET}\\n' \\
                 > /etc/systemd/system/ollama.service.d/10-key.conf"
        ))
        .unwrap();
    guest.install_deb().unwrap();
    has_gpu(&guest.restart_ollama().unwrap(), "installed");
    let journal = guest.sh("journalctl -o cat -u ollama").unwrap();
    assert!(journal.contains(SECRET), "nothing to hide: {journal}");
    guest.vgpu_install(&["report", "--output", "/root/report.json"]).unwrap().success().unwrap();
    assert_eq!(guest.sh("stat --format=%a /root/report.json").unwrap(), "600\n");
    let text = guest.sh("cat /root/report.json").unwrap();
    assert!(!text.contains(SECRET), "{text}");
    let report: Value = serde_json::from_str(&text).unwrap();
    let lines = report["logs"]["ollama.service"].as_array().expect("lines of the journal");
    let found = |line: &Value| line.as_str().is_some_and(|line| line.contains("library=CUDA"));
    assert!(lines.iter().any(found), "{lines:#?}");
    assert!(report["findings"].as_array().is_some_and(|findings| findings.len() > 30));
}
