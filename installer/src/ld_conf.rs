//! What ldconfig reads: the directories that `/etc/ld.so.conf` names, in their order (ldconfig(8)),
//! and our own line among them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::discover::text;
use crate::error::Result;
use crate::host::Host;

/// The directory of the files that distributions include, ours among them.
pub const DIR: &str = "/etc/ld.so.conf.d";
/// Our own file. ldconfig takes the files by their names, so it comes before most others.
pub const OURS: &str = "/etc/ld.so.conf.d/00-vgpu.conf";
const FILE: &str = "/etc/ld.so.conf";
/// How deep files may include each other; distributions do so once.
const DEPTH_MAX: u32 = 8;
/// Most directories that are taken from the files: 4,096, some hundred times a large system's.
const DIRS_MAX: usize = 4096;

/// A directory that ldconfig reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The directory.
    pub dir: PathBuf,
    /// The file that names it.
    pub conf: PathBuf,
}

/// Lists the directories in the order in which ldconfig takes them, as if our file were there and
/// named `ours`.
///
/// # Errors
/// [`crate::Error::Io`] if a file cannot be read.
pub fn dirs(host: &dyn Host, ours: &Path) -> Result<Vec<Named>> {
    let mut found = Vec::new();
    read(host, Path::new(FILE), ours, DEPTH_MAX, &mut found)?;
    Ok(found)
}

fn read(
    host: &dyn Host,
    conf: &Path,
    ours: &Path,
    depth: u32,
    found: &mut Vec<Named>,
) -> Result<()> {
    if conf == Path::new(OURS) {
        found.push(Named { dir: ours.to_owned(), conf: conf.to_owned() });
        return Ok(());
    }
    for line in text(host, conf)?.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("include") if depth > 0 => {
                for pattern in words {
                    for file in matching(host, conf, pattern)? {
                        read(host, &file, ours, depth - 1, found)?;
                    }
                }
            }
            // "hwcap" was for kernels of long ago, and ldconfig passes over it.
            Some("include" | "hwcap") | None => {}
            Some(_) if found.len() < DIRS_MAX => {
                // A directory may be followed by the kind of library in it: "/opt/lib=libc6".
                let dir = line.split('=').next().unwrap_or_default().trim_end();
                found.push(Named { dir: dir.into(), conf: conf.to_owned() });
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// The files of an include line, in the order of their bytes. Wildcards are served in the last
/// part of the path, where distributions have them.
fn matching(host: &dyn Host, conf: &Path, pattern: &str) -> Result<Vec<PathBuf>> {
    // A path that begins at the root stays what it is.
    let whole = conf.parent().unwrap_or(Path::new("/")).join(pattern);
    let (Some(dir), Some(last)) = (whole.parent(), whole.file_name().and_then(|n| n.to_str()))
    else {
        return Ok(Vec::new());
    };
    let mut names: Vec<OsString> = host.list(dir)?;
    let ours = Path::new(OURS);
    let is_ours_there = names.iter().any(|name| dir.join(name) == ours);
    if dir == Path::new(DIR) && !is_ours_there {
        names.extend(ours.file_name().map(ToOwned::to_owned));
    }
    names.sort();
    let fits = |name: &OsString| name.to_str().is_some_and(|name| is_match(last, name));
    Ok(names.into_iter().filter(fits).map(|name| dir.join(name)).collect())
}

/// True if a name fits a pattern of `*`, `?` and plain letters; a leading dot is only met by a dot.
fn is_match(pattern: &str, name: &str) -> bool {
    if name.starts_with('.') && !pattern.starts_with('.') {
        return false;
    }
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut at, mut of, mut star) = (0, 0, None);
    while at < name.len() {
        match pattern.get(of) {
            Some(b'*') => {
                star = Some((of, at));
                of += 1;
            }
            Some(letter) if *letter == b'?' || *letter == name[at] => {
                at += 1;
                of += 1;
            }
            // The last star takes one letter more.
            _ => match star {
                Some((of_star, at_star)) => {
                    star = Some((of_star, at_star + 1));
                    at = at_star + 1;
                    of = of_star + 1;
                }
                None => return false,
            },
        }
    }
    pattern[of..].iter().all(|letter| *letter == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::memory::Memory;

    fn shown(text: &str) -> Vec<String> {
        let host = Memory::described(text);
        let found = dirs(&host, Path::new("/ours")).unwrap();
        let line = |named: &Named| format!("{} {}", named.conf.display(), named.dir.display());
        found.iter().map(line).collect()
    }

    #[test]
    fn files_come_by_the_order_of_their_names_and_ours_among_them() {
        let found = shown(
            "file /etc/ld.so.conf # a\\n/opt/first\\ninclude ld.so.conf.d/*.conf\\n/opt/last/=libc6
             file /etc/ld.so.conf.d/000_cuda.conf /usr/local/cuda/lib
             file /etc/ld.so.conf.d/00-cuda-compat.conf /usr/local/cuda/compat # newer
             file /etc/ld.so.conf.d/.hidden.conf /hidden
             file /etc/ld.so.conf.d/x.conf.bak /bak
             file /etc/ld.so.conf.d/libc.conf /usr/local/lib\\nhwcap 0 nosegneg",
        );
        let expected = [
            "/etc/ld.so.conf /opt/first",
            "/etc/ld.so.conf.d/00-cuda-compat.conf /usr/local/cuda/compat",
            "/etc/ld.so.conf.d/00-vgpu.conf /ours",
            "/etc/ld.so.conf.d/000_cuda.conf /usr/local/cuda/lib",
            "/etc/ld.so.conf.d/libc.conf /usr/local/lib",
            "/etc/ld.so.conf /opt/last/",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn where_nothing_includes_us_we_are_not_listed() {
        assert_eq!(shown("file /etc/ld.so.conf /opt/first"), ["/etc/ld.so.conf /opt/first"]);
        assert_eq!(shown("dir /etc"), [""; 0]);
    }

    #[test]
    fn files_that_include_each_other_end() {
        let text = "file /etc/ld.so.conf include /etc/ld.so.conf";
        assert_eq!(shown(text), [""; 0]);
    }

    #[test]
    fn patterns_fit_as_in_a_shell() {
        let cases = [
            ("*.conf", "a.conf", true),
            ("*.conf", ".conf", false),
            ("*.conf", "a.conf.bak", false),
            ("a?c*", "abc", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
            ("plain", "plain", true),
            ("", "a", false),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(is_match(pattern, name), expected, "{pattern} {name}");
        }
    }
}
