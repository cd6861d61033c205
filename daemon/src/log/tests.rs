use std::cell::{Cell, RefCell};

use super::*;

/// A journal that stood still once held up the host's loop: the line went to standard error then,
/// which waits for the same journal.
#[test]
fn lines_for_which_the_journal_has_no_room_are_counted_and_the_next_one_tells_of_them() {
    let (room, heard) = (Cell::new(false), RefCell::new(Vec::new()));
    let put = |_: Priority, text: &str, _: &[(&str, String)]| {
        if room.get() {
            heard.borrow_mut().push(text.to_owned());
        }
        room.get()
    };
    let lost = Lost::none();
    (0..3).for_each(|_| lost.tell(put, Priority::Info, "gone", &[]));
    room.set(true);
    lost.tell(put, Priority::Info, "client", &[]);
    lost.tell(put, Priority::Info, "hello", &[]);
    assert_eq!(heard.take(), ["lost-lines count=3", "client", "hello"]);
    assert_eq!(lost.total(), 3);
    lost.count();
    assert!(lost.confess(put), "at the end");
    assert_eq!(heard.take(), ["lost-lines count=1"]);
}

/// Finds the names of events in a text of the source.
fn named(text: &str) -> Vec<String> {
    let texts = text.split(concat!("log::", "event(")).skip(1);
    texts
        .filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next())
        .map(str::to_owned)
        .collect()
}

/// Reads all sources below a directory.
fn sources(directory: &std::path::Path, all: &mut String) {
    for entry in std::fs::read_dir(directory).expect("the sources lie here") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => sources(&path, all),
            false => *all += &std::fs::read_to_string(&path).expect("text"),
        }
    }
}

#[test]
fn every_event_is_in_the_table_of_the_manual_and_the_table_has_no_other() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = String::new();
    sources(&root.join("src"), &mut all);
    let mut events = named(&all);
    // These two do not go the way of the others.
    events.extend(["failed", "lost-lines"].map(str::to_owned));
    events.sort();
    events.dedup();
    assert!(events.len() > 40, "{events:?}");
    let manual = include_str!("../../../docs/host.md");
    let table = manual.split("| event | says |").nth(1).expect("the table");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let cells = rows.filter_map(|row| row.split('|').nth(1));
    let mut told: Vec<String> =
        cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned).collect();
    told.sort();
    assert_eq!(told, events, "in docs/host.md, and in the source");
    for name in ERRORS.iter().chain(&WARNINGS) {
        assert!(events.iter().any(|event| event == name), "{name} is no event");
    }
}
