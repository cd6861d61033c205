//! Hostile roots: whatever lies below `--root`, nothing outside of it changes and nothing hangs;
//! with `openat2` and without, with every flag of `renameat2` and with none.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::guest::{self, Guest, OLLAMA_DIR, SHIM_DIR};

/// Longest run of the installer on any root here: it takes milliseconds on a sound one.
const LIMIT: Duration = Duration::from_secs(30);
const DROP_IN_DIR: &str = "etc/systemd/system/ollama.service.d";
const UNIT: &str = "etc/systemd/system/ollama.service";

/// Every command that reads or changes, each on the whole root.
const COMMANDS: [&[&str]; 11] = [
    &["scan", "--json"],
    &["plan", "--json"],
    &["--scope", "service"],
    &["--scope", "bundle"],
    &["verify"],
    &["status"],
    &["history"],
    &["gc"],
    &["recover"],
    &["--rollback"],
    &["--rollback", "--force"],
];

/// Runs the installer with a time limit, under strace with these options if there are any.
fn bounded(root: &Path, strace: &[&str], arguments: &[&str]) -> Output {
    let installer = env!("CARGO_BIN_EXE_vgpu-install");
    let mut command = Command::new(if strace.is_empty() { installer } else { "strace" });
    if !strace.is_empty() {
        command.args(["-f", "-o", "/dev/null"]).args(strace).arg(installer);
    }
    command.arg("--root").arg(root).args(arguments).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    fn read(pipe: &mut dyn std::io::Read) -> Vec<u8> {
        let mut text = Vec::new();
        pipe.read_to_end(&mut text).unwrap();
        text
    }
    let (ended, end) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let out = scope.spawn(|| read(&mut out));
        let err = scope.spawn(move || {
            let text = read(&mut err);
            let _ = ended.send(());
            text
        });
        // The pipe ends with the program, so that nobody has to look again and again.
        if end.recv_timeout(LIMIT).is_err() {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{arguments:?} hangs on {}", root.display());
        }
        let status = child.wait().unwrap();
        Output { status, stdout: out.join().unwrap(), stderr: err.join().unwrap() }
    })
}

/// What is put in a file's place, and how.
type Kind<'a> = (&'a str, &'a dyn Fn(&Path));

/// A guest beside a directory that must stay as it is.
struct Prison {
    guest: Guest,
    outside: PathBuf,
    before: String,
}

impl Prison {
    fn new() -> Self {
        Self::of(Guest::new())
    }

    fn of(guest: Guest) -> Self {
        let outside = guest.dir.path().join("outside");
        for dir in ["etc", "lib", "ollama.service.d", "cuda_v13", "vgpu/gen/1"] {
            std::fs::create_dir_all(outside.join(dir)).unwrap();
        }
        std::fs::write(outside.join("cuda_v13/libcuda.so.1"), "theirs").unwrap();
        std::fs::write(outside.join("ollama.service"), "[Service]\nExecStart=/usr/bin/x\n")
            .unwrap();
        let before = guest::digest_of(&outside);
        Self { guest, outside, before }
    }

    /// Runs every command, with both ways to open paths, and demands that nothing got out.
    fn holds(&self, what: &str) {
        let old_kernel = ["-e", "trace=openat2", "-e", "inject=openat2:error=ENOSYS"];
        let changing = &COMMANDS[2..4];
        for (strace, commands) in [(&[][..], &COMMANDS[..]), (&old_kernel, changing)] {
            for arguments in commands {
                let output = bounded(&self.guest.root(), strace, arguments);
                let code = output.status.code();
                assert!(code.is_some_and(|code| code <= 6), "{what}: {arguments:?}: {output:?}");
                let said = String::from_utf8_lossy(&output.stderr);
                assert!(!said.contains("panicked"), "{what}: {arguments:?}: {said}");
                assert_eq!(guest::digest_of(&self.outside), self.before, "{what}: {arguments:?}");
            }
        }
    }

    /// Puts a link in the place of whatever lies there.
    fn link(&self, path: &str, target: &Path) {
        let path = self.guest.root().join(path);
        if path.is_dir() && !path.is_symlink() {
            std::fs::remove_dir_all(&path).unwrap();
        } else if path.is_symlink() || path.exists() {
            std::fs::remove_file(&path).unwrap();
        }
        symlink(target, path).unwrap();
    }
}

#[test]
fn links_of_every_kind_lead_nowhere_outside() {
    let places = [
        (DROP_IN_DIR, "ollama.service.d"),
        (UNIT, "ollama.service"),
        ("etc", "etc"),
        ("var/lib/vgpu", "vgpu"),
        ("usr/local/lib/ollama/cuda_v13", "cuda_v13"),
        (SHIM_DIR, "lib"),
    ];
    for (place, name) in places {
        let prison = Prison::new();
        let outside = prison.outside.join(name);
        let dots = Path::new("../../../../../../../../../../../../")
            .join(outside.strip_prefix("/").unwrap());
        let magic = Path::new("/proc/self/root").join(outside.strip_prefix("/").unwrap());
        let inside = PathBuf::from("/proc/1/root").join(outside.strip_prefix("/").unwrap());
        let descriptor = PathBuf::from("/proc/self/fd/3/../outside").join(name);
        for target in [outside.clone(), dots, magic, inside, descriptor] {
            prison.link(place, &target);
            prison.holds(&format!("{place} -> {}", target.display()));
        }
    }
}

#[test]
fn a_foreign_root_with_a_proc_of_its_own_leads_nowhere() {
    let prison = Prison::new();
    let proc = prison.guest.root().join("proc/self");
    std::fs::create_dir_all(&proc).unwrap();
    symlink("/", proc.join("root")).unwrap();
    symlink(&prison.outside, proc.join("cwd")).unwrap();
    prison.link(DROP_IN_DIR, Path::new("/proc/self/cwd/ollama.service.d"));
    prison.holds("a link by /proc");
}

#[test]
fn pipes_sockets_devices_and_loops_stop_nothing() {
    let fifo = |path: &Path| {
        let mode = rustix::fs::Mode::from_raw_mode(0o644);
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    };
    let device = |path: &Path| {
        let (mode, kind) =
            (rustix::fs::Mode::from_raw_mode(0o666), rustix::fs::FileType::CharacterDevice);
        // /dev/zero: read to its end, it would never come.
        rustix::fs::mknodat(rustix::fs::CWD, path, kind, mode, rustix::fs::makedev(1, 5)).unwrap();
    };
    let socket = |path: &Path| drop(UnixListener::bind(path).unwrap());
    let a_loop = |path: &Path| symlink(path.file_name().unwrap(), path).unwrap();
    let kinds: [Kind<'_>; 4] =
        [("pipe", &fifo), ("device", &device), ("socket", &socket), ("loop", &a_loop)];
    let places = [
        UNIT,
        "etc/systemd/system/ollama.service.d/50-vgpu.conf",
        "etc/systemd/system/ollama.service.d/10-theirs.conf",
        "etc/ld.so.cache",
        "etc/os-release",
        "usr/local/bin/ollama",
        "usr/local/lib/ollama/cuda_v12/libcuda.so.1",
        "usr/local/lib/ollama/cuda_v13/libggml-cuda.so",
        "var/lib/vgpu/journal",
        "var/lib/vgpu/current",
        "var/lib/vgpu",
    ];
    // sockaddr_un takes 107 bytes: the socket is made beside and moved into place.
    for (name, make) in kinds {
        let prison = Prison::new();
        for place in places {
            let path = prison.guest.root().join(place);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let there = std::fs::symlink_metadata(&path).is_ok();
            let away = path.with_file_name("away");
            if there {
                std::fs::rename(&path, &away).unwrap();
            }
            if name == "socket" {
                let short = std::env::temp_dir().join(format!("vgpu-{}", std::process::id()));
                make(&short);
                let copied = Command::new("mv").arg(&short).arg(&path).status().unwrap();
                assert!(copied.success());
            } else {
                make(&path);
            }
            prison.holds(&format!("a {name} at {place}"));
            if std::fs::remove_file(&path).is_ok() && there {
                std::fs::rename(&away, &path).unwrap();
            }
            let state = prison.guest.root().join("var/lib/vgpu");
            if state.is_dir() {
                std::fs::remove_dir_all(state).unwrap();
            }
        }
    }
}

#[test]
fn huge_directories_and_names_of_any_bytes_are_walked_to_an_end() {
    let prison = Prison::of(Guest::in_memory());
    let root = prison.guest.root();
    let odd = [&b"a\nb"[..], b"\xff\xfe", b"-rf", b"  ", b"\x1b[2J", b"%s%n", b".vgpu-1-\xff"];
    for dir in [DROP_IN_DIR, "usr/local/lib/ollama/cuda_v13", "etc/systemd/system", "usr/lib"] {
        std::fs::create_dir_all(root.join(dir)).unwrap();
        for name in odd {
            std::fs::write(root.join(dir).join(OsStr::from_bytes(name)), "theirs").unwrap();
        }
    }
    for index in 0..100_000 {
        std::fs::write(root.join(OLLAMA_DIR).join(format!("n{index}")), "").unwrap();
    }
    let conf = root.join(DROP_IN_DIR).join(OsStr::from_bytes(b"10-\n\xff.conf"));
    std::fs::write(conf, "[Service]\nEnvironment=A=1\n").unwrap();
    let before = prison.guest.digest();
    for arguments in [&["scan", "--json"][..], &["--scope", "bundle"], &["gc"], &["--rollback"]] {
        let output = bounded(&root, &[], arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
    }
    assert_eq!(prison.guest.digest(), before);
}

#[test]
fn a_directory_that_turns_into_a_link_while_we_work_leads_nowhere() {
    let prison = Prison::new();
    let root = prison.guest.root();
    let dir = root.join(DROP_IN_DIR);
    std::fs::create_dir_all(&dir).unwrap();
    let (real, link) = (dir.with_file_name("real"), dir.with_file_name("link"));
    symlink(prison.outside.join("ollama.service.d"), &link).unwrap();
    let ended = AtomicBool::new(false);
    let old_kernel = ["-e", "trace=openat2", "-e", "inject=openat2:error=ENOSYS"];
    let flips = std::thread::scope(|scope| {
        let flipper = scope.spawn(|| {
            let mut flips = 0_u64;
            while !ended.load(Ordering::Relaxed) {
                // Two names exchanged: now a directory, now a link to one outside.
                let swapped = rustix::fs::renameat_with(
                    rustix::fs::CWD,
                    &dir,
                    rustix::fs::CWD,
                    &link,
                    rustix::fs::RenameFlags::EXCHANGE,
                );
                flips += u64::from(swapped.is_ok());
            }
            flips
        });
        for round in 0..40 {
            let strace = if round % 4 == 0 { &old_kernel[..] } else { &[] };
            for arguments in [&["--scope", "service"][..], &["recover"], &["--rollback"]] {
                bounded(&root, strace, arguments);
            }
        }
        ended.store(true, Ordering::Relaxed);
        flipper.join().unwrap()
    });
    assert!(flips > 1000, "{flips} flips");
    assert!(!real.exists());
    assert_eq!(guest::digest_of(&prison.outside), prison.before);
}

#[test]
fn a_kernel_without_openat2_serves_a_foreign_root_as_well() {
    let guest = Guest::new();
    let clean = guest.digest();
    let old_kernel = ["-e", "trace=openat2", "-e", "inject=openat2:error=ENOSYS"];
    for scope in ["service", "bundle"] {
        let applied = bounded(&guest.root(), &old_kernel, &["--scope", scope]);
        assert!(applied.status.success(), "{applied:?}");
        assert_ne!(guest.digest(), clean);
        let back = bounded(&guest.root(), &old_kernel, &["--rollback"]);
        assert!(back.status.success(), "{back:?}");
        assert_eq!(guest.digest(), clean);
    }
}

#[test]
fn a_file_system_without_flags_of_renameat2_is_served_by_second_names() {
    let guest = Guest::new();
    let clean = guest.digest();
    for error in ["EINVAL", "ENOSYS"] {
        let inject = format!("inject=renameat2:error={error}");
        let strace = ["-e", "trace=renameat2", "-e", &inject];
        for scope in ["service", "bundle"] {
            let applied = bounded(&guest.root(), &strace, &["--scope", scope]);
            assert!(applied.status.success(), "{error}: {applied:?}");
            let said = String::from_utf8_lossy(&applied.stderr);
            // Only what was there is replaced: scope service makes new files.
            assert_eq!(said.contains("cannot exchange two names"), scope == "bundle", "{said}");
            let back = bounded(&guest.root(), &strace, &["--rollback"]);
            assert!(back.status.success(), "{error}: {back:?}");
            assert_eq!(guest.digest(), clean, "{error}, {scope}");
        }
    }
}

#[test]
fn an_immutable_path_is_refused_before_anything_is_begun() {
    let guest = Guest::new();
    let dir = guest.root().join("etc/systemd/system");
    let chattr = |flag: &str| {
        let status = Command::new("chattr").arg(flag).arg(&dir).status();
        assert!(status.unwrap().success(), "chattr needs root and a file system with attributes");
    };
    let before = guest.digest();
    chattr("+i");
    let output = bounded(&guest.root(), &[], &[]);
    chattr("-i");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(said.contains("/etc/systemd/system: it has the immutable"), "{said}");
    assert!(said.contains("chattr -i"), "{said}");
    assert_eq!(guest.digest(), before);
}
