//! How a client is spoken with, as the host process tells the worker that it hands one to.

use vgpu_link::pci::ivshmem::Place;
use vgpu_link::tls::{self, Credentials, Pem};
use vgpu_link::wire::{Malformed, Payload, Reader, Text, Writer};

use super::MESSAGE_BYTES_MAX;

/// Longest path in a message, in bytes.
const PATH_BYTES_MAX: usize = 1024;

const _: () = assert!(3 * (tls::FILE_BYTES_MAX + PATH_BYTES_MAX) + 64 <= MESSAGE_BYTES_MAX);

/// How a client is spoken with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Way {
    /// Frames as they are.
    Plain,
    /// Frames through a slot of a machine's memory; the memory goes along, then the eventfd that
    /// the client rings, if it can.
    Slot(Place),
    /// Through TLS. The host process has read the files: a worker need not be able to, and uses
    /// those that are there when its client comes.
    Tls(Box<Credentials>),
}

impl Payload for Way {
    fn write(&self, writer: &mut Writer<'_>) {
        match self {
            Self::Plain => writer.u8(0),
            Self::Slot(Place { offset, lane_bytes, bulk_bytes }) => {
                writer.u8(2);
                [offset, lane_bytes, bulk_bytes].into_iter().for_each(|&word| writer.u64(word));
            }
            Self::Tls(credentials) => {
                writer.u8(1);
                for pem in [&credentials.ca, &credentials.certificate, &credentials.key] {
                    Text::<PATH_BYTES_MAX>::cut(&pem.path.to_string_lossy()).write(writer);
                    writer.bytes(&pem.text);
                }
            }
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let malformed = reader.malformed("a way to speak");
        let pem = |reader: &mut Reader<'_>| {
            let path = Text::<PATH_BYTES_MAX>::read(reader)?.as_str().into();
            Ok(Pem { path, text: reader.bytes(tls::FILE_BYTES_MAX)?.to_vec() })
        };
        match reader.u8()? {
            0 => Ok(Self::Plain),
            1 => Ok(Self::Tls(Box::new(Credentials {
                ca: pem(reader)?,
                certificate: pem(reader)?,
                key: pem(reader)?,
            }))),
            2 => {
                let (offset, lane_bytes) = (reader.u64()?, reader.u64()?);
                Ok(Self::Slot(Place { offset, lane_bytes, bulk_bytes: reader.u64()? }))
            }
            _ => Err(malformed),
        }
    }
}
