//! What a machine has to go through, the same over every link.

use std::ffi::OsString;
use std::time::{Duration, Instant};

use vgpu_tests::Vgpud;
use vgpu_tests::system::{Asked, Discovery, Guest};
use vgpu_tests::vm::{Listing, Vm};

use super::client::{Running, hold_a_context, measured, release};
use super::{LAYOUT, Parts};

/// For how long a machine stands still: longer than a guest believes in a host that does not beat,
/// and longer than a host believes in a silent machine (`silence_seconds` of the tests).
const SHORT: Duration = Duration::from_secs(7);
const LONG: Duration = Duration::from_secs(13);

/// What a client says that has lost its connection (CUDA_ERROR_DEVICE_UNAVAILABLE).
const LOST: &str = "\"result\":46}";

/// The link that the example's user data names.
pub(crate) const NAMED: &str = "vsock:2:6475";

/// A link, and both its ends.
pub(crate) struct Way<'a> {
    /// What the guest is told.
    pub(crate) link: &'static str,
    /// QEMU's options for the device that carries it.
    pub(crate) options: Vec<OsString>,
    /// Starts the host at the other end.
    pub(crate) host: &'a dyn Fn() -> Vgpud,
    /// Whether the host gives a machine up that stands still for [`LONG`].
    pub(crate) is_given_up: bool,
}

/// Tells the story in one boot and one reboot, and fails where it does not go as it has to.
pub(crate) fn tell(parts: &Parts, way: &Way<'_>) {
    let began = Instant::now();
    // For who watches with --nocapture: a step takes minutes where the machine is busy.
    let step =
        |what: &str| println!("{:6.1} s  {}: {what}", began.elapsed().as_secs_f64(), way.link);
    let mut host = (way.host)();
    step("boot");
    let vm = Vm::boot(&parts.image, &parts.disk, &way.options).unwrap();
    let mut guest = Guest::settle(vm, LAYOUT).unwrap();
    step("look at the disk");
    let before = Listing::of(guest.machine()).unwrap();
    step("install");
    install(&guest, way.link);
    works(&guest, &guest.restart_ollama().unwrap(), "installed");
    let first = answers(&guest, "installed");
    assert_eq!((first.lost, first.loads), (0, 1));

    step("measure");
    println!("{}", measured(&guest));

    step("stand still");
    stands_still(&mut guest, &host, SHORT, false);
    stands_still(&mut guest, &host, LONG, way.is_given_up);
    step("sleep");
    sleeps(&mut guest);
    // All that stopped the machine, and the service has not started anew.
    let again = answers(&guest, "after a sleep");
    assert_eq!((&again.answer, &again.invocation), (&first.answer, &first.invocation));
    assert_eq!(again.loads, 1 + again.lost, "it loads its model again where its runner was lost");
    assert!(again.lost == 1 || !way.is_given_up, "its host had given the machine up");

    step("reboot");
    guest.machine().reboot().unwrap();
    works(&guest, &guest.discovery().unwrap(), "after a reboot");
    let booted = answers(&guest, "after a reboot");
    assert_eq!((booted.lost, booted.loads), (0, 1));

    step("another host process");
    hold_a_context(&guest, "lasting");
    drop(host);
    host = (way.host)();
    let said = release(&guest, "lasting");
    assert!(said.contains(LOST), "its host is another, and the client says {said}");
    // Nobody starts Ollama's service again.
    let again = answers(&guest, "with a new host process");
    assert_eq!((again.lost, again.loads), (1, 2));
    assert_eq!((&again.answer, &again.invocation), (&first.answer, &booted.invocation));
    works(&guest, &guest.discovery().unwrap(), "with a new host process");

    step("roll back");
    hold_a_context(&guest, "last");
    roll_back(&mut guest, &before);
    step("kill");
    is_killed(guest, host);
}

/// Lets cloud-init name the host and install the package, by the example's own user data, of which
/// the link alone is another. (Our repository, which the data names too, is in the image.)
fn install(guest: &Guest<Vm>, link: &str) {
    guest
        .sh(&format!(
            "sed 's/{NAMED}/{link}/' /media/parcel/cloud-init.yaml > /run/user-data
             cloud-init schema --config-file /run/user-data"
        ))
        .unwrap();
    for module in ["write_files", "package_update_upgrade_install"] {
        let once = "--frequency always";
        let said = guest
            .sh(&format!("cloud-init --file /run/user-data single --name {module} {once} 2>&1"))
            .unwrap();
        println!("{module}: {said}");
    }
    let state = guest.sh("dpkg-query --show --showformat='${Status}' vgpu-ollama").unwrap();
    assert_eq!(state, "install ok installed");
}

/// Fails unless Ollama, our tool and our doctor find the GPU.
fn works(guest: &Guest<Vm>, found: &Discovery, when: &str) {
    assert!(found.compute.contains("library=CUDA"), "{when}: {}", found.lines.join("\n"));
    let shown = guest.sh("vgpu-smi").unwrap();
    assert!(shown.contains("H100"), "{when}: {shown}");
    let doctor = guest.vgpu_install(&["doctor"]).unwrap();
    assert!(doctor.status.success(), "{when}: {}{}", doctor.stdout, doctor.stderr);
    println!("{when}: {}", found.compute);
}

/// Asks Ollama's service, which has to answer on the GPU.
fn answers(guest: &Guest<Vm>, when: &str) -> Asked {
    let began = Instant::now();
    let asked = guest.ask_ollama().unwrap_or_else(|error| panic!("{when}: {error}"));
    println!("{when}: Ollama answered within {:?}: {asked:?}", began.elapsed());
    asked
}

/// Lets the machine stand still while a program computes: the program ends as it would have, or,
/// if the host has given the machine up meanwhile, with the error of a lost connection. New ones
/// work.
fn stands_still(guest: &mut Guest<Vm>, host: &Vgpud, time: Duration, is_given_up: bool) {
    let before = told(host, "hello");
    let running = Running::start(guest, format!("running-{}", time.as_secs()));
    host.logged("hello", before + 1).unwrap();
    let gone = told(host, "gone");
    guest.machine().stand_still(time).unwrap();
    let (ended, said) = running.ended(guest);
    host.logged("gone", gone + 1).unwrap();
    let expected = if is_given_up { "DEVICE_UNAVAILABLE" } else { "sync_call_ns" };
    assert!(said.contains(expected), "after {time:?}: {ended}: {said}");
    println!("after {time:?}: {ended}");
    assert!(guest.sh("vgpu-smi").unwrap().contains("H100"), "after {time:?}");
}

/// Puts the machine to sleep while a program has a context. What its devices lose then is theirs to
/// say; the program hears of it by the error of a lost connection, and new ones work.
fn sleeps(guest: &mut Guest<Vm>) {
    hold_a_context(guest, "asleep");
    guest.machine().sleep().unwrap();
    let said = release(guest, "asleep");
    assert!(said.contains("\"result\":0}") || said.contains(LOST), "after a sleep: {said}");
    println!("after a sleep: {said}");
    assert!(guest.sh("vgpu-smi").unwrap().contains("H100"), "after a sleep");
}

/// Counts an event in a host's log.
fn told(host: &Vgpud, event: &str) -> usize {
    let begin = format!("vgpud: {event} ");
    host.log().lines().filter(|line| line.starts_with(&begin)).count()
}

/// Takes everything back, and compares the disk with what it was.
fn roll_back(guest: &mut Guest<Vm>, before: &Listing) {
    guest.vgpu_install(&["--rollback"]).unwrap().success().unwrap();
    guest.apt(&["purge", "vgpu-ollama"]).unwrap().success().unwrap();
    let found = guest.restart_ollama().unwrap();
    assert!(found.compute.contains("library=cpu"), "rolled back: {}", found.compute);
    let changes = before.changes(&Listing::of(guest.machine()).unwrap());
    assert!(changes.is_empty(), "the rollback left:\n{}", changes.join("\n"));
}

/// Pulls the machine's plug while a client has a context: its worker ends, though nobody says a
/// last word.
fn is_killed(mut guest: Guest<Vm>, host: Vgpud) {
    let before = told(&host, "gone");
    let began = Instant::now();
    guest.machine().kill().unwrap();
    host.logged("gone", before + 1).unwrap();
    println!("killed: the worker was gone after {:?}", began.elapsed());
    host.end();
}
