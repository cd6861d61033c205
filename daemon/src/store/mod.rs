//! Images by the hash of their contents, kept over clients and restarts.
//!
//! A client names an image by its BLAKE3 hash and sends it only if it is not here. What was sent
//! becomes an image when it is complete and its hash is right, so no client can put other code
//! under a name. Who knows a hash may use the image (docs/decisions/0023).
//!
//! In a directory each image is one file, and all workers share it. Nothing is synced: every file
//! is checked against its name when it is read, and one that a power cut damaged is fetched again.
//! Without a directory each worker keeps what its own client sent, in memory.

mod directory;
mod incoming;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use vgpu_link::wire::cuda::Image;

use crate::log;
use directory::Directory;
use incoming::Incoming;

/// Largest image: 512 MiB, a hundred times the largest of ggml's (5.8 MB).
pub(crate) const IMAGE_BYTES_MAX: u64 = 512 << 20;

/// What a worker without a directory keeps in memory: 256 MiB, all images of a ggml backend twice.
const MEMORY_BYTES_MAX: u64 = 256 << 20;

/// Most images that one client sends at the same time: 16, one for each of as many threads.
const INCOMING_MAX: usize = 16;

/// Most bytes of images that are not complete yet, of one client: 1 GiB, two of the largest.
const INCOMING_BYTES_MAX: usize = 1 << 30;

/// What each image counts at least, so that many small ones do not take more than they may: 64 KiB,
/// beside which a file system's block, a name and a list's entry are small.
const ACCOUNTED_BYTES_MIN: u64 = 64 << 10;

/// What an image counts.
fn accounted(bytes: u64) -> u64 {
    bytes.max(ACCOUNTED_BYTES_MIN)
}

/// Says where images are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// The directory; none keeps them in memory.
    pub directory: Option<PathBuf>,
    /// Most bytes in the directory; the images that were not used for longest go first.
    pub bytes_max: u64,
}

/// The name of an image: the BLAKE3 hash of its bytes.
type Hash = [u8; 32];

/// The images that a worker can use.
#[derive(Debug)]
pub(crate) struct Store {
    directory: Option<Directory>,
    /// Newest last.
    memory: VecDeque<(Hash, Arc<[u8]>)>,
    incoming: Vec<Incoming>,
}

impl Store {
    /// Opens a place. One that cannot be used is said in the log, and images are kept in memory.
    pub fn open(place: &Place) -> Self {
        let directory = place.directory.as_ref().and_then(|path| {
            Directory::open(path, place.bytes_max).map_or_else(
                |error| {
                    let (path, error) = (path.display(), log::chain(&error));
                    log::event("no-image-store", &[("directory", &path), ("because", &error)]);
                    None
                },
                Some,
            )
        });
        Self { directory, memory: VecDeque::new(), incoming: Vec::new() }
    }

    /// Finds an image by its name.
    pub fn find(&mut self, image: &Image) -> Option<Arc<[u8]>> {
        let kept = self.memory.iter().find(|(hash, _)| *hash == image.hash);
        let found = match kept {
            Some((_, bytes)) => Arc::clone(bytes),
            None => Arc::from(self.directory.as_mut()?.read(&image.hash, image.bytes)?),
        };
        (found.len() as u64 == image.bytes).then_some(found)
    }

    /// Says whether an image of this size is ever taken.
    pub fn takes(&self, bytes: u64) -> bool {
        let room = self.directory.as_ref().map_or(MEMORY_BYTES_MAX, Directory::bytes_max);
        bytes <= IMAGE_BYTES_MAX.min(room)
    }

    /// Takes up a part of an image. What does not fit, or comes out of order, ends the image: it
    /// stays missing, and the client is told so when it asks for it.
    pub fn take_part(&mut self, image: &Image, offset: u64, part: &[u8]) {
        if !self.takes(image.bytes) {
            return;
        }
        while self.incoming.iter().map(|one| one.bytes.len()).sum::<usize>() > INCOMING_BYTES_MAX {
            self.incoming.remove(0);
        }
        let at = self.incoming.iter().position(|one| one.image == *image);
        let at = match at {
            Some(at) => at,
            // Another thread of the client has sent it meanwhile.
            None if offset != 0 || self.find(image).is_some() => return,
            None => {
                if self.incoming.len() == INCOMING_MAX {
                    self.incoming.remove(0);
                }
                self.incoming.push(Incoming::new(image.clone()));
                self.incoming.len() - 1
            }
        };
        match self.incoming[at].take(offset, part) {
            Ok(false) => {}
            Ok(true) => {
                let complete = self.incoming.remove(at);
                self.keep(complete.image.hash, complete.bytes);
            }
            Err(why) => {
                self.incoming.remove(at);
                log::event("image-refused", &[("because", &why)]);
            }
        }
    }

    fn keep(&mut self, hash: Hash, bytes: Vec<u8>) {
        if let Some(directory) = &mut self.directory {
            match directory.write(&hash, &bytes) {
                Ok(()) => return,
                Err(error) => {
                    log::event("image-not-kept", &[("because", &log::chain(&error))]);
                }
            }
        }
        self.memory.push_back((hash, bytes.into()));
        let held = |memory: &VecDeque<(Hash, Arc<[u8]>)>| {
            memory.iter().map(|(_, bytes)| accounted(bytes.len() as u64)).sum::<u64>()
        };
        while self.memory.len() > 1 && held(&self.memory) > MEMORY_BYTES_MAX {
            self.memory.pop_front();
        }
    }
}
