//! Systems described as text, a line for each thing, for tests.
//!
//! ```text
//! dir /a                     a directory; parents are made by themselves
//! file /a/b some\ntext       a file; `\n` ends a line
//! link /a/c -> b             a symbolic link
//! hard /a/d = /a/b           a second name of the same file
//! fifo /a/e                  a named pipe
//! elf /a/f.so soname=f.so.1  a stand-in for a library, see [`super::stand_in`]
//! many /a 1000               a thousand empty files in a directory
//! mode /a/b 0600             the permission bits of what is there
//! ```
//!
//! `\xff` in a path is that byte, so that a name need not be text; `\n` and `\s` are a line's end
//! and a blank. Empty lines, and lines that begin with `#`, say nothing.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use super::stand_in::StandIn;

/// What a line puts at its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Thing {
    /// A directory.
    Dir,
    /// A file with this content.
    File(Vec<u8>),
    /// A symbolic link with this text.
    Link(PathBuf),
    /// A second name of this file.
    Hard(PathBuf),
    /// A named pipe.
    Fifo,
    /// Permission bits for what is there by now.
    Mode(u32),
}

/// One line of a description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Where it goes, below the root.
    pub path: PathBuf,
    /// What is put there.
    pub thing: Thing,
}

/// Reads a description.
///
/// # Panics
/// Where a line is not of the language: it is written for tests, which then fail by its name.
#[must_use]
pub fn lines(text: &str) -> Vec<Line> {
    let lines = text.lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).flat_map(line).collect()
}

fn line(line: &str) -> Vec<Line> {
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    let (path, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let path = unescaped(path);
    let thing = match verb {
        "dir" => Thing::Dir,
        "file" => Thing::File(rest.replace("\\n", "\n").into_bytes()),
        "link" => Thing::Link(unescaped(rest.trim_start_matches("-> "))),
        "hard" => Thing::Hard(unescaped(rest.trim_start_matches("= "))),
        "fifo" => Thing::Fifo,
        "elf" => Thing::File(StandIn::parse(rest).bytes()),
        "mode" => Thing::Mode(u32::from_str_radix(rest, 8).expect("mode PATH OCTAL")),
        "many" => {
            let count: usize = rest.parse().expect("many DIR COUNT");
            let file = |index| Line {
                path: path.join(format!("entry-{index}")),
                thing: Thing::File(Vec::new()),
            };
            return (0..count).map(file).collect();
        }
        other => panic!(
            "a machine is described by dir, file, link, hard, fifo, elf, mode and many, \
             not {other:?}"
        ),
    };
    vec![Line { path, thing }]
}

/// Undoes `\xHH`, `\n` and `\s` in a path.
fn unescaped(text: &str) -> PathBuf {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        (rest, _) = match (first, after.first()) {
            (b'\\', Some(b'n')) => (&after[1..], bytes.push(b'\n')),
            (b'\\', Some(b's')) => (&after[1..], bytes.push(b' ')),
            (b'\\', Some(b'x')) => {
                let digits = after.get(1..3).and_then(|digits| std::str::from_utf8(digits).ok());
                let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
                (&after[3..], bytes.push(byte.expect("two hexadecimal digits after \\x")))
            }
            _ => (after, bytes.push(*first)),
        };
    }
    PathBuf::from(OsString::from_vec(bytes))
}
