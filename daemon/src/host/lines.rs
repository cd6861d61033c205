//! Whose connections are in the log: one peer that comes over and over must not fill it.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use vgpu_link::Peer;

use crate::log::{self, Allowance};

/// Most connections of one peer that are told of at once: two lines of ours each, and up to 12 of
/// its worker. So none reaches the 10,000 lines in 30 seconds that journald takes of a service.
const AT_ONCE: u32 = 500;

/// How long until one more is: three in a second.
const TURN: Duration = Duration::from_millis(333);

/// Most peers that are told apart; all further ones count as one.
const PEERS_MAX: usize = 1024;

/// What each peer may still cause.
#[derive(Debug, Default)]
pub(super) struct Lines {
    peers: HashMap<String, Known>,
    /// Sessions that are served and not told of.
    quiet: HashSet<u64>,
}

/// A peer.
#[derive(Debug)]
struct Known {
    allowance: Allowance,
    /// Whether the log says that it comes too often.
    told: bool,
}

impl Lines {
    /// Says whether a connection of this peer is told of.
    pub fn admit(&mut self, peer: &Peer, now: Instant) -> bool {
        let mut name = name(peer);
        if !self.peers.contains_key(&name) && self.peers.len() >= PEERS_MAX {
            self.peers.retain(|_, known| !known.allowance.is_whole(now));
            if self.peers.len() >= PEERS_MAX {
                name = "others".to_owned();
            }
        }
        let fresh = || Known { allowance: Allowance::new(AT_ONCE, TURN, now), told: false };
        let known = self.peers.entry(name).or_insert_with_key(|_| fresh());
        known.told &= !known.allowance.is_whole(now);
        if known.allowance.take(now) {
            return true;
        }
        if !std::mem::replace(&mut known.told, true) {
            let because = "it connects too often: not all of its connections are in the log";
            log::event("held-back", &[("peer", peer), ("because", &because)]);
        }
        log::hold_back();
        false
    }

    /// Takes note of a session that is served and not told of.
    pub fn quieten(&mut self, session: u64) {
        self.quiet.insert(session);
    }

    /// Says whether a session is told of.
    pub fn tells(&self, session: u64) -> bool {
        !self.quiet.contains(&session)
    }

    /// The same, for the last time.
    pub fn end(&mut self, session: u64) -> bool {
        !self.quiet.remove(&session)
    }
}

/// What a peer is told from others by: ports and process ids are new with each connection.
fn name(peer: &Peer) -> String {
    match peer {
        Peer::Process { uid, .. } => format!("uid:{uid}"),
        Peer::Address(address) => address.ip().to_string(),
        Peer::Machine { .. } | Peer::Named { .. } => peer.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_comes_over_and_over_is_told_of_in_part_and_others_as_before() {
        let (mut lines, now) = (Lines::default(), Instant::now());
        let peer = |uid, pid| Peer::Process { uid, gid: 1, pid };
        let told = (0..2000).filter(|pid| lines.admit(&peer(7, *pid), now)).count();
        assert_eq!(told, AT_ONCE as usize, "whatever its process is");
        assert!(lines.admit(&peer(8, 1), now), "another user");
        assert!(lines.admit(&peer(7, 1), now + TURN) && !lines.admit(&peer(7, 1), now + TURN));
    }

    #[test]
    fn peers_without_number_take_no_memory_without_end() {
        let (mut lines, now) = (Lines::default(), Instant::now());
        for cid in 3..3 + 2 * PEERS_MAX as u32 {
            lines.admit(&Peer::Machine { cid }, now);
        }
        assert!(lines.peers.len() <= PEERS_MAX + 1, "{}", lines.peers.len());
        // Those that were quiet for long are forgotten first.
        assert!(lines.admit(&Peer::Machine { cid: 1 << 30 }, now + TURN * 2 * AT_ONCE));
        assert!(lines.peers.len() < 3, "{}", lines.peers.len());
    }
}
