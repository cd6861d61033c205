//! What is made serves a host and a guest; what is there stays.

use std::os::unix::fs::PermissionsExt as _;

use vgpu_link::tls::{Credentials, Files};

use super::*;

fn made(directory: &Path, force: bool) -> Result<String, DaemonError> {
    init(&InitOptions { directory: directory.into(), force })
}

fn issued(directory: &Path, tenant: Option<&str>, host: &[&str]) -> Result<String, DaemonError> {
    issue(&IssueOptions {
        tenant: tenant.map(str::to_owned),
        host: host.iter().map(|&name| name.to_owned()).collect(),
        directory: directory.into(),
        days: ISSUED_DAYS,
        force: false,
    })
}

#[test]
fn a_host_can_serve_with_what_is_issued_and_its_key_is_its_owners() {
    let directory = tempfile::tempdir().expect("a directory");
    let directory = directory.path().join("ca");
    made(&directory, false).expect("made");
    let told = issued(&directory, None, &["gpu-host", "10.0.0.1", "fd00::1"]).expect("issued");
    assert!(told.contains("valid until 20") && told.contains("chgrp vgpu host.key"), "{told}");
    let out = directory.join("issued/host-gpu-host");
    let files = Files {
        ca: out.join("ca.pem"),
        certificate: out.join("host.pem"),
        key: out.join("host.key"),
    };
    Credentials::read(&files).expect("readable").check_host().expect("a host's");
    let mode = |path: &Path| path.metadata().expect("it is there").permissions().mode() & 0o777;
    for key in [&files.key, &directory.join("ca.key")] {
        assert_eq!(mode(key), 0o600, "{}", key.display());
    }
    assert_eq!((mode(&files.ca), mode(&directory)), (0o644, 0o700));
}

#[test]
fn a_guests_certificate_does_not_make_a_host() {
    let directory = tempfile::tempdir().expect("a directory");
    made(directory.path(), false).expect("made");
    let told = issued(directory.path(), Some("team-a"), &[]).expect("issued");
    assert!(told.contains("chgrp ollama guest.key"), "{told}");
    let out = directory.path().join("issued/guest-team-a");
    let (ca, certificate, key) = (out.join("ca.pem"), out.join("guest.pem"), out.join("guest.key"));
    let error = Credentials::read(&Files { ca, certificate, key }).expect("readable").check_host();
    assert!(error.expect_err("a guest's").to_string().contains("of the other kind"));
}

#[test]
fn what_is_there_is_replaced_only_when_that_is_asked_for() {
    let directory = tempfile::tempdir().expect("a directory");
    made(directory.path(), false).expect("made");
    let key = || std::fs::read(directory.path().join("ca.key")).expect("it is there");
    let first = key();
    let error = made(directory.path(), false).expect_err("it is there");
    assert!(matches!(&error, DaemonError::Exists { path } if path.ends_with("ca.key")), "{error}");
    assert!(error.hint().expect("a remedy").contains("--force") && key() == first);
    made(directory.path(), true).expect("replaced");
    assert_ne!(key(), first);
    issued(directory.path(), Some("a"), &[]).expect("issued");
    assert!(matches!(issued(directory.path(), Some("a"), &[]), Err(DaemonError::Exists { .. })));
}

#[test]
fn names_that_are_none_are_refused_with_what_one_looks_like() {
    let directory = tempfile::tempdir().expect("a directory");
    made(directory.path(), false).expect("made");
    for tenant in ["", "..", "a/b", "a b", "ä", &"x".repeat(65)] {
        let error = issued(directory.path(), Some(tenant), &[]).expect_err(tenant);
        assert!(matches!(error, DaemonError::Value { name: "--tenant", .. }), "{error}");
    }
    for host in ["", "../x", "a:6475", "[::1]", "a b"] {
        let error = issued(directory.path(), None, &[host]).expect_err(host);
        assert!(matches!(error, DaemonError::Value { name: "--host", .. }), "{error}");
    }
}

#[test]
fn without_a_ca_nothing_is_issued_and_the_file_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let error = issued(directory.path(), Some("a"), &[]).expect_err("no CA");
    assert!(error.to_string().contains("ca.pem") && error.hint().is_some(), "{error}");
}
