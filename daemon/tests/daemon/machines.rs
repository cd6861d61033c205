//! Clients of virtual machines that share memory with the host: through the file of ivshmem-plain,
//! and through the memory that a QEMU with ivshmem-doorbell is given.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use vgpu_link::LinkError;
use vgpu_link::wire::control::{Reason, Refusal};

use crate::guests::{Plain, client, qemu, server, try_client};
use crate::process::{Client, LIMIT, Vgpud, command};

#[test]
fn clients_of_a_machine_are_served_side_by_side() {
    let Plain { daemon, guests } = Plain::start(&["one"], "");
    let mut clients: Vec<Client> = (0..4).map(|_| client(&guests[0])).collect();
    daemon.wait_for(&["vgpud: client ", "peer=machine:one"]);
    for client in &mut clients {
        assert!(client.state(0).memory_total > 0);
    }
    drop(clients);
    for _ in 0..4 {
        daemon.wait_for(&["vgpud: gone", "exit status: 0"]);
    }
    assert!(client(&guests[0]).state(0).memory_total > 0, "their slots serve others");
}

#[test]
fn whoever_is_not_served_is_told_so_through_the_slot() {
    let Plain { daemon, guests } = Plain::start(
        &["one", "two"],
        "clients_max = 2\n[[tenant]]\nname = \"a\"\nmachines = [\"one\"]\nclients = 1\n",
    );
    let stranger = try_client(&guests[1]).err().expect("of no tenant");
    assert!(
        matches!(stranger, LinkError::Refused { refusal: Refusal::Stranger, .. }),
        "{stranger}"
    );
    let first = client(&guests[0]);
    let second = try_client(&guests[0]).err().expect("one client may be");
    assert!(matches!(second, LinkError::Refused { refusal: Refusal::Full, .. }), "{second}");
    daemon.signal("USR1");
    daemon.wait_for(&["vgpud: draining"]);
    let late = try_client(&guests[0]).err().expect("it drains");
    assert!(matches!(late, LinkError::Goodbye { reason: Reason::Stopping, .. }), "{late}");
    drop(first);
}

#[test]
fn clients_of_a_daemon_that_ends_hear_it_and_the_next_daemon_serves_new_ones() {
    let Plain { mut daemon, guests } = Plain::start(&["one"], "");
    let mut told = client(&guests[0]);
    daemon.signal("TERM");
    let ended = told.ended();
    assert!(matches!(ended, LinkError::Goodbye { reason: Reason::Stopping, .. }), "{ended}");
    daemon.ended();
    let directory = std::mem::replace(&mut daemon.directory, tempfile::tempdir().expect("one"));
    let file = directory.path().join("host.toml");
    let daemon = Vgpud::launch(command(directory.path(), &file), directory);
    daemon.wait_for(&["vgpud: machine "]);
    // The first still holds its slot.
    assert!(client(&guests[0]).state(0).memory_total > 0);
    assert!(matches!(told.ended(), LinkError::Closed));
}

#[test]
fn a_qemu_gets_memory_of_its_own_and_its_guest_rings() {
    let (daemon, [one, two]) = server();
    let (one, two) = (qemu(&one), qemu(&two));
    let mut first = client(&one.guest);
    daemon.wait_for(&["vgpud: client ", "peer=machine:one"]);
    let mut second = client(&two.guest);
    daemon.wait_for(&["vgpud: client ", "peer=machine:two"]);
    for _ in 0..100 {
        assert_eq!(first.state(0), second.state(0));
    }
    drop(first);
    daemon.wait_for(&["vgpud: gone"]);
    // A QEMU that is killed takes its clients along.
    drop(two);
    daemon.wait_for(&["vgpud: machine-gone", "machine=two"]);
    daemon.wait_for(&["vgpud: gone"]);
    assert!(client(&one.guest).state(0).memory_total > 0);
}

/// What a client of one machine sends is in no other machine's memory, nor in a later one's.
#[test]
fn no_machine_sees_a_byte_of_another() {
    const SECRET: &[u8; 32] = b"what one machine has is its own!";
    let (daemon, [one, two]) = server();
    let (first, second) = (qemu(&one), qemu(&two));
    let mut talker = client(&first.guest);
    let mut listener = client(&second.guest);
    let header = vgpu_link::wire::Header::new(vgpu_link::wire::Kind::Post, 0xffff);
    let bulk: Vec<u8> = SECRET.iter().copied().cycle().take(64 << 10).collect();
    talker.link.send(&header, &[], &bulk).expect("the worker reads");
    // Answered behind it, so it has arrived.
    assert!(talker.state(0).memory_total > 0);
    assert!(listener.state(0).memory_total > 0);
    let holds = |memory: &OwnedFd| {
        let mut bytes = vec![0; 4 << 20];
        let read = rustix::io::pread(memory, &mut bytes[..], 0).expect("it is ours");
        assert_eq!(read, bytes.len());
        bytes.windows(SECRET.len()).any(|window| window == SECRET)
    };
    assert!(holds(&first.memory), "the test looks at the right place");
    assert!(!holds(&second.memory));
    drop(first);
    daemon.wait_for(&["vgpud: machine-gone", "machine=one"]);
    assert!(!holds(&qemu(&one).memory), "each QEMU has a memory of its own");
}

#[test]
fn a_second_qemu_at_the_same_socket_is_turned_away() {
    let (daemon, [one, _]) = server();
    let first = qemu(&one);
    let second = UnixStream::connect(&one).expect("somebody listens");
    daemon.wait_for(&["vgpud: machine-refused", "machine=one"]);
    second.set_read_timeout(Some(LIMIT)).expect("a limit");
    let heard = std::io::Read::read(&mut &second, &mut [0; 8]);
    assert_eq!(heard.expect("the end"), 0, "it gets nothing");
    assert!(client(&first.guest).state(0).memory_total > 0);
}

/// QEMU keeps its memory over the end of the daemon, and cannot be given another one.
#[test]
fn the_next_daemon_serves_the_guest_of_a_qemu_that_stays() {
    let (mut daemon, [one, _]) = server();
    let before = qemu(&one);
    let mut told = client(&before.guest);
    daemon.signal("KILL");
    daemon.ended();
    // Its worker hears of that by a signal, or by the end of the connection between them.
    let ended = told.ended();
    assert!(ended.is_retryable(), "{ended}");
    let directory = std::mem::replace(&mut daemon.directory, tempfile::tempdir().expect("one"));
    let file = directory.path().join("host.toml");
    let daemon = Vgpud::spawn(command(directory.path(), &file), directory);
    assert!(client(&before.guest).state(0).memory_total > 0);
    daemon.wait_for(&["vgpud: client ", "peer=machine:one"]);
    // One that comes anew has a memory of its own again, and rings.
    let next = qemu(&one);
    assert!(client(&next.guest).state(0).memory_total > 0);
    drop(next);
    daemon.wait_for(&["vgpud: machine-gone", "machine=one"]);
    assert!(!one.with_extension("sock.memory").exists(), "nobody has it any more");
}
