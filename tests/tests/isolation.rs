//! Nothing of one client is another's: over the simulated device, and over a driver whose every
//! function is really called. On a GPU machine, `cargo xtask test-gpu` does the same.

#![forbid(unsafe_code)]

use vgpu_link::Uri;
use vgpu_tests::isolation::{forgeries, leaks};
use vgpu_tests::{Stage, Vgpud};

fn at(host: &Vgpud) -> Uri {
    host.link().parse().expect("a link of ours")
}

#[test]
fn what_is_not_the_clients_is_refused_in_every_message_that_names_it() {
    let host = Vgpud::start(&Stage::dev()).expect("the staged vgpud starts");
    let report = forgeries(&at(&host)).expect("honest clients are served");
    assert_eq!(report.broken, Vec::<String>::new(), "{report:#?}");
    assert_eq!(report.missing, Vec::<String>::new());
    eprintln!("{} forgeries; {} of {} messages", report.forged, report.sharp, report.messages);
    // The others lack something else than a name: a refusal of theirs says less.
    assert!(2 * report.sharp > report.messages, "{report:#?}");
}

#[test]
fn memory_that_another_client_had_holds_nothing_of_it() {
    let host = Vgpud::start(&Stage::dev()).expect("the staged vgpud starts");
    assert_eq!(leaks(&at(&host)).expect("honest clients are served"), Vec::<String>::new());
}
