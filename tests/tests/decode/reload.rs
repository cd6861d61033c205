//! What becomes of Ollama when its host is lost: the answer that is under way ends with an error,
//! and a later request is answered on the GPU again, without anybody starting anything.
//!
//! Real: the published llama.cpp and its CUDA 13 backend, whose kernels run on the simulated
//! device. Imitated: the server and its runner (`vgpu_tests::stand_in`), after Ollama's sources.

use std::ffi::OsString;
use std::fs;
use std::io::Read as _;
use std::net::{IpAddr, TcpListener};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use vgpu_tests::cable::{self, Cable};
use vgpu_tests::client::{Way, over};
use vgpu_tests::model::{Shape, Weights};
use vgpu_tests::system::GGML;
use vgpu_tests::{Finished, Stage, Vgpud, model, run, stage};

use super::{LIMIT, lines, wait_for};

/// By when an answer ends whose host is gone: its process ends, and with it the connection.
const TOLD: Duration = Duration::from_secs(5);

/// By when one ends whose network is cut (docs/host.md): 10 seconds of silence, and 2 until who
/// waits looks; the rest is for a loaded machine.
const CUT: Duration = Duration::from_secs(20);

/// More tokens than are said while a test does something.
const LONG: &str = "400";

/// How llama.cpp says, once for each loaded model, that all of it is on the GPU.
const LOADED: &str = "offloaded 3/3 layers to GPU";

/// A server with a model, as Ollama's files lie; it ends with this, and its runner with it.
struct Ollama {
    server: Child,
    directory: tempfile::TempDir,
    address: String,
    lines: Receiver<String>,
}

impl Ollama {
    /// Starts it in the environment that `around` makes for the program, and waits until it has
    /// found the GPU.
    fn start(around: impl FnOnce(&Path) -> Command) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        lay(directory.path());
        let free = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let address = free.local_addr().expect("an address").to_string();
        drop(free);
        let mut server = around(&program(directory.path()));
        server.arg("serve").env("OLLAMA_HOST", &address).env("OLLAMA_MODELS", directory.path());
        // A debugger that is installed would be asked for a trace of every thread.
        server.env("GGML_NO_BACKTRACE", "1");
        server.process_group(0).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut server = server.spawn().expect("it starts");
        let lines = lines(server.stderr.take().expect("a pipe"));
        let ollama = Self { server, directory, address, lines };
        wait_for(&ollama.lines, "msg=\"inference compute\" id=0", LIMIT);
        ollama
    }

    /// A request of so many tokens, by Ollama's own command.
    fn request(&self, tokens: &str) -> Command {
        let mut ask = Command::new(program(self.directory.path()));
        ask.args(["run", "tiny", "abc def 42", tokens]).env("OLLAMA_HOST", &self.address);
        ask
    }

    fn ask(&self) -> Finished {
        run(&mut self.request("8"), LIMIT).expect("it is answered in time")
    }

    /// What is answered by a model on the GPU that is loaded for it, if `is_new`.
    #[track_caller]
    fn answer(&self, is_new: bool) -> String {
        let done = self.ask();
        let said: Vec<String> = self.lines.try_iter().collect();
        let said = said.join("\n");
        assert!(done.status.success(), "{}\nthe server said:\n{said}", done.stderr);
        let loads = said.matches(LOADED).count();
        assert_eq!(loads, usize::from(is_new), "loaded on the GPU; the server said:\n{said}");
        done.stdout
    }

    /// Fails unless a request ends as one of a lost device does.
    #[track_caller]
    fn refuses(&self) {
        let done = self.ask();
        assert!(!done.status.success(), "{}", done.stdout);
        assert!(done.took < TOLD, "only after {:?}: {}", done.took, done.stderr);
        is_of_a_lost_device(&done.stderr);
    }

    /// A long answer, of which something is said already.
    fn speaking(&self) -> Speaking {
        let mut ask = self.request(LONG);
        let ask = ask.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut ask = ask.spawn().expect("it starts");
        let mut stdout = ask.stdout.take().expect("a pipe");
        let (sender, heard) = channel();
        std::thread::spawn(move || {
            let mut some = [0; 64];
            while let Ok(count @ 1..) = stdout.read(&mut some) {
                // Nobody counts any more when the test has failed.
                let _ = sender.send(count);
            }
        });
        heard.recv_timeout(LIMIT).expect("it begins to speak");
        Speaking { ask, heard }
    }
}

impl Drop for Ollama {
    fn drop(&mut self) {
        if let Some(pid) = Pid::from_raw(self.server.id() as i32) {
            // Its runner is in the same group.
            let _ = kill_process_group(pid, Signal::KILL);
        }
        let _ = self.server.wait();
    }
}

/// An answer that is under way.
struct Speaking {
    ask: Child,
    heard: Receiver<usize>,
}

impl Speaking {
    /// Waits for its end, which has to be an error and to come in time.
    #[track_caller]
    fn ends(mut self, limit: Duration) {
        let began = Instant::now();
        let stderr = lines(self.ask.stderr.take().expect("a pipe"));
        let left = |limit: Duration| limit.saturating_sub(began.elapsed());
        while self.heard.recv_timeout(left(limit)).is_ok() {}
        let said = stderr.recv_timeout(left(limit)).expect("the answer ends in time");
        println!("told after {:?}: {said}", began.elapsed());
        assert!(!self.ask.wait().expect("it has ended").success(), "it cannot be whole: {said}");
        is_of_a_lost_device(&said);
    }
}

#[track_caller]
fn is_of_a_lost_device(said: &str) {
    let words = "an error was encountered while running the model: CUDA error";
    assert!(said.contains(words), "{said}");
}

fn program(directory: &Path) -> PathBuf {
    directory.join("bin/ollama")
}

/// Lays a model and Ollama's files as its release does, of the backends one.
fn lay(directory: &Path) {
    let library = directory.join("lib/ollama");
    let backend = library.join("cuda_v13");
    fs::create_dir(directory.join("bin")).expect("a directory");
    fs::create_dir_all(&backend).expect("a directory");
    // A program's own directory is that of its file, and no link.
    fs::copy(env!("CARGO_BIN_EXE_ollama-stand-in"), program(directory)).expect("copied");
    let runner = env!("CARGO_BIN_EXE_llama-server-stand-in");
    fs::copy(runner, library.join("llama-server")).expect("copied");
    let published = stage::ggml_cuda13();
    for (name, there) in GGML {
        symlink(published.join(name), library.join(there)).expect("linked");
    }
    let name = "libggml-cuda.so";
    symlink(published.join(name), backend.join(name)).expect("linked");
    let mut file = fs::File::create(directory.join("tiny.gguf")).expect("a file");
    model::write(&mut file, Shape::SMALL, Weights::F16).expect("written");
}

fn killed(host: Vgpud) {
    let pid = Pid::from_raw(host.pid() as i32).expect("its process id");
    kill_process(pid, Signal::KILL).expect("it runs");
    drop(host);
}

#[test]
fn ollama_loads_its_model_again_by_itself_after_its_host_was_killed_and_started_anew() {
    let directory = tempfile::tempdir().expect("a directory");
    let link = format!("unix:{}", directory.path().join("host.sock").display());
    let start = || Vgpud::simulated(&Stage::dev(), &["--listen", &link]).expect("vgpud starts");
    let host = start();
    let ollama = Ollama::start(|ollama| over(&Stage::dev(), Way::Preload, &link, ollama));
    let expected = ollama.answer(true);
    assert_eq!(ollama.answer(false), expected, "the model stays loaded");
    let speaking = ollama.speaking();
    killed(host);
    speaking.ends(TOLD);
    let host = start();
    assert_eq!(ollama.answer(true), expected);
    // Of a host that is lost while nobody asks, the next request hears, and the one after it is
    // answered: Ollama looks whether the runner is well, and that it is.
    killed(host);
    let host = start();
    ollama.refuses();
    assert_eq!(ollama.answer(true), expected);
    // Without a host the next runner finds no GPU, and keeps its model where it is.
    killed(host);
    ollama.refuses();
    let cpu = ollama.answer(false);
    let _host = start();
    assert_eq!(ollama.answer(false), cpu);
}

/// A guest's `/etc` and a host's configuration, with certificates for each other.
fn certificates(directory: &Path) -> (PathBuf, [PathBuf; 2]) {
    let ca = directory.join("ca");
    let make = |words: &[&str]| {
        let mut vgpud = Command::new(Stage::dev().vgpud());
        vgpud.arg("ca").args(words).arg("--directory").arg(&ca);
        run(&mut vgpud, LIMIT).and_then(Finished::success).expect("made");
    };
    make(&["init"]);
    make(&["issue", "--host", &cable::HOST.to_string()]);
    make(&["issue", "--tenant", "team"]);
    let config = directory.join("host.toml");
    let host = ca.join(format!("issued/host-{}", cable::HOST));
    let text = |authority: &str, side: &str, at: &Path| {
        let file = |name: String| at.join(name);
        let (ca, own, key) =
            (file("ca.pem".into()), file(format!("{side}.pem")), file(format!("{side}.key")));
        format!("[tls]\n{authority} = {ca:?}\ncertificate = {own:?}\nkey = {key:?}\n")
    };
    fs::write(&config, text("clients_ca", "host", &host)).expect("written");
    let (upper, work) = (directory.join("etc"), directory.join("work"));
    for path in [&upper.join("vgpu"), &work] {
        fs::create_dir_all(path).expect("a directory");
    }
    let guest = text("ca", "guest", &ca.join("issued/guest-team"));
    fs::write(upper.join("vgpu/guest.toml"), guest).expect("written");
    (config, [upper, work])
}

#[test]
fn ollama_loads_its_model_again_by_itself_after_its_network_was_cut_and_mended() {
    let directory = tempfile::tempdir().expect("a directory");
    let (config, places) = certificates(directory.path());
    let cable = Cable::new("reload");
    let link = format!("tls:{}:6475", IpAddr::V4(cable::HOST));
    let arguments = ["--config", &config.to_string_lossy(), "--listen", &link];
    let host = cable.in_host(|| Vgpud::simulated(&Stage::dev(), &arguments));
    let host = host.expect("vgpud starts");
    let overlay = "mount -t overlay overlay -o lowerdir=/etc,upperdir=\"$1\",workdir=\"$2\" /etc";
    let script = format!("{overlay} && shift 2 && exec \"$@\"");
    let around = |ollama: &Path| {
        let mut unshare = over(&Stage::dev(), Way::Preload, &link, "unshare");
        let words = ["--mount", "sh", "-c", &script, "sh"].map(OsString::from);
        unshare.args(words).args(&places).arg(ollama);
        unshare
    };
    cable.in_guest(|| {
        let ollama = Ollama::start(around);
        let expected = ollama.answer(true);
        let speaking = ollama.speaking();
        cable.plug(false);
        speaking.ends(CUT);
        cable.plug(true);
        assert_eq!(ollama.answer(true), expected);
    });
    host.end();
}
