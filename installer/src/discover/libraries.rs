//! Finds every copy of the libraries that ours stand in for.
//!
//! A copy is a file, told by its device and inode: links, hard links and directories with two
//! names lead to one copy. Nothing here asks a package manager.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use vgpu_loader::{Binary, Cache};

use super::places::{Search, dirs};
use super::{default_dirs, kinds, lossy};
use crate::facts::{Asked, Copy, Facts, Kind, Unseen};
use crate::host::{Host, Opened};
use crate::location::{Location, hex};
use crate::object::Object;

/// How the names of the libraries begin.
const STEMS: [&str; 5] =
    ["libcuda.so", "libnvidia-ml.so", "libcudart.so", "libcublas.so", "libcublasLt.so"];
/// Where the GPU operator and its like put a whole driver.
const DRIVER_ROOT: &str = "/run/nvidia/driver";
/// Most links that one path may lead through, as in the kernel.
const LINKS_MAX: usize = 40;

/// What was found.
#[derive(Debug, Default)]
pub struct Libraries {
    /// The copies: for each name, in the order in which ld.so comes to them, then by path.
    pub copies: Vec<Copy>,
    /// What could not be looked at.
    pub unseen: Vec<Unseen>,
}

/// Finds every copy in a system and in the driver roots that it holds.
pub fn all(host: &dyn Host, facts: &Facts, cache: &Cache, driver_root: Option<&Path>) -> Libraries {
    let mut found = one_root(host, facts, cache);
    for root in [Some(Path::new(DRIVER_ROOT)), driver_root].into_iter().flatten() {
        let mut search = Search::of(host);
        let looked = host.below(root);
        let Some(inner) = search.noted(root, looked) else {
            if driver_root == Some(root) && search.unseen.is_empty() {
                search.note(root, "there is no such directory");
            }
            found.unseen.append(&mut search.unseen);
            continue;
        };
        let bare = Facts { platform: facts.platform.clone(), ..Facts::default() };
        for copy in one_root(inner.as_ref(), &bare, &Cache::default()).copies {
            found.add_below(root, copy);
        }
    }
    found.copies.sort_by(|a, b| {
        let key =
            |copy: &Copy| (stem(&copy.name), copy.name.clone(), copy.asked.is_none(), copy.asked);
        (key(a), &a.path).cmp(&(key(b), &b.path))
    });
    found
}

impl Libraries {
    /// Takes a copy over that was found below a driver root.
    fn add_below(&mut self, root: &Path, copy: Copy) {
        let outer =
            |path: &Location| Location::new(root.join(path.strip_prefix("/").unwrap_or(path)));
        let path = outer(&copy.path);
        if let Some(known) = self.copies.iter_mut().find(|known| known.identity == copy.identity) {
            if known.path != path && !known.aliases.contains(&path) {
                known.aliases.push(path);
            }
            return;
        }
        let kind = match copy.kind {
            Kind::Ours | Kind::Stub => copy.kind,
            _ => Kind::DriverRoot,
        };
        self.copies.push(Copy {
            path,
            file: outer(&copy.file),
            links: copy.links.iter().map(outer).collect(),
            aliases: copy.aliases.iter().map(outer).collect(),
            kind,
            asked: None,
            ..copy
        });
    }
}

/// The place of `libcuda` and so on in the answer.
fn stem(name: &str) -> usize {
    STEMS.iter().position(|stem| name.starts_with(stem)).unwrap_or(STEMS.len())
}

fn is_wanted(name: &OsStr) -> bool {
    STEMS.iter().any(|stem| name.as_bytes().starts_with(stem.as_bytes()))
}

/// True for the names that programs ask for: the stem, alone or with the number of its interface
/// (CUDA 11's runtime has two).
fn is_asked_name(name: &[u8]) -> bool {
    STEMS.iter().any(|stem| {
        name.strip_prefix(stem.as_bytes()).is_some_and(|rest| {
            let number = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
            rest.is_empty() || rest == b".11.0" || rest.strip_prefix(b".").is_some_and(number)
        })
    })
}

/// A directory entry that may lead to a copy.
struct Candidate {
    /// The path as ld.so or the search spells it.
    path: PathBuf,
    asked: Option<Asked>,
}

fn one_root(host: &dyn Host, facts: &Facts, cache: &Cache) -> Libraries {
    let mut walk =
        Walk { search: Search::of(host), real_dirs: HashMap::new(), candidates: BTreeMap::new() };
    walk.by_loader(facts, cache);
    let dirs = dirs(&mut walk.search, facts);
    walk.by_place(&dirs);
    let mut copies: Vec<Copy> = Vec::new();
    for (entry, candidate) in std::mem::take(&mut walk.candidates) {
        let Some((file, opened)) = walk.file(&candidate.path) else { continue };
        let known = copies.iter().position(|known| known.identity == opened.identity);
        match known {
            Some(index) => walk.alias(&mut copies[index], entry, candidate),
            None => {
                let links = walk.links(&entry, &file);
                let mut copy = copy(&candidate, file, &opened, facts);
                copy.links = links;
                copies.push(copy);
            }
        }
    }
    for copy in &mut copies {
        copy.aliases.retain(|alias| *alias != copy.file);
        copy.aliases.sort();
    }
    Libraries { copies, unseen: walk.search.unseen }
}

struct Walk<'a> {
    search: Search<'a>,
    /// Directories by the paths that lead to them, with every link resolved.
    real_dirs: HashMap<PathBuf, Option<PathBuf>>,
    /// By the resolved directory and the name in it.
    candidates: BTreeMap<PathBuf, Candidate>,
}

impl Walk<'_> {
    fn real_dir(&mut self, dir: &Path) -> Option<PathBuf> {
        if let Some(known) = self.real_dirs.get(dir) {
            return known.clone();
        }
        let looked = self.search.host.canonical(dir);
        let real = self.search.noted(dir, looked);
        self.real_dirs.insert(dir.to_path_buf(), real.clone());
        real
    }

    /// Notes what ld.so comes to for each name: the cache's answer, then built-in directories.
    fn by_loader(&mut self, facts: &Facts, cache: &Cache) {
        let flags = if facts.platform.arch == "aarch64" { 0xa03 } else { 0x303 };
        // Of another root it is not known which processor it will run on.
        let levels = if self.search.host.is_running() { crate::ldso::hwcaps() } else { Vec::new() };
        let fits = |entry: &&vgpu_loader::cache::Entry| entry.flags == flags;
        let wanted = |entry: &&vgpu_loader::cache::Entry| is_asked_name(&entry.name);
        let mut cached: HashSet<&[u8]> = HashSet::new();
        for entry in cache.entries().iter().filter(fits).filter(wanted) {
            let taken = cache.find(&entry.name, flags, &levels, u64::MAX);
            let first = taken == Some(entry.path.as_slice());
            cached.insert(&entry.name);
            let asked = if first { Asked::Cache } else { Asked::Later };
            self.add(Path::new(OsStr::from_bytes(&entry.path)).to_path_buf(), Some(asked));
        }
        let mut taken: HashSet<Vec<u8>> = cached.into_iter().map(<[u8]>::to_vec).collect();
        for dir in default_dirs(&facts.platform) {
            for name in self.search.names(&dir, &|name| is_asked_name(name.as_bytes())) {
                let path = dir.join(&name);
                // The loader passes over what leads nowhere.
                let looked = self.search.host.canonical(&path);
                if self.search.noted(&path, looked).is_some() {
                    let first = taken.insert(name.into_encoded_bytes());
                    let asked = if first { Asked::DefaultDir } else { Asked::Later };
                    self.add(path, Some(asked));
                }
            }
        }
    }

    fn by_place(&mut self, dirs: &[PathBuf]) {
        let mut seen = HashSet::new();
        for dir in dirs {
            let looked = self.search.host.dir_identity(dir);
            let Some(identity) = self.search.noted(dir, looked) else { continue };
            if seen.insert(identity) {
                for name in self.search.names(dir, &is_wanted) {
                    self.add(dir.join(name), None);
                }
            }
        }
    }

    fn add(&mut self, path: PathBuf, asked: Option<Asked>) {
        let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else { return };
        let name = name.to_owned();
        let Some(dir) = self.real_dir(dir) else { return };
        let candidate = Candidate { path, asked };
        let known = self.candidates.entry(dir.join(name)).or_insert(candidate);
        known.asked = [known.asked, asked].into_iter().flatten().min();
    }

    /// Opens the file behind a path; what is there and is no file is noted.
    fn file(&mut self, path: &Path) -> Option<(PathBuf, Opened)> {
        let looked = self.search.host.canonical(path);
        let unseen = self.search.unseen.len();
        let file = self.search.noted(path, looked);
        if file.is_none() && self.search.unseen.len() == unseen {
            self.search.note(path, "the link leads nowhere, or in a circle");
        }
        let file = file?;
        let looked = self.search.host.open(&file);
        let opened = self.search.noted(&file, looked);
        if opened.is_none() && self.search.unseen.len() == unseen {
            self.search.note(path, "it is neither a file nor a link to one");
        }
        Some((file, opened?))
    }

    /// Lists the links from a directory entry to its file; links of directories are not named.
    fn links(&mut self, entry: &Path, file: &Path) -> Vec<Location> {
        let mut links = Vec::new();
        let mut at = entry.to_path_buf();
        while at != file && links.len() < LINKS_MAX {
            let looked = self.search.host.inspect(&at).map(Some);
            let Some(Object::Link { target, .. }) = self.search.noted(&at, looked) else { break };
            let next = at.parent().unwrap_or(Path::new("/")).join(&target);
            links.push(at.into());
            let (Some(dir), Some(name)) = (next.parent(), next.file_name()) else { break };
            let Some(dir) = self.real_dir(dir) else { break };
            at = dir.join(name);
        }
        links
    }

    /// Notes a second path of a copy; the one that ld.so comes to first is the copy's own, then
    /// the one that bears the name by which programs ask.
    fn alias(&mut self, copy: &mut Copy, entry: PathBuf, candidate: Candidate) {
        let names = |path: &Path| path.file_name().is_some_and(|name| *name == *copy.name);
        let rank = |asked: Option<Asked>, path: &Path| (asked.is_none(), asked, !names(path));
        let better = rank(candidate.asked, &candidate.path) < rank(copy.asked, copy.path.as_ref());
        if better {
            copy.links = self.links(&entry, &copy.file.clone());
            let old = std::mem::replace(&mut copy.path, candidate.path.into());
            copy.aliases.push(old);
        } else {
            copy.aliases.push(candidate.path.into());
        }
        copy.asked = [copy.asked, candidate.asked].into_iter().flatten().min();
    }
}

fn copy(candidate: &Candidate, file: PathBuf, opened: &Opened, facts: &Facts) -> Copy {
    let head = opened.source.read_at(0, 20).unwrap_or_default();
    let elf = kinds::elf(&head);
    let binary = Binary::read(opened.source.as_ref()).unwrap_or_default();
    let ours = kinds::is_ours(&binary, elf, &file, facts);
    let soname = binary.soname.as_ref().map(|name| lossy(name));
    let base = candidate.path.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = soname.clone().or(base).unwrap_or_default();
    let kind = if ours { Kind::Ours } else { kinds::kind(&binary, elf, &name, &file, facts) };
    Copy {
        name,
        path: candidate.path.clone().into(),
        links: Vec::new(),
        aliases: Vec::new(),
        version: version(&file, &binary),
        file: file.into(),
        identity: opened.identity,
        soname,
        build_id: binary.build_id.map(|id| hex(&id)),
        elf,
        kind,
        owner: None,
        ours,
        asked: candidate.asked,
    }
}

/// The version in a file's name, if it is more than the number of its interface; else the number
/// in the version node that the runtime libraries define (`libcudart.so.12`).
fn version(file: &Path, binary: &Binary) -> Option<String> {
    let name = file.file_name()?.to_string_lossy().into_owned();
    let of_name = name.split_once(".so.").map(|(_, version)| version);
    let numbers = |text: &&str| {
        text.contains('.') && text.bytes().all(|byte| byte == b'.' || byte.is_ascii_digit())
    };
    let of_node = || {
        let nodes = binary.versions.iter().map(|node| lossy(node));
        let mut nodes = nodes.filter(|node| is_wanted(OsStr::new(node)));
        nodes.find_map(|node| Some(node.split_once(".so.")?.1.to_owned()))
    };
    of_name.filter(numbers).map(str::to_owned).or_else(of_node)
}
