//! A directory that is the root of one case after another: the tree is laid out, the real loader
//! runs in it by chroot, and the model looks at it.

use std::ffi::OsString;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use vgpu_loader::{Files, Found};

use crate::caches;
use crate::case::{Case, Content};
use crate::elf_writer::MACHINE;

/// Where the program of every case lies.
pub(crate) const PROGRAM: &str = "/app/prog";
const LIBC: &str = "/lib/x86_64-linux-gnu/libc.so.6";
/// Most links that one path may lead through, as in the kernel.
const LINKS_MAX: usize = 40;
/// The user and group that start a program with other rights: nobody and nogroup.
const OTHER: u32 = 65534;

/// Held while a program or a loader is written and while another thread forks: a child that still
/// has the file open for writing would keep the kernel from starting it.
static FORK: Mutex<()> = Mutex::new(());

/// The root of a case.
pub(crate) struct Root {
    dir: tempfile::TempDir,
    loader: PathBuf,
    /// The machine's C library, for what opens libraries.
    libc: PathBuf,
    /// The interpreter's path in the root.
    pub(crate) interpreter: &'static str,
}

impl Root {
    /// Makes an empty root for programs of this loader.
    pub(crate) fn new(loader: &Path, interpreter: &'static str) -> Self {
        // ldconfig waits for the disk at each run: where there is one, a root in memory is faster.
        let memory = Path::new("/dev/shm");
        let usual = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let dir = if obeys_set_user_id(memory) { memory } else { usual };
        let dir = tempfile::tempdir_in(dir).expect("a directory");
        let copy = dir.path().join("loader");
        {
            let _no_fork = FORK.lock().expect("no case failed");
            std::fs::copy(loader, &copy).expect("the loader can be read");
        }
        let libc = dir.path().join("libc");
        std::fs::copy(LIBC, &libc).expect("the C library can be read");
        let path = dir.path().to_path_buf();
        // Another user must reach the program in it.
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("set");
        Self { dir, loader: copy, libc, interpreter }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    /// The place of a path of the root on this machine, if all links on the way are followed.
    pub(crate) fn below(&self, path: &Path) -> Option<PathBuf> {
        resolve(&self.path(), path)
    }

    /// Lays out the tree of a case.
    pub(crate) fn fill(&self, case: &Case) {
        let root = self.path();
        if root.exists() {
            std::fs::remove_dir_all(&root).expect("the last case's root is removed");
        }
        for dir in ["a", "app", "etc", "lib64", "proc/self", "usr/lib"] {
            std::fs::create_dir_all(root.join(dir)).expect("made");
        }
        if case.merged {
            symlink("usr/lib", root.join("lib")).expect("made");
        } else {
            std::fs::create_dir(root.join("lib")).expect("made");
        }
        symlink("/a", root.join("l")).expect("made");
        // What the kernel would say: ld.so asks it for the program's own path.
        symlink(PROGRAM, root.join("proc/self/exe")).expect("made");
        let interpreter = self.below(Path::new(self.interpreter));
        let interpreter = interpreter.unwrap_or_else(|| root.join(&self.interpreter[1..]));
        std::fs::hard_link(&self.loader, interpreter).expect("linked");
        let program = root.join(&PROGRAM[1..]);
        {
            let _no_fork = FORK.lock().expect("no case failed");
            std::fs::write(&program, case.program.bytes(Some(self.interpreter))).expect("written");
        }
        let mode = if case.secure { 0o4755 } else { 0o755 };
        std::fs::set_permissions(&program, PermissionsExt::from_mode(mode)).expect("set");
        if case.opens() {
            let dir = self.below(Path::new("/lib")).expect("made").join("x86_64-linux-gnu");
            std::fs::create_dir_all(&dir).expect("made");
            std::fs::hard_link(&self.libc, dir.join("libc.so.6")).expect("linked");
        }
        for index in 0..case.files.len() {
            self.lay(case, index);
        }
        let etc = |name: &str, text: &[u8]| std::fs::write(root.join("etc").join(name), text);
        if let Some(text) = &case.preload_file {
            etc("ld.so.preload", text.as_bytes()).expect("written");
        }
        if let Some(text) = &case.musl_path {
            etc("ld-musl-x86_64.path", text.as_bytes()).expect("written");
        }
        if case.secure {
            etc("suid-debug", b"").expect("written");
        }
        if let Some(cache) = &case.cache {
            etc("ld.so.conf", cache.dirs.join("\n").as_bytes()).expect("written");
            let mut ldconfig = Command::new("/sbin/ldconfig");
            ldconfig.env_clear().args(["-X", "-i", "-r"]).arg(&root);
            ldconfig.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let child = {
                let _no_writing = FORK.lock().expect("no case failed");
                ldconfig.spawn().expect("ldconfig is there")
            };
            let output = child.wait_with_output().expect("it ends");
            let made = std::fs::read(root.join("etc/ld.so.cache"));
            let made = made.unwrap_or_else(|error| panic!("{error}: {output:?}"));
            let made = match cache.format {
                "old" => caches::old(&made),
                "compat" => caches::combined(&made),
                _ => made,
            };
            etc("ld.so.cache", &made).expect("written");
            for index in &cache.gone {
                self.take_away(&case.files[*index].path);
            }
        }
    }

    fn take_away(&self, path: &str) {
        let at = self.path().join(&path[1..]);
        match std::fs::symlink_metadata(&at) {
            Ok(meta) if meta.is_dir() => std::fs::remove_dir_all(at).expect("removed"),
            Ok(_) => std::fs::remove_file(at).expect("removed"),
            Err(_) => {}
        }
    }

    fn lay(&self, case: &Case, index: usize) {
        let file = &case.files[index];
        let at = self.path().join(&file.path[1..]);
        std::fs::create_dir_all(at.parent().expect("absolute")).expect("made");
        let write = |bytes: &[u8]| std::fs::write(&at, bytes).expect("written");
        match &file.content {
            Content::Library(elf) => {
                write(&elf.bytes(None));
                // Some may be preloaded by programs with other rights.
                let mode = if index.is_multiple_of(2) { 0o4755 } else { 0o755 };
                std::fs::set_permissions(&at, PermissionsExt::from_mode(mode)).expect("set");
            }
            Content::OtherMachine(elf) => {
                let mut bytes = elf.bytes(None);
                bytes[18] = 183;
                write(&bytes);
            }
            Content::OtherOrder(elf) => {
                let mut bytes = elf.bytes(None);
                bytes[5] = 2;
                write(&bytes);
            }
            Content::OtherClass => {
                let mut bytes = b"\x7fELF\x01\x01\x01".to_vec();
                bytes.resize(100, 0);
                write(&bytes);
            }
            Content::Text => write("no library, but long enough to be one. ".repeat(4).as_bytes()),
            Content::Short => write(b"\x7fELF\x02\x01\x01"),
            Content::Empty => write(b""),
            Content::Directory => std::fs::create_dir(&at).expect("made"),
            Content::Link(target) => symlink(target, &at).expect("made"),
            Content::SameFile(other) => {
                let other = self.path().join(&case.files[*other].path[1..]);
                if std::fs::metadata(&other).is_ok_and(|meta| meta.is_file()) {
                    std::fs::hard_link(other, &at).expect("linked");
                }
            }
        }
    }

    /// Runs a program of the root, with this environment and no other.
    pub(crate) fn run(
        &self,
        program: &str,
        arguments: &[&str],
        case: &Case,
        more: &[(&str, &str)],
    ) -> Output {
        let mut command = Command::new(program);
        command.args(arguments).env_clear();
        for (name, value) in
            [("LD_LIBRARY_PATH", &case.library_path), ("LD_PRELOAD", &case.preload)]
        {
            command.envs(value.as_ref().map(|value| (name, OsString::from(value))));
        }
        command.envs(more.iter().copied());
        let (root, dir, secure) = (self.path(), case.working_dir, case.secure);
        let enter = move || {
            rustix::process::chroot(&root)?;
            rustix::process::chdir(dir)?;
            if secure {
                let (user, group) =
                    (rustix::fs::Uid::from_raw(OTHER), rustix::fs::Gid::from_raw(OTHER));
                rustix::thread::set_thread_res_gid(group, group, group)?;
                rustix::thread::set_thread_res_uid(user, user, user)?;
            }
            Ok(())
        };
        // SAFETY: between fork and exec only system calls are made, on values that were built
        // before: nothing is allocated and no lock is taken.
        unsafe { command.pre_exec(enter) };
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let limit = Instant::now() + BUSY_LIMIT;
        let child = loop {
            let _no_writing = FORK.lock().expect("no case failed");
            match command.spawn() {
                // A process of another thread still has it open for writing, until it executes.
                Err(error) if is_busy(&error) && Instant::now() < limit => std::thread::yield_now(),
                child => break child.expect("chroot(2) needs root: run this test as root"),
            }
        };
        child.wait_with_output().expect("it ends")
    }
}

/// How long a program may stay open for writing in a process that has yet to execute another.
const BUSY_LIMIT: Duration = Duration::from_secs(10);

fn is_busy(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::ExecutableFileBusy
}

/// True if a directory is there and programs in it get the rights that their bits say.
fn obeys_set_user_id(dir: &Path) -> bool {
    use rustix::fs::StatVfsMountFlags as Flags;
    let no = Flags::NOSUID | Flags::NOEXEC;
    rustix::fs::statvfs(dir).is_ok_and(|found| !found.f_flag.intersects(no))
}

impl Files for Root {
    fn look(&self, path: &Path) -> Found {
        let Some(at) = self.below(path) else { return found_nothing(&self.path(), path) };
        let meta = match std::fs::metadata(&at) {
            Ok(meta) if meta.is_file() => meta,
            Ok(_) => return Found::Damaged("a directory"),
            Err(_) => return Found::Nothing,
        };
        let bytes = std::fs::read(&at).expect("root reads everything");
        let identity = (meta.dev(), meta.ino());
        Found::of(bytes.as_slice(), MACHINE, identity, meta.mode() & 0o4000 != 0)
    }

    fn has_dir(&self, path: &Path) -> bool {
        self.below(path).is_some_and(|at| at.is_dir())
    }
}

/// A circle of links is an error of its own; everything else is just not there.
fn found_nothing(root: &Path, path: &Path) -> Found {
    match walk(root, path) {
        Err(Walk::Circle) => Found::Unreadable,
        _ => Found::Nothing,
    }
}

enum Walk {
    Nothing,
    Circle,
}

fn resolve(root: &Path, path: &Path) -> Option<PathBuf> {
    walk(root, path).ok()
}

/// Follows every link of a path below a root, as the kernel does in a chroot.
fn walk(root: &Path, path: &Path) -> Result<PathBuf, Walk> {
    let mut parts: Vec<OsString> = parts_of(path);
    let mut done: Vec<OsString> = Vec::new();
    let mut links = 0;
    while let Some(part) = parts.pop() {
        if part == ".." {
            done.pop();
            continue;
        }
        done.push(part);
        let at = root.join(done.iter().collect::<PathBuf>());
        let meta = std::fs::symlink_metadata(&at).map_err(|_| Walk::Nothing)?;
        if meta.is_symlink() {
            links += 1;
            if links > LINKS_MAX {
                return Err(Walk::Circle);
            }
            let target = std::fs::read_link(&at).map_err(|_| Walk::Nothing)?;
            done.pop();
            if target.is_absolute() {
                done.clear();
            }
            parts.extend(parts_of(&target));
        } else if !parts.is_empty() && !meta.is_dir() {
            return Err(Walk::Nothing);
        }
    }
    Ok(root.join(done.iter().collect::<PathBuf>()))
}

/// The parts of a path, last one first.
fn parts_of(path: &Path) -> Vec<OsString> {
    let mut parts: Vec<OsString> = path
        .components()
        .filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir))
        .map(|part| part.as_os_str().to_owned())
        .collect();
    parts.reverse();
    parts
}
