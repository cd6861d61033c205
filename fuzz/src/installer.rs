//! What lies on a guest's disk: the loaders' files, libraries, units, our own journal.

use std::path::Path;

use vgpu_install::host::memory::Memory;
use vgpu_install::journal::Journal;
use vgpu_install::unit_file;
use vgpu_loader::{Binary, Cache, Found, Platform};

/// A cache of ldconfig's.
pub fn cache(data: &[u8]) {
    let Ok(cache) = Cache::parse(data) else { return };
    assert!(cache.entries().len() <= data.len() / 12, "more entries than the file can hold");
    let found = cache.find(b"libcuda.so.1", 0x303, &[b"x86-64-v3".to_vec()], 0);
    assert!(found.is_none_or(|path| path.len() < 4096), "longer than any path");
}

/// A library.
pub fn library(data: &[u8]) {
    let _ = Binary::read(data);
    if let Found::Elf { binary, .. } = Found::of(data, 62, (0, 0), false) {
        assert!(binary.needed.iter().all(|name| name.len() <= data.len()));
    }
}

/// A unit of systemd's, or the path file of musl's loader.
pub fn unit(data: &[u8]) {
    assert!(Platform::musl_dirs(data).iter().all(|dir| !dir.as_os_str().is_empty()));
    for assignment in unit_file::assignments_of(data) {
        for word in unit_file::words(&assignment.value) {
            assert_eq!(unit_file::words(&unit_file::quoted(&word)), [word]);
        }
    }
}

/// The journal of an interrupted transaction.
pub fn journal(data: &[u8]) {
    let host = Memory::of(Vec::new());
    host.place_file(Path::new(vgpu_install::journal::PATH), data);
    let Ok(Some(journal)) = Journal::interrupted(&host) else { return };
    assert!(journal.damage.iter().all(|at| *at < data.len() as u64), "{:?}", journal.damage);
    // The stem of a record, its length and its sum.
    assert!(journal.records.len() <= data.len() / 23, "more records than the file can hold");
}
