//! Who is served and who is not, and what the ledger answers to those who are.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::net::{SendFlags, send};
use vgpu_link::wire::Text;
use vgpu_link::wire::control::{Reason as Goodbye, Refusal};
use vgpu_link::{
    Arrival, Link, LinkError, MemoryStream, Peer, Sender, Stream, StreamLink, handshake, tls,
};

use super::Host;
use super::ledger::Ledger;
use super::tenants::{Belongs, Tenants};
use crate::desk::{Ask, Share, Tell, Way};
use crate::figures::Refused;
use crate::log;

/// A client that came, by whatever link.
#[derive(Debug)]
pub(super) struct Visitor {
    /// What its worker gets first: its connection, or what hangs up when it is gone.
    pub line: OwnedFd,
    /// Who it is.
    pub peer: Peer,
    /// How it is spoken with.
    pub way: Way,
    /// What else its worker gets.
    pub handed: Vec<OwnedFd>,
    /// Where it waits, if that is in a machine's memory.
    pub seat: Option<Seat>,
}

impl Visitor {
    /// One that came by a socket of this machine, and speaks plainly.
    pub fn by_socket(arrival: Arrival) -> Self {
        let Arrival { socket: line, peer } = arrival;
        Self { line, peer, way: Way::Plain, handed: Vec::new(), seat: None }
    }
}

/// A slot of a machine's memory.
#[derive(Debug)]
pub(super) struct Seat {
    /// Number of the machine.
    pub machine: usize,
    /// Number of the slot.
    pub slot: usize,
    /// Its worker's connection hangs up when this is gone.
    pub life: OwnedFd,
}

/// Room for a frame with a sentence in it.
const LAST_WORDS_BYTES_MAX: usize = 4096;

impl Host {
    /// Welcomes a client that came by a socket.
    pub(super) fn take_on_arrival(&mut self, arrival: Arrival) {
        let way = self.sockets.way(&arrival.peer);
        self.take_on(Visitor { way, ..Visitor::by_socket(arrival) });
    }

    /// Hands a client to a worker, or refuses it.
    pub(super) fn take_on(&mut self, visitor: Visitor) {
        self.sessions += 1;
        let session = self.sessions;
        self.totals.connections += 1;
        let is_told = self.lines.admit(&visitor.peer, Instant::now());
        if self.drain.is_some() {
            let fields: [(&str, &dyn std::fmt::Display); 3] =
                [("session", &session), ("peer", &visitor.peer), ("because", &"stopping")];
            if is_told {
                log::event("refused", &fields);
            }
            self.totals.refused.stopping += 1;
            self.turn_away(visitor, |link| {
                handshake::goodbye(link, Goodbye::Stopping, "the host is being stopped")
            });
            return;
        }
        let tenant = match self.admit(session, &visitor.peer) {
            Ok(tenant) => tenant,
            Err((refusal, text)) => {
                let fields: [(&str, &dyn std::fmt::Display); 3] =
                    [("session", &session), ("peer", &visitor.peer), ("because", &text)];
                if is_told {
                    log::event("refused", &fields);
                }
                *reason(&mut self.totals.refused, refusal) += 1;
                self.turn_away(visitor, |link| handshake::refuse(link, refusal, &text));
                return;
            }
        };
        match self.workers.hand_over(&visitor, session, is_told) {
            Ok(pid) => {
                let Visitor { line, peer, way, seat, .. } = visitor;
                self.workers.hold(pid, line);
                if matches!(way, Way::Tls(_)) {
                    self.strangers.came(session, Instant::now());
                }
                if let Some(seat) = seat {
                    self.machines.grant(seat, session);
                }
                let tenant = tenant.map_or("?", |tenant| self.tenants.name(tenant));
                let fields: [(&str, &dyn std::fmt::Display); 4] =
                    [("session", &session), ("peer", &peer), ("tenant", &tenant), ("worker", &pid)];
                match is_told {
                    true => log::event("client", &fields),
                    false => self.lines.quieten(session),
                }
            }
            Err(error) => {
                self.ledger.close(session);
                let because = log::chain(&error);
                if is_told {
                    log::event("refused", &[("session", &session), ("because", &because)]);
                }
                self.totals.refused.no_worker += 1;
                self.turn_away(visitor, |link| {
                    let text = "the host could not start a worker";
                    handshake::refuse(link, Refusal::NoDevice, text)
                });
            }
        }
    }

    /// Says a client's last words to it, without waiting for it.
    fn turn_away(
        &mut self,
        visitor: Visitor,
        words: impl FnOnce(&mut dyn Sender) -> Result<(), LinkError>,
    ) {
        let Visitor { line, way, seat, .. } = visitor;
        match (way, seat) {
            (Way::Tls(_), _) => tls::refuse(&line),
            (_, Some(seat)) => self.machines.refuse(&seat, &written(words)),
            // A fresh socket has room for the few bytes; a client that is gone needs no answer.
            (_, None) => {
                let _ = send(&line, &written(words), SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
            }
        }
        self.closing.close(line);
    }

    /// Finds a client's tenant and opens its account; `None` where its certificate will say.
    fn admit(&mut self, session: u64, peer: &Peer) -> Result<Option<usize>, (Refusal, String)> {
        if let Some(served) = self.workers.full() {
            return Err(full(served));
        }
        match self.tenants.of(peer) {
            Belongs::To(tenant) => {
                admit(&mut self.ledger, &self.tenants, session, tenant)?;
                Ok(Some(tenant))
            }
            Belongs::ByCertificate => Ok(None),
            Belongs::Nowhere => Err(stranger(peer)),
            Belongs::NoMachine => Err(no_machine(peer)),
        }
    }
}

/// Refuses one that came when all places were taken.
fn full(served: usize) -> (Refusal, String) {
    (Refusal::Full, format!("{served} clients are served, and no more may be"))
}

/// Does what the worker of a session asks, of which the log tells or not; `None` where no answer is
/// due. A file descriptor may go with the answer. A client that introduces itself is refused if so
/// many are served that there is no room for it (`served`).
pub(super) fn answer<'a>(
    ledger: &mut Ledger,
    tenants: &'a Tenants,
    refused: &mut Refused,
    (session, is_told): (u64, bool),
    ask: Ask,
    served: Option<usize>,
) -> Option<(Tell, Option<BorrowedFd<'a>>)> {
    let tell = match ask {
        Ask::Introduce { pid, name, certificate } => {
            let certificate = certificate.as_ref().map(Text::as_str);
            let met = served.map_or(Ok(()), |served| Err(full(served)));
            let met =
                met.and_then(|()| introduce(ledger, tenants, (session, is_told), certificate));
            return Some(match met {
                Ok(tenant) => {
                    ledger.introduce(session, pid, name);
                    let pace = tenants.pace(tenant);
                    (Tell::Admitted(share(ledger, tenants, tenant)), pace.map(AsFd::as_fd))
                }
                Err((refusal, text)) => {
                    if is_told {
                        log::event("refused", &[("session", &session), ("because", &text)]);
                    }
                    *reason(refused, refusal) += 1;
                    (Tell::TurnedAway { refusal, text: Text::cut(&text) }, None)
                }
            });
        }
        Ask::Reserve { device, bytes } => Tell::Granted(ledger.reserve(session, device, bytes)),
        Ask::Release { device, bytes } => {
            if !ledger.release(session, device, bytes) {
                log::event("miscounted", &[("session", &session), ("bytes", &bytes)]);
            }
            return None;
        }
        Ask::Pin { bytes } => Tell::Granted(ledger.pin(session, bytes)),
        Ask::Unpin { bytes } => {
            if !ledger.unpin(session, bytes) {
                log::event("miscounted", &[("session", &session), ("bytes", &bytes)]);
            }
            return None;
        }
        Ask::Afford { bytes } => Tell::Granted(ledger.affords(session, bytes)),
        Ask::Usage { device } => Tell::Usage(ledger.usage(session, device)),
        // Said before there was a client; again, it changes nothing.
        Ask::Open | Ask::Count(_) => return None,
    };
    Some((tell, None))
}

/// Says which tenant a client is of that has introduced itself: the one that it was admitted for,
/// or that of its certificate.
fn introduce(
    ledger: &mut Ledger,
    tenants: &Tenants,
    (session, is_told): (u64, bool),
    certificate: Option<&str>,
) -> Result<usize, (Refusal, String)> {
    if let Some(tenant) = ledger.tenant(session) {
        return Ok(tenant);
    }
    let Some(name) = certificate else { return Err(stranger(&"a client without a certificate")) };
    let tenant = tenants.of_certificate(name);
    let tenant = tenant.ok_or_else(|| stranger(&format!("certificate:{name}")))?;
    admit(ledger, tenants, session, tenant)?;
    if is_told {
        log::event("tenant", &[("session", &session), ("tenant", &tenants.name(tenant))]);
    }
    Ok(tenant)
}

fn admit(
    ledger: &mut Ledger,
    tenants: &Tenants,
    session: u64,
    tenant: usize,
) -> Result<(), (Refusal, String)> {
    ledger.admit(session, tenant).map_err(|clients| {
        let name = tenants.name(tenant);
        (Refusal::Full, format!("tenant {name} has {clients} clients, and may have no more"))
    })
}

fn stranger(seen: &dyn std::fmt::Display) -> (Refusal, String) {
    (Refusal::Stranger, format!("{seen} is of no tenant of this host"))
}

/// What is said to a process that came by vsock from this machine, or from the one below it.
fn no_machine(peer: &Peer) -> (Refusal, String) {
    let text = "is no virtual machine of this host: a process of the host comes by a unix: address";
    (Refusal::Stranger, format!("{peer} {text}"))
}

/// What a client of a tenant may see and use.
fn share(ledger: &Ledger, tenants: &Tenants, tenant: usize) -> Share {
    Share {
        gpus: ledger.gpus(tenant),
        host_memory: tenants.limits_of(tenant).host_memory,
        rate: tenants.pace(tenant).map(|pace| pace.rate),
    }
}

/// What a refusal counts as.
fn reason(refused: &mut Refused, refusal: Refusal) -> &mut u64 {
    match refusal {
        Refusal::Stranger => &mut refused.stranger,
        _ => &mut refused.full,
    }
}

/// The bytes of a short frame.
pub(super) fn written(words: impl FnOnce(&mut dyn Sender) -> Result<(), LinkError>) -> Vec<u8> {
    let (ours, theirs) = MemoryStream::pair();
    let now = Some(Instant::now());
    let (mut link, mut frame) = (StreamLink::new(ours), vec![0; LAST_WORDS_BYTES_MAX]);
    link.wait_until(now);
    let _ = words(&mut link);
    // Whatever was written is read at once; nothing, if it failed.
    let count = theirs.read(&mut frame, now).unwrap_or(0);
    frame.truncate(count);
    frame
}
