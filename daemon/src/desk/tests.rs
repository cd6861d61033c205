//! Messages between host process and worker arrive as they were sent.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use vgpu_link::pci::ivshmem::Place;
use vgpu_link::tls::{self, Credentials, Pem};

use super::*;

#[test]
fn every_message_arrives_as_sent() {
    let (ours, theirs) = Desk::pair().expect("a pair");
    let theirs = Desk { socket: theirs, waits: true };
    let name = Text::cut(&"n".repeat(EXE_BYTES_MAX));
    for ask in [
        Ask::Introduce { pid: 1, name: name.clone(), certificate: None },
        Ask::Introduce { pid: 1, name: name.clone(), certificate: Some(name.clone()) },
        Ask::Reserve { device: 2, bytes: 3 },
        Ask::Release { device: 4, bytes: 5 },
        Ask::Usage { device: 6 },
        Ask::Open,
        Ask::Count(Box::new(Counts { calls: 9, ..Counts::default() })),
    ] {
        theirs.send(&ask, None).expect("sent");
        let (heard, handed) = ours.receive::<Ask>().expect("heard").expect("a message");
        assert!(heard == ask && handed.is_none());
    }
    let processes = vec![Process { pid: 7, bytes: 8, name }; LISTED_MAX + 1];
    let usage = Usage { total: 9, free: 11, used: 10, processes };
    ours.send(&Tell::Usage(usage.clone()), None).expect("sent");
    let (heard, _) = theirs.receive::<Tell>().expect("heard").expect("a message");
    let cut = Usage { processes: usage.processes[1..].to_vec(), ..usage };
    assert_eq!(heard, Tell::Usage(cut));
    let gpus = vec![Gpu { ordinal: 1, bytes: 2 }, Gpu { ordinal: 0, bytes: 3 }];
    for tell in [
        Tell::Known,
        Tell::Admitted(Share {
            gpus,
            host_memory: Some(4),
            rate: Some(Rate { tick: 5, burst: 6 }),
        }),
        Tell::Admitted(Share { gpus: vec![], host_memory: None, rate: None }),
        Tell::TurnedAway { refusal: Refusal::Stranger, text: Text::cut("who?") },
    ] {
        ours.send(&tell, None).expect("sent");
        let (heard, _) = theirs.receive::<Tell>().expect("heard").expect("a message");
        assert_eq!(heard, tell);
    }
    let pem = |name: &str| Pem { path: name.into(), text: vec![1; tls::FILE_BYTES_MAX] };
    let (ca, certificate, key) = (pem("/ca"), pem("/certificate"), pem("/key"));
    let way = Way::Tls(Box::new(Credentials { ca, certificate, key }));
    let serve = Tell::Serve { session: 1, way, is_told: true };
    ours.send(&serve, None).expect("sent");
    let (heard, _) = theirs.receive::<Tell>().expect("heard").expect("a message");
    assert_eq!(heard, serve);
    let place = Place { offset: 1, lane_bytes: 2, bulk_bytes: 3 };
    let serve = Tell::Serve { session: 2, way: Way::Slot(place), is_told: false };
    let file = || std::fs::File::open("/dev/null").expect("every system has it");
    let files = [file(), file(), file()];
    ours.hand_over(&serve, &files.each_ref().map(AsFd::as_fd)).expect("sent");
    let (heard, handed) = theirs.receive_all::<Tell>().expect("heard").expect("a message");
    assert_eq!((heard, handed.len()), (serve, 3));
    drop(ours);
    assert!(theirs.receive::<Tell>().expect("no error").is_none());
}

#[test]
fn a_worker_waits_for_room_and_loses_no_message() {
    const COUNT: u64 = 2000;
    let (ours, theirs) = Desk::pair().expect("a pair");
    let theirs = Desk { socket: theirs, waits: true };
    let watched = theirs.socket.try_clone().expect("a file descriptor");
    let ask = |bytes| Ask::Release { device: 0, bytes };
    let sender =
        std::thread::spawn(move || (0..COUNT).try_for_each(|bytes| theirs.send(&ask(bytes), None)));
    let has_room = || {
        let mut watched = [PollFd::new(&watched, PollFlags::OUT)];
        poll(&mut watched, Some(&Timespec::default())) != Ok(0)
    };
    while has_room() && !sender.is_finished() {
        std::thread::yield_now();
    }
    drop(watched);
    for bytes in 0..COUNT {
        let (heard, _) = ours.receive::<Ask>().expect("heard").expect("a message");
        assert_eq!(heard, ask(bytes));
    }
    sender.join().expect("it ends").expect("all were sent");
}

#[test]
fn a_file_descriptor_travels_beside_its_message() {
    let (ours, theirs) = Desk::pair().expect("a pair");
    let theirs = Desk { socket: theirs, waits: true };
    let (left, right) = std::os::unix::net::UnixStream::pair().expect("a pair");
    let serve = Tell::Serve { session: 3, way: Way::Plain, is_told: true };
    ours.send(&serve, Some(right.as_fd())).expect("sent");
    let (heard, handed) = theirs.receive::<Tell>().expect("heard").expect("a message");
    assert_eq!(heard, serve);
    drop((right, handed.expect("the socket")));
    assert_eq!(std::io::Read::read(&mut &left, &mut [0]).expect("it ended"), 0);
}
