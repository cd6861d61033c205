//! Random trees with programs and libraries, and simpler ones of a tree that failed.

use crate::elf_writer::Elf;

/// The names that programs ask for.
pub(crate) const NAMES: [&str; 4] =
    ["libqa999.so.1", "libqb999.so.1", "libqc999.so", "libqd999.so.2"];
/// The directories that libraries lie in.
const DIRS: [&str; 11] = [
    "/a",
    "/a/b",
    "/app",
    "/app/lib",
    "/conf",
    "/opt/x",
    "/lib",
    "/usr/lib",
    "/usr/local/lib",
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
];
/// Hardware directories: the processor has the first three or fewer, and nobody has the last.
const BELOW: [&str; 7] = [
    "glibc-hwcaps/x86-64-v2",
    "glibc-hwcaps/x86-64-v3",
    "glibc-hwcaps/x86-64-v4",
    "glibc-hwcaps/x86-64-v9",
    "tls",
    "x86_64",
    "tls/x86_64",
];
/// Entries of search lists beside plain directories.
const ENTRIES: [&str; 18] = [
    "$ORIGIN",
    "$ORIGIN/lib",
    "${ORIGIN}/../a",
    "$ORIGIN/../lib",
    "$ORIGINx",
    "/usr/$LIB",
    "/${LIB}",
    "/a/$PLATFORM",
    "${PLATFORM}",
    "/gone",
    "/a/",
    "//a//",
    "/l",
    "/l/b",
    "",
    "a",
    "/app/prog",
    "/a/../conf",
];

/// What lies at a path.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    Library(Elf),
    /// A library with another `e_machine`.
    OtherMachine(Elf),
    /// A library of another class, in its first bytes.
    OtherClass,
    OtherOrder(Elf),
    Text,
    Short,
    Empty,
    Directory,
    /// A link to a text, and whatever lies there.
    Link(String),
    /// A further name of an earlier file, by its place among the files.
    SameFile(usize),
}

impl Content {
    fn library(&mut self) -> Option<&mut Elf> {
        match self {
            Self::Library(elf) => Some(elf),
            _ => None,
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) content: Content,
}

/// How the case's ld.so.cache is made.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CacheFile {
    /// `new`, `compat` or `old`.
    pub(crate) format: &'static str,
    /// What ld.so.conf names.
    pub(crate) dirs: Vec<String>,
    /// Files that are removed after the cache was made, by their place.
    pub(crate) gone: Vec<usize>,
}

/// One tree with one program, and how it is started.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) program: Elf,
    pub(crate) files: Vec<File>,
    pub(crate) library_path: Option<String>,
    pub(crate) preload: Option<String>,
    pub(crate) preload_file: Option<String>,
    pub(crate) cache: Option<CacheFile>,
    /// True if `/lib` is a link to `usr/lib`.
    pub(crate) merged: bool,
    pub(crate) working_dir: &'static str,
    /// True if the program has the set-user-id bit and another user starts it.
    pub(crate) secure: bool,
    /// What musl's path file holds.
    pub(crate) musl_path: Option<String>,
}

/// Makes a case of a seed.
pub(crate) fn random(seed: u64) -> Case {
    let mut rng = fastrand::Rng::with_seed(seed);
    let rng = &mut rng;
    let merged = rng.u8(..4) == 0;
    let mut program = elf(rng);
    program.soname = None;
    program.needed = (0..rng.usize(1..4)).map(|_| need(rng)).collect();
    let mut files: Vec<File> = Vec::new();
    for _ in 0..rng.usize(2..14) {
        let path = place(rng, merged);
        if files.iter().any(|file| file.path == path) {
            continue;
        }
        let content = content(rng, &files);
        files.push(File { path, content });
    }
    let cache = (rng.u8(..10) < 6).then(|| CacheFile {
        format: ["new", "new", "compat", "old"][rng.usize(..4)],
        dirs: (0..rng.usize(..3)).map(|_| dir(rng).to_owned()).collect(),
        gone: (0..files.len()).filter(|_| rng.u8(..20) == 0).collect(),
    });
    let secure = rng.u8(..12) == 0;
    let mut case = Case {
        program,
        library_path: (rng.bool()).then(|| list(rng, &[":", ";"])),
        preload: (rng.u8(..3) == 0).then(|| preload(rng)),
        preload_file: (rng.u8(..10) == 0).then(|| format!("# {}\n{}\n", NAMES[0], preload(rng))),
        cache,
        merged,
        working_dir: if rng.u8(..4) == 0 { "/a" } else { "/" },
        secure,
        musl_path: (rng.u8(..3) == 0).then(|| list(rng, &[":", "\n"])),
        files,
    };
    if rng.u8(..3) == 0 {
        case.open_some(rng);
    }
    case
}

fn dir(rng: &mut fastrand::Rng) -> &'static str {
    DIRS[rng.usize(..DIRS.len())]
}

fn name(rng: &mut fastrand::Rng) -> String {
    NAMES[rng.usize(..NAMES.len())].to_owned()
}

fn place(rng: &mut fastrand::Rng, merged: bool) -> String {
    let dir = dir(rng);
    let dir = if merged && dir.starts_with("/lib") { format!("/usr{dir}") } else { dir.to_owned() };
    let name = name(rng);
    if rng.u8(..5) > 0 {
        return format!("{dir}/{name}");
    }
    format!("{dir}/{}/{name}", BELOW[rng.usize(..BELOW.len())])
}

fn content(rng: &mut fastrand::Rng, files: &[File]) -> Content {
    match rng.u8(..40) {
        0 => Content::OtherMachine(elf(rng)),
        1 => Content::OtherClass,
        2 if rng.bool() => Content::OtherOrder(elf(rng)),
        3 if rng.bool() => Content::Text,
        4 if rng.bool() => Content::Short,
        5 if rng.bool() => Content::Empty,
        6 if rng.bool() => Content::Directory,
        7..=10 => Content::Link(match rng.u8(..4) {
            0 => format!("{}/{}", dir(rng), name(rng)),
            1 => name(rng),
            2 => "/gone".into(),
            _ => format!("../a/{}", name(rng)),
        }),
        11..=13 if !files.is_empty() => Content::SameFile(rng.usize(..files.len())),
        _ => Content::Library(elf(rng)),
    }
}

fn elf(rng: &mut fastrand::Rng) -> Elf {
    let mut elf = Elf::default();
    if rng.u8(..4) > 0 {
        elf.soname = Some(name(rng));
    }
    elf.needed = (0..rng.usize(..3)).map(|_| need(rng)).collect();
    match rng.u8(..8) {
        0 | 1 => elf.rpath = Some(list(rng, &[":"])),
        2 | 3 => elf.runpath = Some(list(rng, &[":"])),
        4 if rng.bool() => {
            (elf.rpath, elf.runpath) = (Some(list(rng, &[":"])), Some(list(rng, &[":"])));
        }
        _ => {}
    }
    elf.no_default_dirs = rng.u8(..12) == 0;
    elf
}

fn need(rng: &mut fastrand::Rng) -> String {
    match rng.u8(..20) {
        0 => format!("{}/{}", dir(rng), name(rng)),
        1 => format!("$ORIGIN/{}", name(rng)),
        _ => name(rng),
    }
}

fn list(rng: &mut fastrand::Rng, separators: &[&str]) -> String {
    let mut text = String::new();
    for index in 0..rng.usize(1..4) {
        if index > 0 {
            text.push_str(separators[rng.usize(..separators.len())]);
        }
        text.push_str(if rng.bool() { dir(rng) } else { ENTRIES[rng.usize(..ENTRIES.len())] });
    }
    text
}

fn preload(rng: &mut fastrand::Rng) -> String {
    let entries = (0..rng.usize(1..4)).map(|_| need(rng)).collect::<Vec<_>>();
    entries.join([" ", ":"][rng.usize(..2)])
}

impl Case {
    /// Lets some of the files open libraries.
    fn open_some(&mut self, rng: &mut fastrand::Rng) {
        // A program that lacks nothing gets as far as that.
        self.program.needed.truncate(1 + usize::from(rng.bool()));
        let all = std::iter::once(&mut self.program)
            .chain(self.files.iter_mut().filter_map(|file| file.content.library()));
        for elf in all {
            if rng.u8(..3) > 0 {
                elf.opens = Some(need(rng));
            }
        }
    }

    /// True if anything opens a library.
    pub(crate) fn opens(&self) -> bool {
        let libraries = self.files.iter().filter_map(|file| match &file.content {
            Content::Library(elf) => Some(elf),
            _ => None,
        });
        libraries.chain([&self.program]).any(|elf| elf.opens.is_some())
    }

    /// The same case where nothing is opened.
    pub(crate) fn opening_nothing(mut self) -> Self {
        self.program.opens = None;
        for elf in self.files.iter_mut().filter_map(|file| file.content.library()) {
            elf.opens = None;
        }
        self
    }

    /// Every case that is simpler by one thing.
    pub(crate) fn simpler(&self) -> Vec<Self> {
        let mut out = Vec::new();
        let mut with = |change: &dyn Fn(&mut Self)| {
            let mut case = self.clone();
            change(&mut case);
            out.push(case);
        };
        for index in (0..self.files.len()).rev() {
            with(&|case| {
                case.files.remove(index);
                let moved = |at: &usize| if *at > index { at - 1 } else { *at };
                for file in &mut case.files {
                    if let Content::SameFile(at) = &mut file.content {
                        *at = moved(at);
                    }
                }
                if let Some(cache) = &mut case.cache {
                    cache.gone = cache.gone.iter().filter(|at| **at != index).map(moved).collect();
                }
            });
            if let Content::Library(elf) = &self.files[index].content {
                for simple in elf.simpler() {
                    with(&|case| case.files[index].content = Content::Library(simple.clone()));
                }
            }
        }
        for simple in self.program.simpler() {
            with(&|case| case.program = simple.clone());
        }
        with(&|case| case.library_path = None);
        with(&|case| case.preload = None);
        with(&|case| case.preload_file = None);
        with(&|case| case.cache = None);
        with(&|case| case.working_dir = "/");
        with(&|case| case.secure = false);
        with(&|case| case.musl_path = None);
        out.retain(|case| format!("{case:?}") != format!("{self:?}"));
        out
    }
}

impl Elf {
    fn simpler(&self) -> Vec<Self> {
        let mut out = Vec::new();
        for index in 0..self.needed.len() {
            let mut simple = self.clone();
            simple.needed.remove(index);
            out.push(simple);
        }
        for simple in [
            Self { rpath: None, ..self.clone() },
            Self { runpath: None, ..self.clone() },
            Self { soname: None, ..self.clone() },
            Self { opens: None, ..self.clone() },
            Self { no_default_dirs: false, ..self.clone() },
        ] {
            if format!("{simple:?}") != format!("{self:?}") {
                out.push(simple);
            }
        }
        out
    }
}
