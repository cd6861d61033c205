//! Which PCI devices carry a link, over directories as the kernel would show them: the right one is
//! found among its lookalikes, and each reason against it has its own error with its remedy.

#![forbid(unsafe_code)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use vgpu_link::pci::{Kind, Obstacle, pick, scan};
use vgpu_link::{PciAddress, Uri};

/// What `config` begins with: numbers, then COMMAND with memory decoding on.
const DECODING: &[u8] = &[0, 0, 0, 0, 0x03, 0x01, 0x10, 0x00];

const NO_REGION: &str = "0x0000000000000000 0x0000000000000000 0x0000000000000000";
const KIB_4: &str = "0x00000000febf0000 0x00000000febf0fff 0x0000000000040200";
const MIB_16: &str = "0x00000000fd000000 0x00000000fdffffff 0x0000000000040200";
const BYTES_256: &str = "0x00000000febf1000 0x00000000febf10ff 0x0000000000040200";
const GIB_80: &str = "0x0000380000000000 0x00003813ffffffff 0x000000000014220c";
const MIB_64: &str = "0x00000000f8000000 0x00000000fbffffff 0x000000000014220c";

/// Shows a device: its id is vendor, device, class, revision, vendor and device of the subsystem.
fn add(sysfs: &Path, address: &str, id: [&str; 6], regions: &[&str]) -> std::path::PathBuf {
    let directory = sysfs.join("bus/pci/devices").join(address);
    fs::create_dir_all(&directory).expect("a directory");
    let names = ["vendor", "device", "class", "revision", "subsystem_vendor", "subsystem_device"];
    for (name, value) in names.iter().zip(id) {
        fs::write(directory.join(name), format!("0x{value}\n")).expect("written");
    }
    let lines = regions.iter().chain([NO_REGION; 13].iter()).take(13);
    let lines: String = lines.map(|line| format!("{line}\n")).collect();
    fs::write(directory.join("resource"), lines).expect("written");
    fs::write(directory.join("config"), DECODING).expect("written");
    directory
}

const ORIGINAL: [&str; 6] = ["10de", "2331", "030200", "a1", "10de", "16c1"];
const H100: [&str; 6] = ["10de", "2331", "030200", "a1", "10de", "1626"];
const IVSHMEM: [&str; 6] = ["1af4", "1110", "050000", "01", "1af4", "1100"];
const OLD: [&str; 6] = ["1af4", "1111", "120000", "02", "0000", "0000"];
const DISK: [&str; 6] = ["1af4", "1042", "010000", "01", "1af4", "1100"];

fn original(sysfs: &Path, address: &str) -> std::path::PathBuf {
    add(sysfs, address, ORIGINAL, &[KIB_4, MIB_16])
}

fn ivshmem(sysfs: &Path, address: &str) -> std::path::PathBuf {
    add(sysfs, address, IVSHMEM, &[BYTES_256, KIB_4, MIB_64])
}

fn sysfs() -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a directory");
    add(root.path(), "0000:00:03.0", DISK, &[NO_REGION, KIB_4]);
    root
}

fn address(text: &str) -> Option<PciAddress> {
    match format!("pci:{text}").parse() {
        Ok(Uri::Pci(address)) => address,
        other => panic!("{other:?}"),
    }
}

fn refused(sysfs: &Path) -> Obstacle {
    let obstacle = pick(sysfs, None).expect_err("it cannot be used");
    assert!(obstacle.hint().ends_with('.'), "{}", obstacle.hint());
    obstacle
}

#[test]
fn the_only_device_that_carries_a_link_is_taken() {
    let root = sysfs();
    original(root.path(), "0000:00:06.0");
    let found = pick(root.path(), None).expect("the original device");
    assert_eq!((found.kind, Some(found.address)), (Kind::Original, address("0000:00:06.0")));
    assert_eq!((found.regions[0].bytes, found.regions[1].bytes), (4096, 16 << 20));
    let root = sysfs();
    ivshmem(root.path(), "0000:00:05.0");
    let found = pick(root.path(), None).expect("shared memory");
    assert_eq!((found.kind, found.regions[2].bytes), (Kind::Ivshmem, 64 << 20));
}

#[test]
fn of_two_devices_one_has_to_be_named() {
    let root = sysfs();
    original(root.path(), "0000:00:06.0");
    ivshmem(root.path(), "0000:00:05.0");
    let error = refused(root.path());
    let text = error.to_string();
    assert!(matches!(error, Obstacle::Several { .. }), "{text}");
    assert!(text.contains("0000:00:05.0") && text.contains("0000:00:06.0"), "{text}");
    let named = pick(root.path(), address("0000:00:06.0")).expect("the named one");
    assert_eq!(named.kind, Kind::Original);
    assert_eq!(scan(root.path()).expect("a bus").len(), 2);
}

/// A card that is passed through beside our device has its vendor, device and class.
#[test]
fn a_genuine_card_is_never_taken_for_the_original_device() {
    let root = sysfs();
    add(root.path(), "0000:00:06.0", H100, &[MIB_16, NO_REGION, GIB_80]);
    assert!(matches!(refused(root.path()), Obstacle::NoDevice { .. }));
    let named = pick(root.path(), address("0000:00:06.0")).expect_err("a card");
    let text = named.to_string();
    assert!(text.contains("NVIDIA") && text.contains("10de:1626"), "{text}");
    // The numbers alone do not do: what has an H100's regions is one.
    add(root.path(), "0000:00:07.0", ORIGINAL, &[MIB_16, NO_REGION, GIB_80]);
    // Nor do the regions alone.
    add(root.path(), "0000:00:09.0", H100, &[KIB_4, MIB_16]);
    assert_eq!(scan(root.path()).expect("a bus"), []);
    original(root.path(), "0000:00:08.0");
    assert_eq!(pick(root.path(), None).ok().map(|it| it.address), address("0000:00:08.0"));
}

#[test]
fn nothing_on_the_bus_is_told_from_no_bus() {
    let root = sysfs();
    let none = refused(root.path());
    assert!(matches!(none, Obstacle::NoDevice { .. }) && none.is_absent(), "{none}");
    let named = pick(root.path(), address("0000:00:09.0")).expect_err("nothing is there");
    assert!(matches!(named, Obstacle::NotThere { .. }) && named.is_absent(), "{named}");
    let bare = tempfile::tempdir().expect("a directory");
    assert!(matches!(refused(bare.path()), Obstacle::NoBus { .. }));
}

#[test]
fn the_older_generation_is_named_as_too_old() {
    let root = sysfs();
    add(root.path(), "0000:00:05.0", OLD, &[KIB_4]);
    assert!(matches!(refused(root.path()), Obstacle::TooOld { .. }));
    let named = pick(root.path(), address("0000:00:05.0")).expect_err("too old");
    assert!(matches!(named, Obstacle::TooOld { .. }), "{named}");
    // Beside one that works it is no matter.
    ivshmem(root.path(), "0000:00:06.0");
    assert_eq!(pick(root.path(), None).expect("shared memory").kind, Kind::Ivshmem);
}

#[test]
fn a_device_that_nvidias_module_holds_is_told_with_the_module() {
    let root = sysfs();
    let directory = original(root.path(), "0000:00:06.0");
    fs::create_dir_all(root.path().join("bus/pci/drivers/nvidia")).expect("a directory");
    symlink("../../../../bus/pci/drivers/nvidia", directory.join("driver")).expect("a link");
    match refused(root.path()) {
        Obstacle::Bound { driver, .. } => assert_eq!(driver, "nvidia"),
        other => panic!("{other}"),
    }
    // Drivers that only lend a device to programs do no harm.
    fs::remove_file(directory.join("driver")).expect("removed");
    symlink("../../../../bus/pci/drivers/uio_pci_generic", directory.join("driver"))
        .expect("a link");
    let found = pick(root.path(), None).expect("usable");
    assert_eq!(found.driver.as_deref(), Some("uio_pci_generic"));
}

#[test]
fn a_device_that_does_not_decode_memory_is_told_so() {
    let root = sysfs();
    let directory = ivshmem(root.path(), "0000:00:05.0");
    fs::write(directory.join("config"), [0, 0, 0, 0, 0x01, 0x01]).expect("written");
    let error = refused(root.path());
    assert!(matches!(error, Obstacle::DecodingOff { .. }), "{error}");
    assert!(error.hint().contains("enable"), "{}", error.hint());
    fs::write(directory.join("config"), [0, 0, 0, 0, 0x03]).expect("written");
    let cut = refused(root.path());
    assert!(matches!(cut, Obstacle::Attribute { .. }), "{cut}");
}

#[test]
fn a_region_without_an_address_is_told_with_its_number() {
    let unset = "0x0000000000000000 0x0000000003ffffff 0x000000002014220c";
    for (regions, expected) in [
        (&[BYTES_256, KIB_4, unset][..], 2),
        (&[BYTES_256, KIB_4], 2),
        (&[NO_REGION, KIB_4, MIB_64], 0),
    ] {
        let root = sysfs();
        add(root.path(), "0000:00:05.0", IVSHMEM, regions);
        match refused(root.path()) {
            Obstacle::Unassigned { region, .. } => assert_eq!(region, expected),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn what_the_kernel_would_never_write_is_refused_with_its_file() {
    for (name, content) in [
        ("vendor", "10de"),
        ("device", ""),
        ("resource", "0x10 0x0 0x200\n"),
        ("resource", "0x0 0xffffffffffffffff 0x200\n"),
        ("resource", "garbage\n"),
    ] {
        let root = sysfs();
        let directory = ivshmem(root.path(), "0000:00:05.0");
        fs::write(directory.join(name), content).expect("written");
        match refused(root.path()) {
            Obstacle::Attribute { path } => assert_eq!(path, directory.join(name)),
            other => panic!("{name} {content:?}: {other}"),
        }
    }
}

#[test]
fn a_region_is_opened_for_writing() {
    let root = sysfs();
    let directory = ivshmem(root.path(), "0000:00:05.0");
    let found = pick(root.path(), None).expect("shared memory");
    let missing = found.open(2).expect_err("no such file yet");
    assert!(matches!(missing, Obstacle::File { verb: "opening", .. }), "{missing}");
    fs::write(directory.join("resource2"), [0; 64]).expect("written");
    let file = found.open(2).expect("opened");
    std::os::unix::fs::FileExt::write_all_at(&file, b"x", 0).expect("writable");
}
