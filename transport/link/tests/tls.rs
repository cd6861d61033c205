//! What only the `tls` link does: who is let in, and what both sides are told when one is not.

#![forbid(unsafe_code)]

use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use rcgen::CertificateParams;
use vgpu_link::tls::{self, Credentials, Files, TENANT_URI, TlsStream};
use vgpu_link::wire::control::{Hello, Refusal, Role};
use vgpu_link::wire::{Header, Kind, Text};
use vgpu_link::{
    Access, HostPort, Link as _, LinkError, Listener, Receiver as _, Sender as _, StreamLink, Uri,
    connect, socket_link,
};

mod made;

use made::{Ca, accept, for_guest, for_host, listen, soon};

/// A year long gone, and one far away.
const PAST: i32 = 2001;
const FUTURE: i32 = 2101;

fn hello() -> Hello {
    Hello { role: Role::Observer, pid: 1, exe: Text::cut("test") }
}

/// Lets a guest and a host meet; returns what each of them says.
#[track_caller]
fn meet(guest: &Files, host: &Files) -> (LinkError, Result<Option<String>, LinkError>) {
    let credentials = Credentials::read(host).expect("readable");
    let (listener, at) = listen();
    thread::scope(|scope| {
        let guest = scope.spawn(|| {
            let limit = Duration::from_secs(20);
            connect(&Uri::Tls(at), guest, &hello(), limit).map(drop).expect_err("no Welcome")
        });
        let host = TlsStream::accept(accept(&listener), &credentials, soon());
        // A host that lets the guest in closes at once, which is an error for it as well.
        let host = host.map(|(_, tenant)| tenant);
        (guest.join().expect("no panic"), host)
    })
}

/// Checks that an error is one of distrust that says `part`, and how to mend it.
#[track_caller]
fn distrusts(error: &LinkError, part: &str) {
    assert!(matches!(error, LinkError::Distrust { .. }), "{error}");
    assert!(error.to_string().contains(part), "{error}");
    assert!(error.hint().is_some() && !error.is_retryable());
}

#[test]
fn the_certificate_names_the_tenant() {
    let directory = tempfile::tempdir().expect("a directory");
    let ca = Ca::new();
    let (_, told) = meet(&ca.guest(directory.path(), "team-a"), &ca.host(directory.path()));
    assert_eq!(told.expect("it is let in").as_deref(), Some("team-a"));
}

#[test]
fn a_certificate_of_two_tenants_names_none() {
    let directory = tempfile::tempdir().expect("a directory");
    let ca = Ca::new();
    let both = |params: &mut CertificateParams| {
        for_guest(params, "team-a");
        for_guest(params, "team-b");
    };
    let guest = ca.issue(directory.path(), "guest", &ca, both);
    assert_eq!(meet(&guest, &ca.host(directory.path())).1.expect("it is let in"), None);
    assert!(TENANT_URI.ends_with(':'));
}

#[test]
fn a_guest_of_another_ca_is_refused_and_both_are_told() {
    let directory = tempfile::tempdir().expect("a directory");
    let (ca, other) = (Ca::new(), Ca::new());
    let guest = other.issue(directory.path(), "guest", &ca, |params| for_guest(params, "a"));
    let (heard, said) = meet(&guest, &ca.host(directory.path()));
    distrusts(&said.expect_err("refused"), "certificate is of another CA");
    distrusts(&heard, "refused our certificate, which is of another CA");
}

#[test]
fn a_guest_does_not_speak_with_a_host_of_another_ca() {
    let directory = tempfile::tempdir().expect("a directory");
    let (ca, other) = (Ca::new(), Ca::new());
    let host = other.issue(directory.path(), "host", &ca, for_host);
    let (heard, said) = meet(&ca.guest(directory.path(), "a"), &host);
    distrusts(&heard, "its certificate is of another CA");
    distrusts(&said.expect_err("the guest left"), "refused our certificate");
}

#[test]
fn a_guest_does_not_speak_with_a_host_of_another_name() {
    let directory = tempfile::tempdir().expect("a directory");
    let ca = Ca::new();
    let elsewhere = |params: &mut CertificateParams| {
        let name = "elsewhere.example".try_into().expect("ASCII");
        params.subject_alt_names.push(rcgen::SanType::DnsName(name));
    };
    let host = ca.issue(directory.path(), "host", &ca, elsewhere);
    distrusts(&meet(&ca.guest(directory.path(), "a"), &host).0, "is for another name");
}

#[test]
fn a_certificate_of_a_host_does_not_let_a_guest_in() {
    let directory = tempfile::tempdir().expect("a directory");
    let ca = Ca::new();
    let guest = ca.issue(directory.path(), "guest", &ca, for_host);
    let at = HostPort { host: "127.0.0.1".into(), port: 1 };
    let error = TlsStream::connect(&at, &guest, soon()).expect_err("not asked at all");
    assert!(error.to_string().contains("of the other kind"), "{error}");
}

#[test]
fn a_guest_without_tls_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let credentials = Credentials::read(&Ca::new().host(directory.path())).expect("readable");
    let (listener, at) = listen();
    let socket = TcpStream::connect((at.host.as_str(), at.port)).expect("connected");
    let mut link = socket_link(socket.into());
    link.send(&Header::new(Kind::Call, 1), &[], &[]).expect("it goes out");
    let error = TlsStream::accept(accept(&listener), &credentials, soon()).expect_err("no TLS");
    distrusts(&error, "does not speak TLS");
    assert!(error.to_string().contains("127.0.0.1:"), "the log names the address: {error}");
}

#[test]
fn a_guest_that_says_nothing_is_given_up_at_the_limit() {
    let directory = tempfile::tempdir().expect("a directory");
    let credentials = Credentials::read(&Ca::new().host(directory.path())).expect("readable");
    let (listener, at) = listen();
    let silent = TcpStream::connect((at.host.as_str(), at.port)).expect("connected");
    let limit = Instant::now() + Duration::from_millis(30);
    let error = TlsStream::accept(accept(&listener), &credentials, limit).expect_err("silent");
    assert!(matches!(error, LinkError::TimedOut), "{error}");
    drop(silent);
}

#[test]
fn a_host_that_says_nothing_is_given_up_at_the_limit() {
    let directory = tempfile::tempdir().expect("a directory");
    let guest = Ca::new().guest(directory.path(), "a");
    let (listener, at) = listen();
    let limit = Instant::now() + Duration::from_millis(30);
    let error = TlsStream::connect(&at, &guest, limit).expect_err("silent");
    assert!(matches!(error, LinkError::TimedOut), "{error}");
    drop(listener);
}

#[test]
fn a_host_that_is_full_is_understood_before_tls_began() {
    let directory = tempfile::tempdir().expect("a directory");
    let guest = Ca::new().guest(directory.path(), "a");
    let (listener, at) = listen();
    let guest = thread::spawn(move || TlsStream::connect(&at, &guest, soon()));
    let socket = accept(&listener);
    tls::refuse(&socket);
    let error = guest.join().expect("no panic").expect_err("refused");
    assert!(
        matches!(&error, LinkError::Refused { refusal: Refusal::Full, .. }) && error.is_retryable(),
        "{error}"
    );
    drop(socket);
}

/// Checks what reading or using a guest's files fails with, before anybody is asked.
#[track_caller]
fn refused(files: &Files, parts: &[&str]) {
    let at = HostPort { host: "127.0.0.1".into(), port: 1 };
    let error = TlsStream::connect(&at, files, soon()).expect_err("not with these files");
    for part in parts {
        assert!(error.to_string().contains(part), "{error} has no {part}");
    }
    assert!(error.hint().is_some(), "{error}");
}

#[test]
fn each_fault_of_a_file_is_told_apart_with_its_path() {
    let directory = tempfile::tempdir().expect("a directory");
    let ca = Ca::new();
    let good = ca.guest(directory.path(), "a");
    let spoilt = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    };
    let issued = |name: &str, change: fn(&mut CertificateParams)| {
        ca.issue(directory.path(), name, &ca, |params| {
            for_guest(params, "a");
            change(params);
        })
    };
    refused(&Files { key: "/nonexistent/k".into(), ..good.clone() }, &["/nonexistent/k", "key"]);
    let text = spoilt("text.pem", "no certificate");
    refused(&Files { ca: text.clone(), ..good.clone() }, &["text.pem", "CA", "PEM"]);
    refused(&Files { certificate: text.clone(), ..good.clone() }, &["text.pem", "PEM"]);
    refused(&Files { key: text, ..good.clone() }, &["key", "text.pem", "PEM"]);
    let long = spoilt("long.pem", &" ".repeat(20 << 10));
    refused(&Files { ca: long, ..good.clone() }, &["long.pem", "16 KiB"]);
    let other = issued("other", |_| {});
    refused(&Files { key: other.key, ..good }, &["other.key", "the key of another certificate"]);
    let past = issued("past", |params| params.not_after = rcgen::date_time_ymd(PAST, 1, 1));
    refused(&past, &["past.pem", "has expired"]);
    let future = issued("future", |params| params.not_before = rcgen::date_time_ymd(FUTURE, 1, 1));
    refused(&future, &["future.pem", "not valid yet"]);
}

#[test]
fn a_file_that_this_user_may_not_read_is_named_with_the_remedy() {
    let refused = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
    let error = LinkError::File { what: "key", path: "/k".into(), source: refused };
    assert_eq!(error.to_string(), "reading the key /k");
    assert!(error.hint().expect("a remedy").contains("chgrp"));
}

#[test]
fn an_address_is_listened_at_once_only() {
    let (first, at) = listen();
    let access = Access { mode: 0o600, group: None };
    let error = Listener::bind(&Uri::Tls(at.clone()), access).expect_err("it is taken");
    assert!(matches!(error, LinkError::InUse { .. }), "{error}");
    drop(first);
    let directory = tempfile::tempdir().expect("a directory");
    let guest = Ca::new().guest(directory.path(), "a");
    let error = TlsStream::connect(&at, &guest, soon()).expect_err("nobody listens");
    assert!(matches!(error, LinkError::Connect { .. }) && error.is_retryable(), "{error}");
}

/// Every frame of a conversation is small and waits for the last one's answer: with a delayed
/// acknowledgement or a delayed segment, each would take 40 ms.
#[test]
fn no_frame_waits_for_an_acknowledgement() {
    const TURNS: u32 = 200;
    let (guest, host) = made::pair();
    let (mut guest, mut host) = (StreamLink::new(guest), StreamLink::new(host));
    let (frame, limit) = (|kind| Header::new(kind, 7), soon());
    let answers = thread::spawn(move || {
        host.wait_until(Some(limit));
        for _ in 0..TURNS {
            let mut payload = Vec::new();
            // Two posts and a call, as guests send them, and two frames back.
            for _ in 0..3 {
                host.receive(&mut payload, vgpu_link::Bulk::Into(&mut [])).expect("a frame");
            }
            for _ in 0..2 {
                host.send(&frame(Kind::Reply), &payload, &[]).expect("sent");
            }
        }
    });
    let began = Instant::now();
    guest.wait_until(Some(limit));
    for _ in 0..TURNS {
        for kind in [Kind::Post, Kind::Post, Kind::Call] {
            guest.send(&frame(kind), &[1; 100], &[]).expect("sent");
        }
        for _ in 0..2 {
            guest.receive(&mut Vec::new(), vgpu_link::Bulk::Into(&mut [])).expect("an answer");
        }
    }
    answers.join().expect("no panic");
    let turn = began.elapsed() / TURNS;
    eprintln!("one turn of five frames: {turn:?}");
    assert!(turn < Duration::from_millis(10), "{turn:?}");
}

#[test]
fn a_socket_that_a_worker_was_handed_is_spoken_on() {
    let directory = tempfile::tempdir().expect("a directory");
    let ca = Ca::new();
    let credentials = Credentials::read(&ca.host(directory.path())).expect("readable");
    credentials.check_host().expect("a host can serve with them");
    let (listener, at) = listen();
    let guest = ca.guest(directory.path(), "a");
    let guest = thread::spawn(move || TlsStream::connect(&at, &guest, soon()));
    let handed: OwnedFd = accept(&listener).try_clone().expect("a file descriptor");
    let (host, _) = TlsStream::accept(handed, &credentials, soon()).expect("agreed");
    let mut host = StreamLink::new(host);
    let mut guest = StreamLink::new(guest.join().expect("no panic").expect("agreed"));
    host.send(&Header::new(Kind::Post, 9), &[], &[]).expect("sent");
    let frame = guest.receive(&mut Vec::new(), vgpu_link::Bulk::Into(&mut [])).expect("it came");
    assert_eq!(frame.opcode, 9);
}
