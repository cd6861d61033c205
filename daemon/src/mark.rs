//! Tells our libraries from NVIDIA's by the note that all of ours carry.
//!
//! Nothing is loaded for it: of the file only the headers and the notes are read.

use std::fs::File;
use std::io::{ErrorKind, Result};
use std::os::unix::fs::FileExt;

/// Owner of our note, with the end mark (`shims/guest/src/mark.rs`).
const OWNER: &[u8] = b"vgpu\0";

/// Size of the header of a 64-bit file, and of one program header (elf(5)).
const HEADER_BYTES: usize = 64;
const PROGRAM_HEADER_BYTES: usize = 56;

/// Type of a segment that holds notes (elf(5)).
const PT_NOTE: u32 = 4;

/// Longest segment of notes that is read: 64 KiB. Those of real libraries hold a build id and a
/// few properties, some hundred bytes.
const NOTES_BYTES_MAX: u64 = 64 << 10;

/// Says whether a library is one of ours; what is no 64-bit little-endian ELF file is not.
///
/// # Errors
/// Those of reading. A file that ends too early is no error: it is not ours.
pub fn is_ours(file: &File) -> Result<bool> {
    match search(file) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        found => found,
    }
}

fn search(file: &File) -> Result<bool> {
    let mut header = [0; HEADER_BYTES];
    file.read_exact_at(&mut header, 0)?;
    // 2: 64 bits; 1: little-endian.
    if !header.starts_with(b"\x7fELF\x02\x01")
        || usize::from(half(&header, 54)) != PROGRAM_HEADER_BYTES
    {
        return Ok(false);
    }
    let (first, count) = (wide(&header, 32), half(&header, 56));
    for at in 0..u64::from(count) {
        let mut program = [0; PROGRAM_HEADER_BYTES];
        let place = first.saturating_add(at * PROGRAM_HEADER_BYTES as u64);
        file.read_exact_at(&mut program, place)?;
        let (offset, bytes) = (wide(&program, 8), wide(&program, 32));
        if word(&program, 0) != PT_NOTE || bytes > NOTES_BYTES_MAX {
            continue;
        }
        let mut notes = vec![0; bytes as usize];
        file.read_exact_at(&mut notes, offset)?;
        if holds_ours(&notes) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Looks through notes: three words (length of the owner, length of the content, type), then both,
/// each filled up to four bytes.
fn holds_ours(mut notes: &[u8]) -> bool {
    while notes.len() >= 12 {
        let padded = |at| (word(notes, at) as usize).next_multiple_of(4);
        let (owner, content) = (padded(0), padded(4));
        let rest = &notes[12..];
        if rest.starts_with(OWNER) && word(notes, 0) as usize == OWNER.len() {
            return true;
        }
        let Some(next) = rest.get(owner..).and_then(|rest| rest.get(content..)) else { break };
        notes = next;
    }
    false
}

fn half(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from(half(bytes, at)) | u32::from(half(bytes, at + 2)) << 16
}

fn wide(bytes: &[u8], at: usize) -> u64 {
    u64::from(word(bytes, at)) | u64::from(word(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn check(bytes: &[u8], expected: bool) {
        let mut file = tempfile::tempfile().expect("a temporary file");
        file.write_all(bytes).expect("room");
        assert_eq!(is_ours(&file).expect("a readable file"), expected);
    }

    /// A file with one segment of notes.
    fn library(notes: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_BYTES + PROGRAM_HEADER_BYTES];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[32] = HEADER_BYTES as u8;
        bytes[54] = PROGRAM_HEADER_BYTES as u8;
        bytes[56] = 1;
        bytes[HEADER_BYTES] = PT_NOTE as u8;
        bytes[HEADER_BYTES + 8] = (HEADER_BYTES + PROGRAM_HEADER_BYTES) as u8;
        bytes[HEADER_BYTES + 32..HEADER_BYTES + 36]
            .copy_from_slice(&(notes.len() as u32).to_le_bytes());
        bytes.extend(notes);
        bytes
    }

    fn note(owner: &[u8], content: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [owner.len() as u32, content.len() as u32, 1] {
            bytes.extend(word.to_le_bytes());
        }
        for part in [owner, content] {
            bytes.extend(part);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }

    #[test]
    fn a_library_with_our_note_is_ours_wherever_the_note_stands() {
        check(&library(&note(b"vgpu\0", b"")), true);
        check(&library(&[note(b"GNU\0", b"build"), note(b"vgpu\0", b"")].concat()), true);
    }

    #[test]
    fn what_lacks_the_note_or_is_cut_off_is_not_ours() {
        check(&library(&note(b"GNU\0", b"vgpu\0")), false);
        check(&library(&note(b"vgpus\0", b"")), false);
        check(&library(&[0xff; 40]), false);
        check(b"", false);
        check(b"#!/bin/sh\n", false);
        let whole = library(&note(b"vgpu\0", b""));
        for length in 0..whole.len() - 3 {
            check(&whole[..length], false);
        }
    }
}
