use std::{
    fs::File,
    io::{self, Read, Seek},
    os::fd::AsFd,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::inotify::{self, CreateFlags, WatchFlags},
    io::Errno,
    process::{Pid, PidfdFlags, pidfd_open},
};

use super::{Error, Result, error::at};

/// Holds what a program left behind when it ended.
#[derive(Debug)]
pub struct Finished {
    /// The command line, for messages.
    pub command: String,
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
    /// How long it ran.
    pub took: Duration,
}

impl Finished {
    /// Is the standard output, if the program succeeded; else an error with all that it said.
    pub fn success(self) -> Result<String> {
        if self.status.success() { Ok(self.stdout) } else { Err(self.into_error()) }
    }

    fn into_error(self) -> Error {
        let output = format!("{}{}", self.stdout, self.stderr);
        Error::Failed { command: self.command, status: self.status, output }
    }
}

/// Runs a program to its end, or ends it at the deadline.
///
/// The output goes to files, not pipes, so a program that leaves a child with its output open
/// (a daemon's installer, say) does not hold us.
pub fn run(command: &mut Command, limit: Duration) -> Result<Finished> {
    let text = line(command);
    let program = command.get_program().to_string_lossy().into_owned();
    let failed = |source| Error::Start { program: program.clone(), source };
    let mut streams =
        [tempfile::tempfile().map_err(failed)?, tempfile::tempfile().map_err(failed)?];
    let begun = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(streams[0].try_clone().map_err(failed)?)
        .stderr(streams[1].try_clone().map_err(failed)?)
        .spawn()
        .map_err(failed)?;
    let status = wait(&mut child, limit).map_err(failed)?;
    let [stdout, stderr] = streams.each_mut().map(read);
    let (stdout, stderr) = (stdout.map_err(failed)?, stderr.map_err(failed)?);
    match status {
        Some(status) => {
            Ok(Finished { command: text, status, stdout, stderr, took: begun.elapsed() })
        }
        None => Err(Error::Late { command: text, limit, output: stdout + &stderr }),
    }
}

/// Waits for a child's end; at the deadline kills it, reaps it and answers `None`.
pub(crate) fn wait(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::Other)?;
    let handle = pidfd_open(pid, PidfdFlags::empty())?;
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        await_input(&handle, left)?;
    }
}

/// Waits until there is something at `path`, whose directory is there; answers whether it came.
pub(crate) fn appeared(path: &Path, limit: Duration) -> Result<bool> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let failed = |errno: Errno| at("watching", directory)(errno.into());
    let watch = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).map_err(failed)?;
    let made = WatchFlags::CREATE | WatchFlags::MOVED_TO;
    inotify::add_watch(&watch, directory, made).map_err(failed)?;
    let deadline = Instant::now() + limit;
    while !path.exists() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        await_input(&watch, left).map_err(at("watching", directory))?;
        // What came is looked for itself.
        while rustix::io::read(&watch, &mut [0; 4096]).is_ok_and(|read| read > 0) {}
    }
    Ok(true)
}

/// Waits until something can be read, for so long at most.
fn await_input(from: impl AsFd, left: Duration) -> io::Result<()> {
    let left = Timespec {
        tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: left.subsec_nanos().into(),
    };
    match poll(&mut [PollFd::new(&from, PollFlags::IN)], Some(&left)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn read(file: &mut File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_never_ends_is_ended_at_its_deadline() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo begun; exec sleep 600"]);
        match run(&mut command, Duration::from_millis(300)) {
            Err(Error::Late { output, .. }) => assert_eq!(output, "begun\n"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn both_streams_and_the_status_are_kept() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo err >&2; exit 3"]);
        let done = run(&mut command, Duration::from_secs(20)).unwrap();
        assert_eq!((done.stdout.as_str(), done.stderr.as_str()), ("out\n", "err\n"));
        assert_eq!(done.status.code(), Some(3));
    }
}
