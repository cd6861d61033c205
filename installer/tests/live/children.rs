//! Programs that the installer starts, on this very machine.

use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use vgpu_install::host::real::Real;
use vgpu_install::host::{Host, Program};

#[test]
fn a_child_that_is_too_late_ends_with_all_that_it_started() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("alive");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let (ended, end) = std::sync::mpsc::channel();
    let held = fifo.clone();
    // The pipe ends with the last process that holds it.
    let reader = std::thread::spawn(move || {
        let mut said = String::new();
        std::fs::File::open(held).unwrap().read_to_string(&mut said).unwrap();
        let _ = ended.send(said);
    });
    let script = format!("(echo up; exec sleep 600) > '{}' & wait", fifo.display());
    let outcome = Real::open(Path::new("/")).unwrap().run(&Program {
        path: "/bin/sh".into(),
        arguments: ["-c".into(), script.into()].into(),
        environment: vec![("PATH".into(), "/usr/bin:/bin".into())],
        deadline: Duration::from_secs(2),
    });
    assert!(outcome.unwrap().timed_out);
    assert_eq!(end.recv_timeout(Duration::from_secs(30)).as_deref(), Ok("up\n"));
    reader.join().unwrap();
}
