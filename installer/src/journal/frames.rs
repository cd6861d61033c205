//! The journal's bytes: frames with checksums, and a reader that steps over damage.

use sha2::{Digest, Sha256};

use super::{PATH, Record};
use crate::error::{Error, Result};

/// First bytes of the file: the format and its version.
pub(super) const MAGIC: &[u8] = b"vgpu journal 2\n";
const MAGIC_STEM: &[u8] = b"vgpu journal ";
/// Longest record: 16 MiB. A drop-in of 1 MiB, the most that is read, fits many times.
const RECORD_BYTES_MAX: usize = 16 << 20;
const FRAME_BYTES: usize = 12;
/// Every record's JSON begins so: after damage, only what does is worth a checksum.
const TEXT_STEM: &[u8] = b"{\"record\":\"";

pub(super) fn wrong(what: impl Into<String>) -> Error {
    Error::Record { path: PATH.into(), what: what.into() }
}

pub(super) fn frame(record: &Record) -> Result<Vec<u8>> {
    let text = serde_json::to_vec(record).map_err(|error| wrong(error.to_string()))?;
    let bytes = u32::try_from(text.len()).ok().filter(|_| text.len() <= RECORD_BYTES_MAX);
    let mut framed = bytes.ok_or_else(|| wrong("a record is too long"))?.to_le_bytes().to_vec();
    framed.extend_from_slice(&Sha256::digest(&text)[..8]);
    framed.extend(text);
    Ok(framed)
}

/// What a journal's bytes hold.
#[derive(Debug, Default)]
pub(super) struct Read {
    /// Every sound record, in order.
    pub(super) records: Vec<Record>,
    /// Where the last sound record ends.
    pub(super) bytes: u64,
    /// The offsets of damage that sound records follow.
    pub(super) damage: Vec<u64>,
    /// True if bytes follow that are no record: torn by a crash, or damaged.
    pub(super) is_torn: bool,
}

/// Reads every sound record.
///
/// # Errors
/// [`Error::Record`] if another version wrote the journal.
pub(super) fn decode(content: &[u8]) -> Result<Read> {
    let mut read = Read::default();
    let mut at = MAGIC.len();
    if !content.starts_with(MAGIC) {
        // Torn while it was made: nothing had begun.
        if MAGIC.starts_with(content) || content.iter().all(|byte| *byte == 0) {
            return Ok(read);
        }
        if content.starts_with(MAGIC_STEM) {
            let what = "it is a journal of another version: recover with the vgpu-install that \
                        wrote it";
            return Err(wrong(what));
        }
        let Some(next) = next_sound(content, 0) else {
            return Ok(Read { damage: vec![0], is_torn: true, ..read });
        };
        read.damage.push(0);
        at = next;
    }
    read.bytes = at as u64;
    while at < content.len() {
        if let Some((text, end)) = sound(content, at) {
            let record = serde_json::from_slice(text);
            read.records.push(record.map_err(|error| wrong(error.to_string()))?);
            read.bytes = end as u64;
            at = end;
        } else if let Some(next) = next_sound(content, at + 1) {
            read.damage.push(at as u64);
            at = next;
        } else {
            read.is_torn = true;
            break;
        }
    }
    Ok(read)
}

/// The text of the frame at an offset and the end of the frame, if its checksum holds.
fn sound(content: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let head = content.get(at..at + FRAME_BYTES)?;
    let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
    let end = at + FRAME_BYTES + length;
    let text = content.get(at + FRAME_BYTES..end).filter(|_| length <= RECORD_BYTES_MAX)?;
    (text.starts_with(TEXT_STEM) && Sha256::digest(text)[..8] == head[4..]).then_some((text, end))
}

/// The next offset at which a sound frame begins. It is found by the words that each begins with,
/// so that bytes of any kind cost one look each.
fn next_sound(content: &[u8], from: usize) -> Option<usize> {
    let stems = content.get(from..)?.windows(TEXT_STEM.len()).enumerate();
    let mut places = stems.filter(|(_, window)| *window == TEXT_STEM).map(|(at, _)| at + from);
    places
        .by_ref()
        .filter_map(|text| text.checked_sub(FRAME_BYTES).filter(|at| *at >= from))
        .find(|at| sound(content, *at).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records() -> Vec<Record> {
        vec![
            Record::Rollback { to: 0, force: false, no_restart: true },
            Record::Undo { generation: 2, index: 7, restore_mtime: true },
            Record::Commit { kept: vec![(1, 2)], parent_times: None },
        ]
    }

    fn sample() -> (Vec<u8>, Vec<usize>) {
        let mut content = MAGIC.to_vec();
        let mut starts = Vec::new();
        for record in records() {
            starts.push(content.len());
            content.extend(frame(&record).unwrap());
        }
        (content, starts)
    }

    #[test]
    fn a_journal_cut_at_any_byte_gives_the_records_before_the_cut() {
        let (content, starts) = sample();
        for cut in 0..=content.len() {
            let read = decode(&content[..cut]).unwrap();
            assert!(read.bytes <= cut as u64 && read.damage.is_empty(), "cut at {cut}");
            assert_eq!(read.records[..], records()[..read.records.len()]);
            let at_a_border = starts.contains(&cut) || cut == content.len();
            assert_eq!(read.is_torn, cut > MAGIC.len() && !at_a_border, "cut at {cut}");
        }
        assert_eq!(decode(&content).unwrap().records, records());
    }

    #[test]
    fn a_damaged_byte_costs_one_record_and_is_told() {
        let (content, starts) = sample();
        for at in MAGIC.len()..content.len() {
            let mut content = content.clone();
            content[at] ^= 0x10;
            let read = decode(&content).unwrap();
            let lost = starts.iter().rposition(|start| *start <= at).unwrap();
            let mut expected = records();
            expected.remove(lost);
            assert_eq!(read.records, expected, "byte {at}");
            let told = if lost == 2 { vec![] } else { vec![starts[lost] as u64] };
            assert_eq!((read.damage, read.is_torn), (told, lost == 2), "byte {at}");
        }
    }

    #[test]
    fn a_journal_whose_head_is_gone_still_gives_its_records() {
        let (mut content, starts) = sample();
        content[..starts[1]].fill(0xff);
        let read = decode(&content).unwrap();
        assert_eq!((read.records, read.damage), (records()[1..].to_vec(), vec![0]));
        let read = decode(b"something else").unwrap();
        assert!(read.records.is_empty() && read.is_torn && read.damage == [0]);
    }

    #[test]
    fn a_tail_of_zeros_is_torn_and_another_version_is_refused() {
        let (mut content, _) = sample();
        content.extend([0; 4096]);
        let read = decode(&content).unwrap();
        assert_eq!((read.records, read.is_torn, read.damage), (records(), true, vec![]));
        let said = decode(b"vgpu journal 1\n....").unwrap_err().to_string();
        assert!(said.contains("another version"), "{said}");
    }

    #[test]
    fn hostile_bytes_are_read_to_an_end() {
        let mut random = fastrand::Rng::with_seed(9);
        let (sample, _) = sample();
        for _ in 0..20_000 {
            let mut content = sample.clone();
            for _ in 0..random.usize(1..12) {
                let at = random.usize(..content.len());
                match random.u8(..4) {
                    0 => content.truncate(at.max(1)),
                    1 => content[at] = random.u8(..),
                    2 => content.splice(at..at, TEXT_STEM.iter().copied()).for_each(drop),
                    _ => content.extend_from_within(at..),
                }
            }
            let Ok(read) = decode(&content) else { continue };
            assert!(read.bytes <= content.len() as u64);
            assert!(read.records.iter().all(|record| records().contains(record)));
        }
    }
}
