//! Servers that run on this very machine, stood in for by a shell under Ollama's name.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use vgpu_install::discover;
use vgpu_install::facts::Running;
use vgpu_install::host::real::Real;

/// Held while a program is copied or started: a process that another test starts meanwhile would
/// hold the copy open for writing, and nobody may start it then.
static STARTING: Mutex<()> = Mutex::new(());

fn starting() -> MutexGuard<'static, ()> {
    STARTING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes a shell under another name.
fn copy_shell(program: &Path) {
    let _one = starting();
    std::fs::copy("/bin/sh", program).unwrap();
}

/// Ends the process with the test, however that ends.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    fn start(program: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.args(["-c", "echo up; read end"]).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let one = starting();
        let mut server = Self(command.spawn().unwrap());
        drop(one);
        // Once it has written, it is the new program and no longer the test's own copy.
        let mut line = [0_u8; 3];
        std::io::Read::read_exact(server.0.stdout.as_mut().unwrap(), &mut line).unwrap();
        server
    }

    fn found(&self) -> Option<Running> {
        let facts = discover::facts(&Real::open(Path::new("/")).unwrap()).unwrap();
        facts.running.into_iter().find(|running| running.pid == self.0.id())
    }
}

#[test]
fn a_server_is_found_with_its_program_and_told_when_that_was_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().canonicalize().unwrap().join("ollama");
    copy_shell(&program);
    let server = Server::start(&program, &["ollama", "serve"]);
    let found = server.found().expect("the server runs");
    assert_eq!((found.executable.as_ref(), found.deleted), (program.as_path(), false));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    assert!(now.as_secs().abs_diff(found.started) < 600, "{} {}", now.as_secs(), found.started);
    std::fs::remove_file(&program).unwrap();
    let found = server.found().expect("the server runs on");
    assert_eq!((found.executable.as_ref(), found.deleted), (program.as_path(), true));
}

#[test]
fn a_runner_of_a_model_is_no_server() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("ollama");
    copy_shell(&program);
    let runner = Server::start(&program, &["ollama", "runner"]);
    assert_eq!(runner.found(), None);
}
