//! Size, words and unsafe code.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::str::FromStr;

use proc_macro2::{TokenStream, TokenTree};
use vgpu_tests::stage;

use crate::arrows::metadata;
use crate::files::{Tracked, all};
use crate::{arrows, check};

/// Longest file without a place in [`LONG`].
const LINES_SOFT: usize = 400;

/// Longest file at all.
const LINES_HARD: usize = 600;

/// Files between the two limits, each with why it is one story.
const LONG: &[(&str, &str)] = &[];

/// The files that may hold unsafe code, each with why; one line each: path, spaces, reason.
const UNSAFE: &str = include_str!("unsafe-files.txt");

fn rust() -> impl Iterator<Item = Tracked> {
    all().into_iter().filter(Tracked::is_rust)
}

#[test]
fn no_file_is_longer_than_a_reader_can_hold() {
    let offences = rust()
        .filter(|file| !file.is_generated())
        .map(|file| (file.path.display().to_string(), file.text.lines().count()))
        .filter(|(path, lines)| {
            let listed = LONG.iter().any(|(long, _)| long == path);
            *lines > if listed { LINES_HARD } else { LINES_SOFT }
        })
        .map(|(path, lines)| format!("{path}: {lines} lines"))
        .collect();
    check("files have at most 400 lines", "if it tells two stories, make it two files", offences);
}

#[test]
fn no_line_is_wider_than_100_columns() {
    let mut offences = Vec::new();
    for file in rust().filter(|file| !file.is_generated()) {
        let wide = file.text.lines().enumerate().filter(|(_, line)| line.chars().count() > 100);
        offences.extend(wide.map(|(at, _)| format!("{}:{}", file.path.display(), at + 1)));
    }
    check("lines have at most 100 columns", "break the comment or the string", offences);
}

#[test]
fn no_module_is_named_for_nothing() {
    let names = ["utils", "util", "common", "misc", "helpers"];
    let offences = rust()
        .filter(|file| {
            let words = file.path.iter().filter_map(|word| Path::new(word).file_stem());
            words.into_iter().any(|word| names.iter().any(|name| word == *name))
        })
        .map(|file| file.path.display().to_string())
        .collect();
    check("modules are named for what they hold", "name it for its content", offences);
}

/// Words that no tracked file holds, with the remedy. Written in two parts, or this file held them.
const FORBIDDEN: &[(&str, &str, &str)] = &[
    ("/wor", "k/", "no path of a developer's machine: name it relative to the repository"),
    ("/tmp/", "wt", "no path of a developer's machine: name it relative to the repository"),
    ("/root", "/.", "no path of a developer's machine: take HOME or a temporary directory"),
    ("/hom", "e/", "no path of a developer's machine: take HOME or a temporary directory"),
    ("npmjs.", "org", "the npm client knows its registry"),
    ("pypi.", "org", "pip knows its index"),
    ("pythonhosted", ".org", "pip knows its index"),
    ("deb.debian", ".org", "apt knows its archive: take it from apt's own configuration"),
    ("ubuntu.com", "/ubuntu", "apt knows its archive: take it from apt's own configuration"),
    ("TO", "DO", "do it, or write an issue"),
    ("FIX", "ME", "do it, or write an issue"),
    ("todo", "!(", "answer with a typed error"),
    ("#[ign", "ore", "a test that cannot run says which machine it needs, and fails"),
];

#[test]
fn nothing_tracked_holds_a_forbidden_word() {
    let mut offences = Vec::new();
    // Cargo's lock file names cargo's registry; the licence texts and name lists are not ours, and
    // the fixture roots describe others' systems.
    let foreign = |path: &Path| {
        path.ends_with("Cargo.lock")
            || path.starts_with("shims/api/names")
            || path.starts_with("installer/tests/roots")
            || is_licence(path)
    };
    for file in all().iter().filter(|file| !foreign(&file.path)) {
        for (at, line) in file.text.lines().enumerate() {
            let found = FORBIDDEN.iter().find(|(a, b, _)| line.contains(&format!("{a}{b}")));
            if let Some((a, b, remedy)) = found {
                offences.push(format!("{}:{}: {a}{b}: {remedy}", file.path.display(), at + 1));
            }
        }
    }
    check("some words stay out of the tree", "see each line", offences);
}

fn is_licence(path: &Path) -> bool {
    path.to_string_lossy().starts_with("LICENSE")
}

#[test]
fn only_the_effect_layer_of_the_installer_calls_the_machine() {
    // Clippy refuses std's ways (installer/clippy.toml); this is the crate that goes beside them.
    let allowed = ["umask", "fs::Mode"];
    let mut offences = Vec::new();
    for file in rust().filter(|file| file.path.starts_with("installer/src")) {
        if file.path.starts_with("installer/src/host") {
            continue;
        }
        for (at, line) in file.text.lines().enumerate().filter(|(_, l)| l.contains("rustix::")) {
            if !allowed.iter().any(|name| line.contains(name)) {
                offences.push(format!("{}:{}", file.path.display(), at + 1));
            }
        }
    }
    check("only host/real.rs touches the machine", "add the operation to Host", offences);
}

#[test]
fn no_test_sleeps() {
    let sleep = ["thread::sl", "eep"].concat();
    let mut offences = Vec::new();
    for file in rust() {
        let in_tests = file.path.iter().any(|word| word == "tests");
        let from = if in_tests { Some(0) } else { file.text.find("#[cfg(test)]\nmod") };
        let tests = from.map_or("", |from| &file.text[from..]);
        if tests.contains(&sleep) {
            offences.push(file.path.display().to_string());
        }
    }
    check("tests wait for events", "wait for the event itself, with a bound", offences);
}

#[test]
fn names_of_tests_are_sentences_without_a_prefix() {
    let mut offences = Vec::new();
    for file in rust() {
        let lines: Vec<&str> = file.text.lines().map(str::trim_start).collect();
        let pairs = lines.windows(2).filter(|pair| pair[0] == "#[test]");
        let named = pairs.filter(|pair| pair[1].starts_with("fn test_"));
        offences.extend(named.map(|pair| format!("{}: {}", file.path.display(), pair[1])));
    }
    check("a test's name is a sentence", "say what holds, in the present", offences);
}

/// Says whether a stream holds the keyword. The attribute `#[unsafe(no_mangle)]` counts: a crate
/// that exports names cannot forbid unsafe code either.
fn holds_unsafe(stream: TokenStream) -> bool {
    stream.into_iter().any(|tree| match tree {
        TokenTree::Ident(word) => word == "unsafe",
        TokenTree::Group(group) => holds_unsafe(group.stream()),
        _ => false,
    })
}

fn files_with_unsafe() -> BTreeSet<String> {
    rust()
        .filter(|file| file.text.contains("unsafe"))
        .filter(|file| {
            let tokens = TokenStream::from_str(&file.text);
            holds_unsafe(tokens.expect("a tracked Rust file is Rust"))
        })
        .map(|file| file.path.display().to_string())
        .collect()
}

#[test]
fn unsafe_code_lives_in_the_listed_files_only() {
    let listed: BTreeMap<&str, &str> = UNSAFE
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split_once(char::is_whitespace).unwrap_or((line, "")))
        .collect();
    let found = files_with_unsafe();
    let mut offences: Vec<String> = found
        .iter()
        .filter(|path| listed.get(path.as_str()).is_none_or(|reason| reason.trim().is_empty()))
        .map(|path| format!("{path} holds unsafe code and is not listed with a reason"))
        .collect();
    let gone = listed.keys().filter(|path| !found.contains(**path));
    offences.extend(gone.map(|path| format!("{path} is listed and holds none")));
    let remedy = "move it into a listed file, or add the file with its reason to \
                  tests/tests/tidy/unsafe-files.txt";
    check("unsafe code lives in named files", remedy, offences);
}

#[test]
fn a_target_without_unsafe_code_forbids_it() {
    let root = stage::repository();
    let unsafe_files = files_with_unsafe();
    let mut offences = Vec::new();
    for package in metadata().packages {
        for target in package.targets {
            let arrows::Target { kind, src_path } = target;
            let path = src_path.strip_prefix(&root).unwrap_or(&src_path);
            // A program or test of one file stands for itself, a library for its directory.
            let alone = kind.iter().any(|kind| kind != "lib" && kind != "cdylib" && kind != "rlib")
                && path.file_name().is_some_and(|name| name != "main.rs");
            let covered = path.parent().unwrap_or(path).display().to_string();
            let needs_it = unsafe_files.iter().any(|file| {
                if alone { Path::new(file) == path } else { file.starts_with(&covered) }
            });
            let text = std::fs::read_to_string(&src_path).unwrap_or_default();
            if !needs_it && !text.contains("#![forbid(unsafe_code)]") {
                offences.push(path.display().to_string());
            }
        }
    }
    check("unsafe code is forbidden where none is needed", "add #![forbid(unsafe_code)]", offences);
}
