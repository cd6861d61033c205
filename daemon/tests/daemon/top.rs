//! `vgpud smi top` on a terminal that the test plays: what it draws, and that it leaves everything
//! as it was.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Child, Command, ExitStatus};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};

use crate::process::{LIMIT, Vgpud, kill};

/// How xterm and all that follow it are told (ECMA-48, and xterm's "Control Sequences").
const OTHER_SCREEN: &str = "\x1b[?1049h";
const BACK: &str = "\x1b[?1049l";
const CURSOR: &str = "\x1b[?25h";

/// A terminal with the program on it.
struct Terminal {
    /// Our end: what a person types and sees.
    person: File,
    /// The program's end, kept open to see what it leaves.
    line: File,
    before: Termios,
    child: Child,
    seen: String,
}

impl Terminal {
    fn open(status: &str) -> Self {
        let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&person).expect("it is ours");
        unlockpt(&person).expect("it is ours");
        let name = ptsname(&person, Vec::new()).expect("a name").into_string().expect("UTF-8");
        let mut options = File::options();
        options.read(true).write(true).custom_flags(libc::O_NOCTTY);
        let line = options.open(name).expect("it is unlocked");
        let end = || line.try_clone().expect("a file descriptor");
        let mut command = Command::new("setsid");
        command.args(["--ctty", env!("CARGO_BIN_EXE_vgpud"), "smi", "top", "--loop", "1"]);
        command.args(["--status", status]).stdin(end()).stdout(end()).stderr(end());
        resize(&person, 24, 80);
        let before = tcgetattr(&line).expect("a terminal");
        let child = command.spawn().expect("setsid of util-linux");
        let person = person.into();
        Self { person, line, before, child, seen: String::new() }
    }

    /// Waits until the program has written this; what came before it is gone then.
    #[track_caller]
    fn shows(&mut self, text: &str) {
        let limit = Instant::now() + LIMIT;
        loop {
            if let Some(at) = self.seen.find(text) {
                self.seen.drain(..at + text.len());
                return;
            }
            let left = limit.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no {text:?} in {:?}", self.seen);
            let mut watched = [PollFd::new(&self.person, PollFlags::IN)];
            poll(&mut watched, Timespec::try_from(left).ok().as_ref()).expect("it can be polled");
            let mut buffer = [0; 4096];
            let count = (&self.person).read(&mut buffer).expect("both ends are open");
            self.seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
    }

    fn types(&mut self, keys: &[u8]) {
        self.person.write_all(keys).expect("typed");
    }

    /// Waits for the end; the terminal has to be as it was.
    #[track_caller]
    fn ends(mut self) -> ExitStatus {
        self.shows(CURSOR);
        self.shows(BACK);
        let status = self.child.wait().expect("it is ours");
        let after = tcgetattr(&self.line).expect("a terminal");
        let modes = |of: &Termios| (of.input_modes, of.output_modes, of.local_modes);
        assert_eq!(modes(&after), modes(&self.before));
        status
    }
}

fn resize(terminal: impl std::os::fd::AsFd, rows: u16, columns: u16) {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(terminal, size).expect("a terminal");
}

fn served() -> (Vgpud, String) {
    let directory = tempfile::tempdir().expect("a directory");
    let status = directory.path().join("status.sock").display().to_string();
    let socket = format!("unix:{}", directory.path().join("vgpud.sock").display());
    let mut command = Command::new(env!("CARGO_BIN_EXE_vgpud"));
    command.args(["--device", "sim", "--listen", &socket, "--status", &status]);
    (Vgpud::spawn(command, directory), status)
}

#[test]
fn top_follows_clients_and_the_terminals_size_until_q() {
    let (daemon, status) = served();
    let mut terminal = Terminal::open(&status);
    terminal.shows(OTHER_SCREEN);
    terminal.shows("0 of 64 clients");
    terminal.shows("\x1b[24;1Hq ends it");
    let mut client = daemon.client();
    crate::life::hold(&mut client, 64 << 20);
    terminal.shows("1 of 64 clients");
    terminal.shows("test client");
    resize(&terminal.person, 4, 30);
    terminal.shows("\x1b[4;1Hq ends it, any other key asks ");
    assert!(!terminal.seen.starts_with('a'), "cut at the thirtieth column: {:?}", terminal.seen);
    terminal.types(b"q");
    assert!(terminal.ends().success());
}

#[test]
fn control_c_and_signals_give_the_terminal_back() {
    let (_daemon, status) = served();
    let mut terminal = Terminal::open(&status);
    terminal.shows("0 of 64 clients");
    terminal.types(b"\x03");
    assert!(terminal.ends().success());
    for signal in ["TERM", "INT", "HUP"] {
        let mut terminal = Terminal::open(&status);
        terminal.shows("q ends it");
        kill(terminal.child.id(), signal);
        assert!(terminal.ends().success(), "{signal}");
    }
}

#[test]
fn top_says_that_the_daemon_is_away_and_goes_on_when_it_is_back() {
    let (mut daemon, status) = served();
    let mut terminal = Terminal::open(&status);
    terminal.shows("0 of 64 clients");
    daemon.signal("TERM");
    assert!(daemon.ended().success());
    terminal.shows("asking vgpud at");
    let socket = format!("unix:{}", daemon.socket().display());
    let mut command = Command::new(env!("CARGO_BIN_EXE_vgpud"));
    command.args(["--device", "sim", "--listen", &socket, "--status", &status]);
    let again = Vgpud::spawn(command, tempfile::tempdir().expect("a directory"));
    terminal.shows("0 of 64 clients");
    drop(again);
    terminal.types(b"\x1b");
    assert!(terminal.ends().success());
}
