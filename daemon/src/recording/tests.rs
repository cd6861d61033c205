//! Recordings that are made, read, played, and differed from.

use std::path::Path;

use vgpu_link::wire::{Header, Kind};
use vgpu_link::{Bulk, Link as _, Receiver as _, Sender as _, memory_pair};

use super::*;

/// One frame of a client's thread.
fn said(kind: Kind, opcode: u32, thread: u32, sequence: u32) -> Header {
    Header { thread, sequence, ..Header::new(kind, opcode) }
}

fn entry(header: Header, payload: &[u8], bulk: &[u8]) -> Entry {
    Entry::new(&header, payload, bulk)
}

fn call(opcode: u32, thread: u32, sequence: u32, payload: &[u8]) -> Entry {
    entry(said(Kind::Call, opcode, thread, sequence), payload, &[])
}

fn reply(opcode: u32, thread: u32, sequence: u32, payload: &[u8]) -> Entry {
    entry(said(Kind::Reply, opcode, thread, sequence), payload, b"bulk")
}

fn section(exe: &str, entries: Vec<Entry>) -> Section {
    Section { session: 1, exe: exe.into(), entries }
}

/// Says the client's part of an entry and returns the payloads of the answers that are due.
fn say(player: &mut Player, entry: &Entry) -> Result<Vec<Vec<u8>>, Difference> {
    let Contents::Whole(bulk) = &entry.bulk else { panic!("these tests say short things") };
    player.hear(&entry.header, &entry.payload, bulk)?;
    Ok(player.due().into_iter().map(|answer| answer.payload).collect())
}

fn record(path: &Path, exe: &str, frames: u32) {
    let (mut guest, host) = memory_pair();
    let tape = Tape::new(path.into(), 7, exe.into());
    let (sender, receiver) = Box::new(host).split();
    let mut sender = TapedSender { inner: sender, tape: tape.clone() };
    let mut receiver = TapedReceiver::new(receiver, tape);
    let (mut payload, mut bulk) = (Vec::new(), Vec::new());
    for number in 0..frames {
        let header = said(Kind::Call, 0x110, 3, number);
        guest.send(&header, &number.to_le_bytes(), &vec![number as u8; 500]).expect("sent");
        let heard = receiver.receive(&mut payload, Bulk::Grow(&mut bulk)).expect("received");
        let answer = Header { kind: Kind::Reply, ..heard };
        sender.send(&answer, b"answer", &bulk).expect("answered");
        guest.receive(&mut payload, Bulk::Grow(&mut bulk)).expect("heard");
    }
}

#[test]
fn what_is_recorded_is_read_again_for_each_client() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("recording");
    record(&path, "one", 3);
    record(&path, "two", 1);
    let sections = read(&path).expect("a recording");
    let names: Vec<_> = sections.iter().map(|one| (one.exe.as_str(), one.entries.len())).collect();
    assert_eq!(names, [("one", 6), ("two", 2)]);
    let [question, answer, ..] = &sections[0].entries[..] else { panic!("six entries") };
    assert!(matches!(question.bulk, Contents::Hash(_)), "500 bytes to the host are only compared");
    assert_eq!(answer.bulk, Contents::Whole(vec![0; 500]), "an answer is kept whole");
}

#[test]
fn what_was_said_is_added_though_somebody_still_holds_the_tape() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("recording");
    let tape = Tape::new(path.clone(), 7, "one".into());
    let (mut guest, host) = memory_pair();
    let (sender, _receiver) = Box::new(host).split();
    // A thread that waits for the device has the sender when the worker ends.
    let mut held = TapedSender { inner: sender, tape: tape.clone() };
    held.send(&said(Kind::Reply, 0x110, 3, 1), b"answer", &[]).expect("sent");
    tape.finish();
    held.send(&said(Kind::Reply, 0x110, 3, 2), b"too late", &[]).expect("sent");
    drop((tape, held));
    guest.receive(&mut Vec::new(), Bulk::Into(&mut [])).expect("heard");
    let sections = read(&path).expect("a recording");
    let lengths: Vec<usize> = sections.iter().map(|one| one.entries.len()).collect();
    assert_eq!(lengths, [1]);
}

#[test]
fn what_is_no_recording_is_not_added_to() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("notes");
    for text in [&b"not ours"[..], b"short"] {
        std::fs::write(&path, text).expect("written");
        assert!(matches!(begin(&path), Err(RecordingError::NotARecording { .. })));
        record(&path, "one", 1);
        assert_eq!(std::fs::read(&path).expect("it is there"), text, "it is as it was");
    }
    assert!(matches!(begin(directory.path()), Err(RecordingError::File { .. })));
    let new = directory.path().join("new");
    begin(&new).expect("a new one");
    begin(&new).expect("one that is there");
    record(&new, "one", 1);
    assert_eq!(read(&new).expect("a recording").len(), 1);
}

#[test]
fn a_damaged_recording_is_refused_and_nothing_panics() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("recording");
    record(&path, "one", 2);
    let whole = std::fs::read(&path).expect("written");
    let broken = directory.path().join("broken");
    for length in 0..whole.len() {
        std::fs::write(&broken, &whole[..length]).expect("written");
        // The empty recording, of the magic number alone, is a recording of nobody.
        assert_eq!(read(&broken).is_ok(), length == 8, "{length} bytes");
    }
    let mut random = fastrand::Rng::with_seed(3);
    for _ in 0..300 {
        let mut bytes = whole.clone();
        let at = random.usize(..bytes.len());
        bytes[at] ^= 1 << random.u32(..8);
        std::fs::write(&broken, bytes).expect("written");
        // Whether it is noticed depends on where the bit lies; it must only not panic.
        let _ = read(&broken);
    }
}

#[test]
fn the_same_conversation_is_answered_as_it_was() {
    let entries = vec![call(0x110, 0, 1, b"a"), reply(0x110, 0, 1, b"A"), call(0x111, 0, 2, b"b")];
    let mut player = Player::new(vec![section("x", entries.clone())], "x");
    assert_eq!(say(&mut player, &entries[0]), Ok(vec![b"A".to_vec()]));
    assert_eq!(say(&mut player, &entries[2]), Ok(vec![]));
    assert_eq!(player.progress(), (2, 2));
}

#[test]
fn a_difference_names_the_message_and_what_was_recorded() {
    let short = entry(said(Kind::Post, 0x143, 0, 2), b"1234", b"abc");
    let other = entry(said(Kind::Post, 0x143, 0, 2), b"1234", b"abd");
    let mut player = Player::new(vec![section("x", vec![short])], "x");
    let difference = say(&mut player, &other).expect_err("another");
    assert_eq!(difference.part, "byte 2 of its memory contents (63, 64)");
    let entries = vec![call(0x110, 0, 1, b"same"), call(0x143, 0, 2, b"1234")];
    let cases = [
        (call(0x143, 0, 2, b"1x34"), "byte 1 of its payload"),
        (call(0x143, 0, 2, b"123"), "the length of its payload (4 bytes, 3 bytes)"),
        (call(0x105, 0, 2, b"1234"), "its function"),
        (entry(said(Kind::Post, 0x143, 0, 2), b"1234", &[]), "whether it waits for an answer"),
        (
            entry(said(Kind::Call, 0x143, 0, 2), b"1234", b"?"),
            "the length of its memory contents (0 bytes, 1 bytes)",
        ),
    ];
    for (came, part) in cases {
        let mut player = Player::new(vec![section("x", entries.clone())], "x");
        say(&mut player, &entries[0]).expect("the same");
        let difference = say(&mut player, &came).expect_err("another");
        assert_eq!((difference.message, difference.part.as_str()), (2, part));
        let text = difference.to_string();
        assert!(text.contains("recorded was call cuStreamSynchronize (0x143)"), "{text}");
    }
}

#[test]
fn more_than_was_recorded_is_a_difference() {
    let entries = vec![call(0x110, 0, 1, b"only")];
    let mut player = Player::new(vec![section("x", entries.clone())], "x");
    say(&mut player, &entries[0]).expect("the same");
    let difference = say(&mut player, &entries[0]).expect_err("there is no more");
    assert_eq!(difference.recorded, None);
}

#[test]
fn threads_come_in_any_order_and_by_any_number() {
    let entries = vec![
        call(0x110, 0, 1, b"first"),
        call(0x111, 1, 2, b"second"),
        call(0x112, 1, 3, b"third"),
        reply(0x110, 0, 1, b"A"),
    ];
    let mut player = Player::new(vec![section("x", entries)], "x");
    // The thread that was 1 is 5 now, and comes first.
    assert_eq!(say(&mut player, &call(0x111, 5, 1, b"second")), Ok(vec![]));
    assert_eq!(say(&mut player, &call(0x110, 9, 2, b"first")), Ok(vec![]));
    // The answer was recorded after all three: it may depend on them.
    assert_eq!(say(&mut player, &call(0x112, 5, 3, b"third")), Ok(vec![b"A".to_vec()]));
}

#[test]
fn another_thread_of_a_pool_may_go_on() {
    let entries = vec![
        call(0x110, 5, 1, b"first"),
        call(0x111, 6, 2, b"second"),
        call(0x112, 5, 3, b"third"),
        call(0x113, 6, 4, b"fourth"),
    ];
    let mut player = Player::new(vec![section("x", entries.clone())], "x");
    for (entry, thread) in entries.into_iter().zip([5, 5, 6, 7]) {
        let header = Header { thread, ..entry.header };
        say(&mut player, &Entry { header, ..entry }).expect("the same, by another thread");
    }
    assert_eq!(player.progress(), (4, 4));
}

/// Seen with Node.js, whose pool computed equal steps of a model on any of its threads: the thread
/// of the first step was taken for the one that it had been before, in the third.
#[test]
fn which_of_two_equal_messages_came_is_told_by_what_comes_later() {
    let step = |thread: u32, sequence: u32, position: &[u8]| {
        [
            entry(said(Kind::Post, 0x123, thread, 0), b"the same token", &[]),
            call(0x124, thread, sequence, position),
            reply(0x124, thread, sequence, position),
        ]
    };
    let recorded = [step(1, 1, b"first"), step(2, 2, b"second"), step(1, 3, b"third")];
    let mut player = Player::new(vec![section("x", recorded.concat())], "x");
    for (number, thread) in [(0, 8), (1, 8), (2, 9)] {
        let [token, asked, answer] = recorded[number].clone();
        for said in [token, asked] {
            let header = Header { thread, ..said.header };
            let heard = say(&mut player, &Entry { header, ..said.clone() }).expect("the same");
            let due = said.header.kind == Kind::Call;
            assert_eq!(heard, if due { vec![answer.payload.clone()] } else { vec![] });
        }
    }
    assert_eq!(player.progress(), (6, 6));
}

#[test]
fn one_thread_keeps_its_order() {
    let entries = vec![call(0x110, 0, 1, b"first"), call(0x111, 0, 2, b"second")];
    let mut player = Player::new(vec![section("x", entries.clone())], "x");
    assert!(say(&mut player, &entries[1]).is_err());
}

#[test]
fn clients_of_one_program_may_come_in_another_order() {
    let one = vec![call(0x110, 0, 1, b"hello"), call(0x111, 0, 2, b"I am one")];
    let two = vec![call(0x110, 0, 1, b"hello"), call(0x111, 0, 2, b"I am two")];
    for entries in [&two, &one] {
        let sections = vec![section("x", one.clone()), section("x", two.clone())];
        let mut player = Player::new(sections, "x");
        for entry in entries {
            say(&mut player, entry).expect("one of the two");
        }
        assert_eq!(player.progress(), (2, 2));
    }
}

#[test]
fn sections_that_answered_otherwise_are_out_of_the_play() {
    let section_of = |answer: &[u8], last: &[u8]| {
        let entries =
            vec![call(0x110, 0, 1, b"where?"), reply(0x110, 0, 1, answer), call(0x111, 0, 2, last)];
        section("x", entries)
    };
    let sections = vec![section_of(b"here", b"at here"), section_of(b"there", b"at there")];
    let mut player = Player::new(sections, "x");
    assert_eq!(say(&mut player, &call(0x110, 0, 1, b"where?")), Ok(vec![b"here".to_vec()]));
    assert!(say(&mut player, &call(0x111, 0, 2, b"at there")).is_err());
}
