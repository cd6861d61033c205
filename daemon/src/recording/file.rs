//! The file: a magic number, then sections; each is whole or absent.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `VGPUREC1` |
//! | a section: 4 | `SECT` |
//! | 8 | number of the session |
//! | 4, n | length and name of the client's program |
//! | 8, n | length of the entries compressed with DEFLATE, and they |
//!
//! An entry is the frame's header (32 bytes), its payload, a byte that says whether its contents
//! (0) or their SHA-256 (1) follow, and these. All integers are little-endian.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use flate2::read::DeflateDecoder;
use vgpu_link::wire::header::HEADER_BYTES;
use vgpu_link::wire::{Header, Malformed};

use super::{Contents, Entry};

const MAGIC: &[u8; 8] = b"VGPUREC1";
const SECTION: &[u8; 4] = b"SECT";

/// Longest name of a program, as in the handshake.
const EXE_BYTES_MAX: u32 = 256;

/// Most bytes of a recording's entries, unpacked: 1 GiB. Recordings in the repository have a few
/// megabytes; a damaged or hostile file must not fill the memory, nor a client that is recorded.
pub(super) const ENTRIES_BYTES_MAX: u64 = 1 << 30;

/// What one client said and heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Section {
    /// Number of the session, for people.
    pub session: u64,
    /// Name of the client's program.
    pub exe: String,
    /// Its frames, in the order in which the host saw them.
    pub entries: Vec<Entry>,
}

/// Says why a recording cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordingError {
    /// The file cannot be read or written.
    #[error("{verb} the recording {}", path.display())]
    File {
        /// What was being done.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is no recording.
    #[error("{} is no recording: it does not begin with VGPUREC1", path.display())]
    NotARecording {
        /// The file.
        path: PathBuf,
    },
    /// There is more than a worker holds.
    #[error("the recording {} has more than 1 GiB", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// No client was told of devices.
    #[error("the recording {} tells of no devices", path.display())]
    NoDevices {
        /// The file.
        path: PathBuf,
    },
    /// A section is not whole, or not what it should be.
    #[error("section {section} of the recording {} is damaged: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Which, from 1.
        section: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// A frame in a section has no valid header.
    #[error("section {section} of the recording {} holds a frame that is none", path.display())]
    Frame {
        /// The file.
        path: PathBuf,
        /// Which, from 1.
        section: usize,
        /// Where it stopped making sense.
        source: Malformed,
    },
}

/// Counts the bytes of an entry as it is written.
pub(super) fn entry_bytes(entry: &Entry) -> u64 {
    let bulk = match &entry.bulk {
        Contents::Whole(bytes) => bytes.len(),
        Contents::Hash(hash) => hash.len(),
    };
    (HEADER_BYTES + entry.payload.len() + 1 + bulk) as u64
}

/// Writes one entry.
pub(super) fn write_entry(out: &mut impl Write, entry: &Entry) -> io::Result<()> {
    out.write_all(&entry.header.to_bytes())?;
    out.write_all(&entry.payload)?;
    match &entry.bulk {
        Contents::Whole(bytes) => {
            out.write_all(&[0])?;
            out.write_all(bytes)
        }
        Contents::Hash(hash) => {
            out.write_all(&[1])?;
            out.write_all(hash)
        }
    }
}

/// Opens a recording to add to it, and keeps others from doing the same; begins it if there is
/// none. Returns its length, too.
fn open(path: &Path) -> Result<(File, u64), RecordingError> {
    let failed = |source| RecordingError::File { verb: "writing", path: path.into(), source };
    let mut options = File::options();
    let mut file = options.read(true).append(true).create(true).open(path).map_err(failed)?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)
        .map_err(io::Error::from)
        .map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    if length == 0 {
        file.write_all(MAGIC).map_err(failed)?;
        return Ok((file, MAGIC.len() as u64));
    }
    let mut magic = [0; MAGIC.len()];
    match file.read_exact(&mut magic) {
        Ok(()) if &magic == MAGIC => Ok((file, length)),
        _ => Err(RecordingError::NotARecording { path: path.into() }),
    }
}

/// Begins a recording, or finds that one can be added to: before a client comes whose words would
/// be lost.
///
/// # Errors
/// [`RecordingError`] if it cannot be written, or is something else.
pub(crate) fn begin(path: &Path) -> Result<(), RecordingError> {
    open(path).map(drop)
}

/// Appends a section to a recording: whole or not at all, for the workers of several clients may be
/// doing the same.
pub(super) fn append(
    path: &Path,
    session: u64,
    exe: &str,
    packed: &[u8],
) -> Result<(), RecordingError> {
    let (mut file, length) = open(path)?;
    let mut section = Vec::with_capacity(packed.len() + 64);
    let exe = &exe.as_bytes()[..exe.len().min(EXE_BYTES_MAX as usize)];
    section.extend_from_slice(SECTION);
    section.extend_from_slice(&session.to_le_bytes());
    section.extend_from_slice(&u32::try_from(exe.len()).unwrap_or(0).to_le_bytes());
    section.extend_from_slice(exe);
    section.extend_from_slice(&(packed.len() as u64).to_le_bytes());
    section.extend_from_slice(packed);
    file.write_all(&section).map_err(|source| {
        // Half of a section would make the others unreadable. If this fails as well, reading says
        // that it is cut off.
        let _ = file.set_len(length);
        RecordingError::File { verb: "writing", path: path.into(), source }
    })
}

/// Reads a recording.
///
/// # Errors
/// [`RecordingError`] if it cannot be read, or is not what it should be.
pub(crate) fn read(path: &Path) -> Result<Vec<Section>, RecordingError> {
    let failed = |source| RecordingError::File { verb: "reading", path: path.into(), source };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(ENTRIES_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > ENTRIES_BYTES_MAX {
        return Err(RecordingError::TooLong { path: path.into() });
    }
    parse(path, &bytes)
}

/// Reads the bytes of a recording; `path` is for messages.
///
/// # Errors
/// As [`read`].
pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<Vec<Section>, RecordingError> {
    let too_long = || RecordingError::TooLong { path: path.into() };
    let mut room = ENTRIES_BYTES_MAX;
    let mut rest = bytes
        .strip_prefix(MAGIC.as_slice())
        .ok_or_else(|| RecordingError::NotARecording { path: path.into() })?;
    let mut sections = Vec::new();
    while !rest.is_empty() {
        let number = sections.len() + 1;
        let damaged = |what| RecordingError::Damaged { path: path.into(), section: number, what };
        let (session, exe, packed) = section(&mut rest).map_err(damaged)?;
        let entries = unpack(packed, &mut room).map_err(|broken| match broken {
            Broken::TooLong => too_long(),
            Broken::Entry(what) => damaged(what),
            Broken::Frame(source) => {
                RecordingError::Frame { path: path.into(), section: number, source }
            }
        })?;
        sections.push(Section { session, exe, entries });
    }
    Ok(sections)
}

fn section<'a>(rest: &mut &'a [u8]) -> Result<(u64, String, &'a [u8]), &'static str> {
    fn take<'a>(rest: &mut &'a [u8], count: u64) -> Result<&'a [u8], &'static str> {
        let count = usize::try_from(count).map_err(|_| "a length is beyond all memory")?;
        let (taken, left) = rest.split_at_checked(count).ok_or("it is cut off")?;
        *rest = left;
        Ok(taken)
    }
    fn number<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], &'static str> {
        take(rest, N as u64)?.try_into().map_err(|_| "it is cut off")
    }
    if take(rest, 4)? != SECTION {
        return Err("it does not begin with SECT");
    }
    let session = u64::from_le_bytes(number(rest)?);
    let length = u32::from_le_bytes(number(rest)?);
    if length > EXE_BYTES_MAX {
        return Err("the program's name is too long");
    }
    let exe = std::str::from_utf8(take(rest, length.into())?);
    let exe = exe.map_err(|_| "the program's name is not UTF-8")?.to_owned();
    let length = u64::from_le_bytes(number(rest)?);
    Ok((session, exe, take(rest, length)?))
}

enum Broken {
    TooLong,
    Entry(&'static str),
    Frame(Malformed),
}

/// Unpacks entries of at most `room` bytes, which are taken off it.
fn unpack(packed: &[u8], room: &mut u64) -> Result<Vec<Entry>, Broken> {
    let mut bytes = Vec::new();
    DeflateDecoder::new(packed)
        .take(*room + 1)
        .read_to_end(&mut bytes)
        .map_err(|_| Broken::Entry("its entries do not unpack"))?;
    *room = room.checked_sub(bytes.len() as u64).ok_or(Broken::TooLong)?;
    let mut rest = bytes.as_slice();
    let mut entries = Vec::new();
    while !rest.is_empty() {
        let header: &[u8; HEADER_BYTES] =
            rest.first_chunk().ok_or(Broken::Entry("an entry is cut off"))?;
        let header = Header::from_bytes(header).map_err(Broken::Frame)?;
        rest = &rest[HEADER_BYTES..];
        let mut take = |count: usize| {
            let (taken, left) =
                rest.split_at_checked(count).ok_or(Broken::Entry("an entry is cut off"))?;
            rest = left;
            Ok(taken)
        };
        let payload = take(header.payload_bytes as usize)?.to_vec();
        let bulk = match take(1)? {
            [0] => Contents::Whole(take(header.bulk_bytes as usize)?.to_vec()),
            [1] => {
                let hash = take(32)?.try_into();
                Contents::Hash(hash.map_err(|_| Broken::Entry("an entry is cut off"))?)
            }
            _ => return Err(Broken::Entry("contents are of no known kind")),
        };
        if header.kind == vgpu_link::wire::Kind::Reply && matches!(bulk, Contents::Hash(_)) {
            return Err(Broken::Entry("an answer is there by its hash only"));
        }
        entries.push(Entry { header, payload, bulk });
    }
    Ok(entries)
}
