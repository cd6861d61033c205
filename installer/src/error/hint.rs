//! What to try, for each error.

use std::io;
use std::path::Path;

use super::Error;

impl Error {
    /// What to try, as one sentence.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Io { source, .. } => return io_hint(source),
            Self::Locked { .. } => "wait for it, or give --wait-lock SECONDS",
            Self::RecoveryNeeded { .. } | Self::UndoFailed { .. } | Self::Interrupted { .. } => {
                "run vgpu-install recover"
            }
            Self::Unsupported { .. } => {
                "docs/install.md lists what is served; --root DIR chooses another system root"
            }
            Self::ShimsMissing { .. } => "reinstall the package vgpu-ollama and run it again",
            Self::Overridden { .. } => {
                "set it in a drop-in that sorts before 50-vgpu.conf: its value is then merged"
            }
            Self::Shared { .. } => {
                "give one of them another name, or both the same environment, then run it again"
            }
            Self::Unserved { because, .. } => because.hint(),
            Self::Outranked { conf: Some(_), .. } => {
                "take the line out of that file and run ldconfig; --scope service needs neither"
            }
            Self::Outranked { conf: None, .. } => {
                "take that copy away and run ldconfig; --scope service needs neither"
            }
            Self::NotIncluded { .. } => {
                "add \"include /etc/ld.so.conf.d/*.conf\" to it, or use --scope service"
            }
            Self::RealDriver { .. } => {
                "Ollama can use that GPU as it is; with --force it gets the host's instead"
            }
            Self::Changed { path, .. } if path.file_name().is_some_and(is_hidden) => {
                "an earlier installation kept an original there: move it back or away"
            }
            Self::Changed { .. } => "run vgpu-install again; something else changed it meanwhile",
            Self::Verification { check: "loads", .. } => {
                "vgpu-install verify --json shows what was loaded; report it if Ollama is new"
            }
            Self::Verification { .. } => "vgpu-install verify --json shows each check",
            Self::Undone { source, .. } => return source.hint(),
            Self::NoGeneration { .. } => "vgpu-install history lists the generations",
            Self::Immutable { .. } => {
                "take it away with chattr -i or -a if that is yours to decide, then run \
             vgpu-install again; nothing was changed"
            }
            Self::JournalDamaged { .. } => {
                "look at what is named as left, then run vgpu-install recover --force: it gives \
                 the journal up and keeps it as /var/lib/vgpu/journal.damaged"
            }
            Self::Stopped => "run vgpu-install again",
            Self::NoProcess { .. } => "pgrep -a ollama lists the processes of Ollama",
            Self::NoUnit { .. } => {
                "vgpu-install scan shows what was found; --exe takes any program"
            }
            Self::NoLoader { source: vgpu_loader::StartError::Static, .. } => {
                "only a bind mount over its files, or another build of it, changes what it uses"
            }
            Self::NoLoader { .. } | Self::Unexplained { .. } => {
                "name a program of this machine, such as /usr/bin/ollama"
            }
            Self::Usage { .. } => "vgpu-install --help lists what there is",
            Self::Record { path, .. } if path.as_ref() == Path::new(crate::journal::PATH) => {
                "install the version of vgpu-ollama that wrote it, and run its vgpu-install recover"
            }
            Self::Record { path, .. } if path.starts_with(crate::state::DIR) => {
                "copy /var/lib/vgpu and report it; originals lie beside their places as .vgpu-*"
            }
            Self::Record { .. } => "make it anew with vgpu-install scan --json of this version",
            Self::TooLong { .. } => "check that this is the file that was meant",
            Self::Program { .. } => "systemctl status says more; then run vgpu-install again",
        })
    }
}

fn is_hidden(name: &std::ffi::OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".vgpu-")
}

fn io_hint(source: &io::Error) -> Option<&'static str> {
    Some(match source.kind() {
        io::ErrorKind::NotFound => "check the path: it, or a directory on the way, is not there",
        io::ErrorKind::NotADirectory => "check the path: it leads through a file",
        io::ErrorKind::AlreadyExists => "something else lies there: name another file, or move it",
        io::ErrorKind::PermissionDenied => "run vgpu-install as root",
        io::ErrorKind::ReadOnlyFilesystem => {
            "remount that file system read-write and run vgpu-install again"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free some space there and run vgpu-install again"
        }
        io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported => {
            "the file system may lack renameat2; docs/install.md lists what is needed"
        }
        _ => return None,
    })
}
