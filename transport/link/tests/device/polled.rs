//! The model behind files that programs map as they would map the device's regions: a thread looks
//! for the bell where an emulator would be told of every access.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::{BUSY, Model, WINDOW};

/// Registers that a program writes before it rings, in order: SCRATCH, the call, its arguments.
const WRITTEN: [(u32, u32); 3] = [(0x03c, 0x03c), (0x080, 0x08c), (0x0b0, 0x0ec)];
const BELL: u64 = 0x0a8;
const STATUS: u32 = 0x004;

/// Between two looks for the bell, or for the answer: 20 us.
const LOOKS: Duration = Duration::from_micros(20);

/// A device behind two files.
pub struct Polled {
    /// Its end ends the thread.
    over: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Polled {
    /// Shows `model` as `resource0` and `resource1` in `directory`.
    pub fn show(model: Model, directory: &Path) -> io::Result<Self> {
        let open = |name: &str, bytes| {
            let options = OpenOptions::new().read(true).write(true).create(true).to_owned();
            let file = options.open(directory.join(name))?;
            file.set_len(bytes)?;
            Ok::<_, io::Error>(file)
        };
        let (registers, data) = (open("resource0", 4096)?, open("resource1", 16 << 20)?);
        let (over, ends) = channel();
        let shown = Front { model, registers, data, ends };
        shown.publish()?;
        let thread = thread::spawn(move || {
            while shown.turn().expect("the files stay") || !shown.ends_within(LOOKS) {}
        });
        Ok(Self { over: Some(over), thread: Some(thread) })
    }
}

impl Drop for Polled {
    fn drop(&mut self) {
        drop(self.over.take());
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(thread::panicking() || matches!(ended, Some(Ok(()))), "the device's thread");
    }
}

/// Shows the device as the kernel would, but for its regions; returns its directory.
pub fn show(sysfs: &Path) -> PathBuf {
    let directory = sysfs.join("bus/pci/devices/0000:00:06.0");
    fs::create_dir_all(&directory).expect("a directory");
    for (name, value) in [
        ("vendor", "0x10de\n"),
        ("device", "0x2331\n"),
        ("class", "0x030200\n"),
        ("revision", "0xa1\n"),
        ("subsystem_vendor", "0x10de\n"),
        ("subsystem_device", "0x16c1\n"),
        ("resource", "0xfebf0000 0xfebf0fff 0x40200\n0xfd000000 0xfdffffff 0x40200\n"),
        ("config", "\u{0}\u{0}\u{0}\u{0}\u{2}\u{0}"),
    ] {
        fs::write(directory.join(name), value).expect("written");
    }
    directory
}

struct Front {
    model: Model,
    registers: File,
    data: File,
    ends: Receiver<()>,
}

impl Front {
    /// Waits for the end, for a moment.
    fn ends_within(&self, moment: Duration) -> bool {
        self.ends.recv_timeout(moment) == Err(RecvTimeoutError::Disconnected)
    }

    fn word(&self, at: u32) -> io::Result<u32> {
        let mut word = [0; 4];
        self.registers.read_exact_at(&mut word, at.into())?;
        Ok(u32::from_le_bytes(word))
    }

    fn put(&self, at: u32, value: u32) -> io::Result<()> {
        self.registers.write_all_at(&value.to_le_bytes(), at.into())
    }

    /// Deals with a call if there is one; says so.
    fn turn(&self) -> io::Result<bool> {
        if self.word(BELL as u32)? != 1 {
            return Ok(false);
        }
        let mut board = self.model.board();
        for (first, last) in WRITTEN {
            for at in (first..=last).step_by(4) {
                board.write(at, self.word(at)?);
            }
        }
        let bytes = self.word(0x08c)?;
        if bytes <= 1024 {
            for at in (0x100..0x100 + bytes).step_by(4) {
                board.write(at, self.word(at)?);
            }
        } else {
            let mut eight = [0; 8];
            for at in (0..bytes as usize).step_by(8) {
                self.data.read_exact_at(&mut eight, at as u64)?;
                board.write_data(at, eight);
            }
        }
        board.write(BELL as u32, 1);
        drop(board);
        self.put(STATUS, BUSY)?;
        self.put(BELL as u32, 0)?;
        while self.model.board().read(STATUS) == BUSY && !self.ends_within(LOOKS) {}
        self.publish()?;
        Ok(true)
    }

    /// Shows the registers that programs read, STATUS last.
    fn publish(&self) -> io::Result<()> {
        let mut board = self.model.board();
        let data = board.read(0x0f8);
        let ranges = [(0x008, 0x03c), (0x0f0, 0x0f8), (0x500, 0x8fc), (0x900, 0x94c)];
        for at in ranges.into_iter().flat_map(|(first, last)| (first..=last).step_by(4)) {
            self.put(at, board.read(at))?;
        }
        for at in (WINDOW..WINDOW + data as usize).step_by(8).filter(|_| data > 1024) {
            let bytes = board.read_data(at);
            self.data.write_all_at(&bytes, at as u64)?;
        }
        self.put(STATUS, board.read(STATUS))
    }
}
