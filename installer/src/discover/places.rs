//! The directories in which a copy may lie, and a search that notes what it could not look at.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::facts::{Facts, Unseen};
use crate::host::Host;

/// Most entries of one directory that are looked at: 200,000, fifty times a desktop's `/usr/lib`.
pub const ENTRIES_MAX: usize = 200_000;
/// Most directories that one pattern may lead to.
const MATCHES_MAX: usize = 10_000;
/// Most files that `/etc/ld.so.conf` may include, all together.
const INCLUDES_MAX: usize = 1000;
/// Longest list of search directories that is read: 1 MiB.
const CONF_BYTES_MAX: u64 = 1 << 20;

/// Where libraries lie that the loader finds by itself, on all systems that we know.
const SYSTEM: [&str; 12] = [
    "/usr/lib/*-linux-gnu*",
    "/lib/*-linux-gnu*",
    "/usr/lib64",
    "/lib64",
    "/usr/lib",
    "/lib",
    "/usr/lib32",
    "/lib32",
    "/usr/local/lib",
    "/usr/local/lib64",
    "/usr/local/lib/*-linux-gnu*",
    "/run/current-system/sw/lib",
];
/// Where drivers lie beside those.
const DRIVERS: [&str; 19] = [
    "/usr/lib/*-linux-gnu*/nvidia",
    "/usr/lib/*-linux-gnu*/nvidia/*",
    "/usr/lib/*-linux-gnu*/stubs",
    "/usr/lib/nvidia*",
    "/usr/lib/nvidia/*",
    "/usr/lib64/nvidia*",
    "/usr/lib/wsl/lib",
    // Of the Windows driver store, which is large and slow to read, only NVIDIA's.
    "/usr/lib/wsl/drivers/nv*",
    "/usr/local/nvidia/lib",
    "/usr/local/nvidia/lib64",
    "/run/opengl-driver/lib",
    "/run/opengl-driver-32/lib",
    "/var/lib/snapd/lib/gl",
    "/var/lib/snapd/lib/gl32",
    "/snap/*/current/lib/ollama",
    "/snap/*/current/lib/ollama/*",
    "/snap/*/current/usr/lib/*-linux-gnu*",
    "/snap/*/current/lib/*-linux-gnu*",
    "/var/lib/flatpak/runtime/org.freedesktop.Platform.GL.nvidia-*/*/*/active/files/lib",
];
/// Where CUDA toolkits lie, and what they hold.
const TOOLKITS: [&str; 3] = ["/usr/local/cuda*", "/opt/cuda*", "/usr/lib/cuda*"];
const TOOLKIT_DIRS: [&str; 9] = [
    "compat",
    "compat/*",
    "lib",
    "lib/stubs",
    "lib64",
    "lib64/stubs",
    "targets/*/lib",
    "targets/*/lib/stubs",
    "nvvm/lib64",
];

/// A search of one system.
pub struct Search<'a> {
    /// The system.
    pub host: &'a dyn Host,
    /// What could not be looked at so far.
    pub unseen: Vec<Unseen>,
}

impl<'a> Search<'a> {
    /// Begins a search.
    pub fn of(host: &'a dyn Host) -> Self {
        Self { host, unseen: Vec::new() }
    }

    /// Gives what was looked at; what the machine refuses to show is noted, and is nothing.
    pub fn noted<T>(&mut self, path: &Path, looked: Result<Option<T>>) -> Option<T> {
        match looked {
            Ok(found) => found,
            Err(error) => {
                let because = match &error {
                    Error::Io { source, .. } => source.to_string(),
                    other => other.to_string(),
                };
                self.note(path, because);
                None
            }
        }
    }

    /// Notes that a place could not be looked at.
    pub fn note(&mut self, path: &Path, because: impl Into<String>) {
        let unseen = Unseen { path: path.into(), because: because.into() };
        if !self.unseen.contains(&unseen) {
            self.unseen.push(unseen);
        }
    }

    /// Lists the wanted names of a directory.
    pub fn names(&mut self, dir: &Path, wanted: &dyn Fn(&OsStr) -> bool) -> Vec<OsString> {
        let looked = self.host.search(dir, wanted, ENTRIES_MAX);
        let Some(listing) = self.noted(dir, looked) else { return Vec::new() };
        if !listing.whole {
            let because = format!("of its entries, only {ENTRIES_MAX} were looked at");
            self.note(dir, because);
        }
        listing.names
    }

    /// Lists the paths that a pattern with `*` and `?` in its parts may lead to, sorted. Parts
    /// without either are not looked at.
    pub fn glob(&mut self, pattern: &str) -> Vec<PathBuf> {
        let mut found = vec![PathBuf::from("/")];
        for part in pattern.split('/').filter(|part| !part.is_empty()) {
            if !part.contains(['*', '?']) {
                found.iter_mut().for_each(|path| path.push(part));
                continue;
            }
            let mut next = Vec::new();
            for dir in &found {
                let names = self.names(dir, &|name| matches(part.as_bytes(), name.as_bytes()));
                next.extend(names.iter().map(|name| dir.join(name)));
                if next.len() > MATCHES_MAX {
                    next.truncate(MATCHES_MAX);
                    self.note(dir, format!("of what {pattern} leads to, only {MATCHES_MAX}"));
                    break;
                }
            }
            found = next;
        }
        found
    }

    /// Lists the directories that `/etc/ld.so.conf` names, in order (ldconfig(8)).
    pub fn conf_dirs(&mut self) -> Vec<PathBuf> {
        let mut dirs = Vec::new();
        // What is included stands in the place of its line: the next file is the last one here.
        let mut open: Vec<Line> = vec![Line::File("/etc/ld.so.conf".into())];
        let mut files = 0;
        while let Some(line) = open.pop() {
            let path = match line {
                Line::Dir(dir) => {
                    dirs.push(dir);
                    continue;
                }
                Line::File(path) => path,
            };
            files += 1;
            if files > INCLUDES_MAX {
                self.note(&path, format!("more than {INCLUDES_MAX} files are included"));
                break;
            }
            let looked = self.host.read(&path, CONF_BYTES_MAX);
            let content = self.noted(&path, looked).unwrap_or_default();
            let lines = self.conf_lines(&content);
            open.extend(lines.into_iter().rev());
        }
        dirs
    }

    fn conf_lines(&mut self, content: &[u8]) -> Vec<Line> {
        let mut found = Vec::new();
        for line in content.split(|byte| *byte == b'\n') {
            let line = line.split(|byte| *byte == b'#').next().unwrap_or_default().trim_ascii();
            if let Some(patterns) = line.strip_prefix(b"include".as_slice())
                && patterns.first().is_some_and(u8::is_ascii_whitespace)
            {
                let patterns = String::from_utf8_lossy(patterns).into_owned();
                for pattern in patterns.split_whitespace() {
                    // ldconfig takes relative patterns as beside the file; all known ones are.
                    let pattern = Path::new("/etc").join(pattern);
                    let paths = self.glob(&pattern.to_string_lossy());
                    found.extend(paths.into_iter().map(Line::File));
                }
                continue;
            }
            let words = line.split(|byte| byte.is_ascii_whitespace() || b":,".contains(byte));
            // libc5's `dir=type` is still allowed.
            let dirs = words.map(|word| word.split(|byte| *byte == b'=').next().unwrap_or(word));
            let dirs = dirs.filter(|dir| dir.starts_with(b"/"));
            found.extend(dirs.map(|dir| Line::Dir(OsStr::from_bytes(dir).into())));
        }
        found
    }
}

/// What a line of ld.so.conf stands for.
enum Line {
    Dir(PathBuf),
    File(PathBuf),
}

/// Lists every directory to search: our own, then those of the loader, then others. A name may
/// lead to nothing, and two names to one directory.
pub fn dirs(search: &mut Search<'_>, facts: &Facts) -> Vec<PathBuf> {
    let mut dirs = vec![facts.shims.dir.to_path_buf()];
    dirs.extend(search.conf_dirs());
    for pattern in SYSTEM {
        dirs.extend(search.glob(pattern));
    }
    let mut levels = Vec::new();
    for dir in &dirs {
        let base = dir.join("glibc-hwcaps");
        levels.extend(search.names(&base, &|_| true).iter().map(|level| base.join(level)));
    }
    dirs.extend(levels);
    for pattern in DRIVERS {
        dirs.extend(search.glob(pattern));
    }
    for root in TOOLKITS.iter().flat_map(|pattern| search.glob(pattern)).collect::<Vec<_>>() {
        for dir in TOOLKIT_DIRS {
            dirs.extend(search.glob(&root.join(dir).to_string_lossy()));
        }
    }
    for ollama in &facts.ollamas {
        let library_dir = ollama.library_dir.to_path_buf();
        let below = search.names(&library_dir, &|_| true);
        dirs.extend(below.iter().map(|name| library_dir.join(name)));
        dirs.push(library_dir);
        dirs.extend(ollama.bundles.iter().map(|bundle| bundle.dir.to_path_buf()));
    }
    let variables = facts.units.iter().flat_map(|unit| &unit.environment);
    for variable in variables.filter(|variable| variable.name == "LD_LIBRARY_PATH") {
        let named = variable.value.split([':', ';']).filter(|dir| dir.starts_with('/'));
        dirs.extend(named.map(PathBuf::from));
    }
    dirs
}

/// True if a name fits a pattern of `*` (any bytes), `?` (any one) and plain bytes.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut taken) = (0, 0);
    // Where the last star stands, and how much it has taken so far.
    let mut star: Option<(usize, usize)> = None;
    while taken < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, taken));
                at += 1;
            }
            Some(byte) if *byte == b'?' || *byte == name[taken] => {
                at += 1;
                taken += 1;
            }
            _ => {
                let Some((back, upto)) = star else { return false };
                star = Some((back, upto + 1));
                at = back + 1;
                taken = upto + 1;
            }
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::memory::Memory;

    #[test]
    fn a_star_takes_any_bytes_and_backs_off_where_it_took_too_many() {
        let cases = [
            ("cuda*", "cuda", true),
            ("cuda*", "cuda-12.8", true),
            ("*-linux-gnu*", "arm-linux-gnueabihf", true),
            ("*.conf", "a.conf.d.conf", true),
            ("*.conf", "a.conf.d", false),
            ("?a*b", "xab", true),
            ("?a*b", "ab", false),
            ("**", "", true),
        ];
        for (pattern, name, expected) in cases {
            let found = matches(pattern.as_bytes(), name.as_bytes());
            assert_eq!(found, expected, "{pattern} {name}");
        }
    }

    #[test]
    fn ld_so_conf_is_read_with_its_includes_in_their_place() {
        let host = Memory::described(
            "file /etc/ld.so.conf /first # why\\ninclude ld.so.conf.d/*.conf\\n/last:/very,/end
             file /etc/ld.so.conf.d/b.conf /b\\nhwcap 1 nosegneg\\n/c=libc6
             file /etc/ld.so.conf.d/a.conf /a\\ninclude /etc/ld.so.conf
             file /etc/ld.so.conf.d/no.txt /no",
        );
        let mut search = Search::of(&host);
        let dirs = search.conf_dirs();
        let begins = ["/first", "/a", "/first", "/a"].map(PathBuf::from);
        assert_eq!(dirs[..4], begins, "a file that includes itself ends at the bound");
        assert_eq!(search.unseen.len(), 1, "{:?}", search.unseen);

        host.place_file(Path::new("/etc/ld.so.conf.d/a.conf"), b"/a\n");
        let expected = ["/first", "/a", "/b", "/c", "/last", "/very", "/end"].map(PathBuf::from);
        assert_eq!(Search::of(&host).conf_dirs(), expected);
    }

    #[test]
    fn what_a_huge_directory_holds_beyond_the_bound_is_said_not_to_be_seen() {
        let host = Memory::described(&format!("many /usr/lib {}", ENTRIES_MAX + 1));
        let mut search = Search::of(&host);
        assert_eq!(search.names(Path::new("/usr/lib"), &|_| false), Vec::<OsString>::new());
        let because = "of its entries, only 200000 were looked at".to_owned();
        assert_eq!(search.unseen, [Unseen { path: "/usr/lib".into(), because }]);
    }
}
