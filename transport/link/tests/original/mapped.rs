//! The link over mapped files, found in a directory as the kernel would show the device.

use std::fs;
use std::time::{Duration, Instant};

use vgpu_link::pci::original;
use vgpu_link::pci::{Kind, Obstacle, pick};
use vgpu_link::{Bulk, LinkError, Receiver, Sender, socket_link, wire};

use crate::device::tunnel::{Machine, arrival};
use crate::device::{Polled, show};

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

#[test]
fn frames_go_through_the_mapped_regions() {
    let (machine, sysfs) = (Machine::new(), tempfile::tempdir().expect("a directory"));
    let directory = show(sysfs.path());
    let _device = Polled::show(machine.model.clone(), &directory).expect("shown");
    let found = pick(sysfs.path(), None).expect("the device");
    assert_eq!(found.kind, Kind::Original);
    let mut guest = original::connect(&found, soon()).unwrap_or_else(|error| panic!("{error}"));
    let mut host = socket_link(arrival(&machine.mediator).socket);
    let mut random = fastrand::Rng::with_seed(3);
    for bytes in [0, 1, 7, 1024, 1025, 5000, 100_003] {
        let mut sent = vec![0; bytes];
        random.fill(&mut sent);
        let header = wire::Header::new(wire::Kind::Call, 5);
        guest.send(&header, b"there", &sent).expect("sent");
        let (mut payload, mut bulk) = (Vec::new(), Vec::new());
        host.receive(&mut payload, Bulk::Grow(&mut bulk)).expect("it came");
        assert!(payload == b"there" && bulk == sent, "{bytes} bytes to the host");
        host.send(&header, b"back", &sent).expect("sent");
        guest.receive(&mut payload, Bulk::Grow(&mut bulk)).expect("it came");
        assert!(payload == b"back" && bulk == sent, "{bytes} bytes from the host");
    }
    assert!(machine.model.board().bulk_calls > 0, "the second region was used");
}

#[test]
fn a_region_that_is_not_there_is_told_with_its_file() {
    let sysfs = tempfile::tempdir().expect("a directory");
    let directory = show(sysfs.path());
    let found = pick(sysfs.path(), None).expect("the device");
    fs::write(directory.join("resource0"), [0; 4096]).expect("written");
    match original::connect(&found, soon()).err().expect("one is missing") {
        LinkError::Pci { source, .. } => match *source {
            Obstacle::File { path, .. } => assert_eq!(path, directory.join("resource1")),
            other => panic!("{other}"),
        },
        other => panic!("{other}"),
    }
}
