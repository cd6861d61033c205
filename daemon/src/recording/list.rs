//! `vgpud recording`: what a recording holds, one line for each frame.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use vgpu_link::wire::Kind;

use super::{Entry, Section, file};
use crate::error::DaemonError;

/// What is to be printed.
#[derive(Debug, Clone, Args)]
pub(crate) struct RecordingOptions {
    /// What --record wrote
    pub file: PathBuf,
}

/// Prints each section of a recording, and below it its frames in their order.
///
/// # Errors
/// If the file cannot be read, or is no recording.
pub(crate) fn list(options: &RecordingOptions) -> Result<(), DaemonError> {
    let sections = file::read(&options.file)?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut written = sections.iter().try_for_each(|section| write_section(&mut out, section));
    written = written.and_then(|()| out.flush());
    written.map_err(|source| DaemonError::System { verb: "writing to standard output", source })
}

fn write_section(out: &mut impl Write, section: &Section) -> io::Result<()> {
    let Section { session, exe, entries } = section;
    writeln!(out, "section session={session} program={exe} frames={}", entries.len())?;
    entries.iter().try_for_each(|entry| write_entry(out, entry))
}

/// A call is a message that the client waited for; a post it did not wait for.
fn write_entry(out: &mut impl Write, entry: &Entry) -> io::Result<()> {
    let header = &entry.header;
    let kind = match header.kind {
        Kind::Call => "call",
        Kind::Post => "post",
        Kind::Reply => "reply",
    };
    let opcode = header.opcode;
    let name = vgpu_link::wire::name(opcode).map_or_else(|| format!("{opcode:#x}"), str::to_owned);
    writeln!(
        out,
        "{kind} {name} thread={} context={:#x} status={} payload={} bulk={}",
        header.thread, header.context, header.status, header.payload_bytes, header.bulk_bytes
    )
}
