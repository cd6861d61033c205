//! Each thing that can be wrong with the device, or behind it, has an error of its own.

use std::io::{IoSlice, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;
use std::time::{Duration, Instant};

use vgpu_link::pci::original::{self, Fault, Registers};
use vgpu_link::{LinkError, Receiver, Sender, Socket, Stream, StreamLink, wire};

use crate::device::tunnel::{Machine, arrival, listen};
use crate::device::{BUSY, Model};

/// Long enough for a loaded machine, and short enough to wait for.
const SHORT: Duration = Duration::from_millis(300);

fn soon() -> Option<Instant> {
    Some(Instant::now() + Duration::from_secs(20))
}

/// The fault that a connection failed with.
#[track_caller]
fn fault(machine: &Machine) -> Fault {
    let error = machine.try_client(SHORT).expect_err("it cannot work");
    let fault = error.get_ref().and_then(|inner| inner.downcast_ref::<Fault>()).copied();
    let fault = fault.unwrap_or_else(|| panic!("{error:?}"));
    assert!(fault.hint().ends_with('.'), "{fault}");
    fault
}

/// A machine with another mediator, which answers each call with a message of `kind` and the
/// result `status`; silent if there is none.
fn with_mediator(answer: Option<(u32, u32)>) -> Machine {
    let mut machine = Machine::new();
    let socket = machine.socket.with_extension("other");
    let listener = UnixListener::bind(&socket).expect("it listens");
    machine.model = Model::new(socket);
    thread::spawn(move || {
        let Ok((mut emulator, _)) = listener.accept() else { return };
        let mut call = vec![0; 24 + 88];
        while emulator.read_exact(&mut call).is_ok() {
            let Some((kind, status)) = answer else { continue };
            let mut reply = call[..24].to_vec();
            reply[4..8].copy_from_slice(&kind.to_le_bytes());
            let mut result = vec![0; 88];
            result[8..12].copy_from_slice(&status.to_le_bytes());
            let payload: &[u8] = if kind == 0x11 { &result } else { &[] };
            reply[20..24].copy_from_slice(&(payload.len() as u32).to_le_bytes());
            reply.extend(payload);
            if emulator.write_all(&reply).is_err() {
                return;
            }
        }
    });
    machine
}

#[test]
fn a_device_of_another_version_is_not_written_to() {
    let machine = Machine::new();
    machine.model.board().version = 0x0002_0000;
    assert_eq!(fault(&machine), Fault::Version { found: 0x0002_0000 });
    machine.model.board().version = 0x0001_0000;
    machine.model.board().capabilities = 0x11;
    assert_eq!(fault(&machine), Fault::Incapable { found: 0x11 });
    machine.model.board().is_gone = true;
    assert_eq!(fault(&machine), Fault::Gone);
    assert_eq!(machine.model.board().calls, 0);
}

#[test]
fn a_mediator_that_is_away_is_told_with_the_remedy() {
    let mut machine = Machine::new();
    machine.model = Model::new(machine.socket.with_extension("none"));
    let away = fault(&machine);
    assert_eq!(away, Fault::MediatorAway);
    assert!(away.is_retryable() && away.hint().contains("[[machine]]"), "{}", away.hint());
}

#[test]
fn what_the_host_says_of_the_machine_is_told() {
    assert_eq!(fault(&with_mediator(Some((5, 0)))), Fault::RateLimited);
    assert_eq!(fault(&with_mediator(Some((6, 0)))), Fault::Quarantined);
    assert_eq!(fault(&with_mediator(Some((0x11, 801)))), Fault::Foreign);
    assert_eq!(fault(&with_mediator(Some((0x11, 999)))), Fault::Failed { result: 999 });
    // A success without results is none of ours.
    let empty = fault(&with_mediator(Some((0x11, 0))));
    assert!(matches!(empty, Fault::Contradiction { .. }), "{empty}");
}

#[test]
fn a_mediator_that_never_answers_is_given_up() {
    let machine = with_mediator(None);
    assert_eq!(fault(&machine), Fault::NoAnswer);
    // Its call is still under way, and no other can begin.
    assert_eq!(fault(&machine), Fault::Stuck);
    assert_eq!(machine.model.board().calls, 1);
}

#[test]
fn an_emulator_that_does_not_hear_the_bell_is_told_from_a_host_that_does_not_answer() {
    let machine = Machine::new();
    machine.model.board().is_deaf = true;
    assert_eq!(fault(&machine), Fault::Deaf);
}

#[test]
fn a_program_that_holds_the_device_is_told_to_the_others() {
    let machine = Machine::new();
    let [_, device] = machine.turns();
    device.lock().expect("locked");
    assert_eq!(fault(&machine), Fault::Crowded);
    // Its end gives the device back, however it came.
    drop(device);
    machine.client();
}

/// The emulator then sends what lies there in place of our data, unless it begins with zeroes.
#[test]
fn memory_that_another_program_left_registered_is_given_back() {
    let machine = Machine::new();
    machine.model.board().shared_memory = Some(vec![0xee; 64 << 10]);
    let (guest, arrived) = machine.client();
    assert!(machine.model.board().shared_memory.is_none());
    let sent = vec![7; 5000];
    assert_eq!(guest.write(&[IoSlice::new(&sent)], soon()).expect("taken"), 5000);
    assert_eq!(machine.model.board().bulk_calls, 1);
    let mut received = vec![0; 5000];
    UnixStream::from(arrived.socket).read_exact(&mut received).expect("it came");
    assert!(received == sent);
}

/// Seen with the original system in some guests, and never explained.
#[test]
fn a_guest_that_never_reads_done_still_finds_its_answers() {
    let machine = Machine::new();
    machine.model.board().hides_done = true;
    let (guest, arrived) = machine.client();
    guest.write(&[IoSlice::new(b"there")], soon()).expect("taken");
    let mut host = UnixStream::from(arrived.socket);
    let mut received = [0; 5];
    host.read_exact(&mut received).expect("it came");
    host.write_all(b"back").expect("sent");
    let mut into = [0; 9];
    assert_eq!(guest.read(&mut into, soon()).expect("it came"), 4);
    assert_eq!((&received, &into[..4]), (b"there", &b"back"[..]));
}

#[test]
fn a_device_that_is_taken_away_ends_its_links_with_the_reason() {
    let machine = Machine::new();
    let (guest, _arrived) = machine.client();
    let mut link = StreamLink::new(guest);
    machine.model.board().is_gone = true;
    let error = link.header().expect_err("nothing is there");
    assert!(matches!(error, LinkError::Original { source: Fault::Gone }), "{error}");
    let header = wire::Header::new(wire::Kind::Call, 1);
    let error = link.send(&header, &[], &[]).expect_err("nothing is there");
    assert!(matches!(error, LinkError::Original { source: Fault::Gone }), "{error}");
    assert!(error.hint().is_some() && !error.is_retryable());
}

#[test]
fn a_host_that_starts_again_has_forgotten_its_clients_and_takes_new_ones() {
    let mut machine = Machine::new();
    let (guest, _arrived) = machine.client();
    let socket = machine.socket.clone();
    // Its name is gone with it, so that the new one can take it.
    drop(std::mem::replace(&mut machine.mediator, listen(&socket.with_extension("new"))));
    let mut link = StreamLink::new(guest);
    assert!(matches!(link.header(), Err(LinkError::Closed)));
    assert_eq!(fault(&machine), Fault::MediatorAway);
    machine.mediator = listen(&socket);
    let (guest, arrived) = machine.client();
    guest.write(&[IoSlice::new(b"again")], soon()).expect("taken");
    let mut received = [0; 5];
    UnixStream::from(arrived.socket).read_exact(&mut received).expect("it came");
    assert_eq!(&received, b"again");
}

/// Nothing hangs up when a program of the guest is killed: its calls end, and that is all.
#[test]
fn a_program_that_is_killed_is_noticed_by_its_silence() {
    let machine = Machine::new();
    // The call that begins a client, made as by a program that is killed right after.
    let registers = [(0x080, 0x5647_5001), (0x084, 1), (0x088, 8), (0x0c8, 1), (0x0a8, 1)];
    registers.iter().for_each(|(at, value)| machine.model.write32(*at, *value));
    let killed = Socket::from(arrival(&machine.mediator).socket);
    // One that lives is not silent, though it neither reads nor writes.
    let (lives, kept) = machine.client();
    let began = Instant::now();
    assert_eq!(killed.read(&mut [0], soon()).expect("it ends"), 0);
    assert!(began.elapsed() < original::SILENCE + Duration::from_secs(5));
    let kept = Socket::from(kept.socket);
    let still = kept.read(&mut [0], Some(Instant::now() + original::SILENCE));
    assert_eq!(still.expect_err("it lives").kind(), std::io::ErrorKind::TimedOut);
    drop(lives);
    assert_eq!(kept.read(&mut [0], soon()).expect("it ends"), 0);
}

#[test]
fn many_programs_use_the_device_at_once_and_each_finds_its_own() {
    let machine = Machine::new();
    thread::scope(|scope| {
        for number in 0..6_u8 {
            let (guest, arrived) = machine.client();
            scope.spawn(move || {
                let mut host = UnixStream::from(arrived.socket);
                let mut bytes = vec![0; 40_000];
                host.read_exact(&mut bytes).expect("it came");
                host.write_all(&bytes).expect("sent");
            });
            scope.spawn(move || {
                let sent = vec![number; 40_000];
                let mut left = &sent[..];
                while !left.is_empty() {
                    let taken = guest.write(&[IoSlice::new(left)], soon()).expect("taken");
                    left = &left[taken..];
                }
                let (mut came, mut into) = (0, [0; 9000]);
                while came < sent.len() {
                    let count = guest.read(&mut into, soon()).expect("it came");
                    assert!(count > 0 && into[..count].iter().all(|byte| *byte == number));
                    came += count;
                }
            });
        }
    });
    assert_ne!(machine.model.board().read(0x004), BUSY);
}

/// Registers that say whatever they like.
#[derive(Debug)]
struct Liar(std::sync::Mutex<fastrand::Rng>);

impl Registers for Liar {
    fn read32(&self, at: u32) -> u32 {
        let mut random = self.0.lock().expect("no panic");
        match at {
            0x020 => 0x0001_0000,
            0x024 => 0x71,
            // Else it would be given up for the length of its silence.
            0x004 => random.u32(2..5),
            0x0a8 => 0,
            0x94c => 0,
            0x0f4 if random.bool() => 4,
            0x0f8 if random.bool() => random.u32(..20_000),
            _ => random.u32(..),
        }
    }

    fn write32(&self, _: u32, _: u32) {}

    fn put(&self, _: &[u8]) {}

    fn take(&self, into: &mut [u8]) {
        self.0.lock().expect("no panic").fill(into);
    }
}

/// The device is the host's, and the host is trusted with the data; but a device that is broken
/// must not break the program.
#[test]
fn registers_that_lie_end_in_an_error() {
    let machine = Machine::new();
    for seed in 0..200 {
        let liar = Liar(std::sync::Mutex::new(fastrand::Rng::with_seed(seed)));
        let patience = Duration::from_millis(2);
        let error = original::over(liar, machine.turns(), patience).expect_err("it lies");
        assert!(error.get_ref().is_some_and(|inner| inner.is::<Fault>()), "{error}");
    }
}
