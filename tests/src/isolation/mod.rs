//! What one client can reach of another: nothing. Every request that names something is made with
//! every name that is not the client's: made up, ended, of another kind, of another client.
//!
//! It speaks the protocol itself, for a hostile client does not use our libraries. The same check
//! runs against the simulated device and, on a GPU machine, against the genuine driver.

mod generated;
mod memory;
mod peer;
mod scene;

pub use memory::leaks;

use std::collections::BTreeMap;

use vgpu_link::{LinkError, Uri};

use peer::{Peer, Refused};
use scene::Scene;

/// What a request's field names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Kind {
    Address,
    Array,
    Blas,
    Context,
    Event,
    Exec,
    Function,
    Graph,
    Kernel,
    Library,
    Link,
    Memory,
    Module,
    Node,
    Pool,
    Range,
    Stream,
}

/// A request that names something of the client's.
struct Asked {
    /// What `docs/messages.md` calls it.
    name: &'static str,
    opcode: u32,
    /// Whether it is answered; the error of one that is not comes with the next synchronisation.
    is_call: bool,
    /// Whether something comes to the client later, for which other requests wait until it came.
    has_ticket: bool,
    /// Whether the answer begins with a code of its own.
    answers_code: bool,
    /// Whether memory contents go with it.
    carries: bool,
    /// What its fields name, in their order.
    kinds: &'static [Kind],
    /// Makes its payload with these names.
    make: fn(&[u64]) -> Vec<u8>,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Report {
    /// Requests that were made with a name that is not the client's.
    pub forged: usize,
    /// Messages that are done where every name is right: of these, a refusal is the name's.
    pub sharp: usize,
    /// Messages in all.
    pub messages: usize,
    /// What was done and must not have been, or ended the connection.
    pub broken: Vec<String>,
    /// Kinds that this device does not have: none of their messages was asked.
    pub missing: Vec<String>,
}

/// Everything that Alice has holds this, and nothing of Bob's may.
const SECRET: u8 = 0xa5;

/// Memory contents that go with a request.
const CONTENTS: [u8; 16] = [1; 16];

/// Bob makes every request with every name that is not his, while Alice has the same things.
///
/// # Errors
/// [`LinkError`] if an honest client is not served.
///
/// # Panics
/// If the device does not do what an honest client asks.
pub fn forgeries(host: &Uri) -> Result<Report, LinkError> {
    let mut report = Report::default();
    let mut alice = Peer::connect(host)?;
    // Hers are later ones of each kind: no first things of Bob's have the same numbers.
    let scenes: Vec<Scene> =
        (0..3).map(|_| Scene::make(&mut alice)).collect::<Result<_, _>>().map_err(Refused::link)?;
    let hers = scenes.last().expect("three were made");
    let secret = hers.keep(&mut alice, SECRET).map_err(Refused::link)?;
    for asked in generated::all() {
        report.messages += 1;
        if let Some(kind) = asked.kinds.iter().find(|kind| !hers.good.contains_key(kind)) {
            report.missing.push(format!("{}: {kind:?}", asked.name));
            continue;
        }
        Try { host, asked: &asked, alien: &hers.good, report: &mut report }.all()?;
    }
    let found = alice.read(secret, scene::BYTES as usize).map_err(Refused::link)?;
    if found.iter().any(|byte| *byte != SECRET) {
        report.broken.push("what Alice keeps was changed".to_owned());
    }
    Ok(report)
}

/// All that is tried with one message.
struct Try<'a> {
    host: &'a Uri,
    asked: &'a Asked,
    alien: &'a BTreeMap<Kind, u64>,
    report: &'a mut Report,
}

impl Try<'_> {
    fn all(self) -> Result<(), LinkError> {
        let (mut bob, mut scene) = self.bob()?;
        for at in 0..self.asked.kinds.len() {
            for (what, name) in self.bad(&scene, self.asked.kinds[at]) {
                let mut names = self.right(&scene);
                names[at] = name;
                self.report.forged += 1;
                let outcome = self.ask(&mut bob, &names);
                let about = || {
                    let Asked { name: message, kinds, .. } = self.asked;
                    format!("{message} with {what} {name:#x} as its {:?} ({at})", kinds[at])
                };
                match outcome {
                    Ok(answer) => {
                        let leaked =
                            if holds_secret(&answer) { ", and answered Alice's" } else { "" };
                        self.report.broken.push(format!("{} was done{leaked}", about()));
                        (bob, scene) = self.bob()?;
                    }
                    Err(Refused::Status(_))
                        if !self.asked.has_ticket && bob.synchronise().is_ok() => {}
                    // An error that stays: what comes after it would be refused for it.
                    Err(Refused::Status(_)) => (bob, scene) = self.bob()?,
                    Err(Refused::Link(error)) => {
                        self.report.broken.push(format!("{}: {error}", about()));
                        (bob, scene) = self.bob()?;
                    }
                }
            }
        }
        let names = self.right(&scene);
        self.report.sharp += usize::from(self.ask(&mut bob, &names).is_ok());
        Ok(())
    }

    fn bob(&self) -> Result<(Peer, Scene), LinkError> {
        let mut bob = Peer::connect(self.host)?;
        let scene = Scene::make(&mut bob).map_err(Refused::link)?;
        Ok((bob, scene))
    }

    fn right(&self, scene: &Scene) -> Vec<u64> {
        self.asked.kinds.iter().map(|kind| scene.good[kind]).collect()
    }

    /// Names that are not Bob's. Small numbers are left out: 0, 1 and 2 name streams of everybody.
    fn bad(&self, scene: &Scene, kind: Kind) -> Vec<(&'static str, u64)> {
        let right = scene.good[&kind];
        let mut bad = vec![
            ("Alice's", self.alien[&kind]),
            ("the next after the own", right + 0x0fff_0000),
            ("the own cut to 32 bits", right & 0xffff_fffc | 4),
            ("the own with another top", right ^ 0x4000_0000_0000_0000),
            ("the last number", u64::MAX),
            ("the sign", 1 << 63),
        ];
        bad.extend(scene.stale.get(&kind).map(|stale| ("an ended", *stale)));
        let others = scene.good.iter().filter(|(other, _)| !kind.takes(**other));
        bad.extend(others.map(|(_, name)| ("another kind's", *name)));
        bad.retain(|(_, name)| *name != right);
        bad
    }

    fn ask(&self, bob: &mut Peer, names: &[u64]) -> Result<Vec<u8>, Refused> {
        let payload = (self.asked.make)(names);
        let contents: &[u8] = if self.asked.carries { &CONTENTS } else { &[] };
        let is_call = self.asked.is_call || self.asked.has_ticket;
        let answer = bob.ask(self.asked.opcode, is_call, &payload, contents)?;
        match answer.first_chunk::<4>().map(|code| u32::from_le_bytes(*code)) {
            Some(code @ 1..) if self.asked.answers_code => Err(Refused::Status(code as u16)),
            _ => Ok(answer),
        }
    }
}

impl Kind {
    /// Says whether the name of another kind means the same here: a launch takes a kernel, a
    /// reserved range is an address.
    fn takes(self, other: Self) -> bool {
        self == other
            || matches!(
                (self, other),
                (Self::Function, Self::Kernel)
                    | (Self::Address, Self::Range)
                    | (Self::Range, Self::Address)
            )
    }
}

/// Says whether Alice's contents stand in an answer.
fn holds_secret(answer: &[u8]) -> bool {
    answer.windows(8).any(|window| window == [SECRET; 8])
}
