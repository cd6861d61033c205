//! Two networks with a cable between them that can be cut: namespaces of this machine, which need
//! root. The daemon's own tests include this file.

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;
use std::process::{Command, Stdio};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The host's address, of those that are for documents only (RFC 5737).
pub const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

const GUEST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

/// Two namespaces and their cable, taken down with the test.
#[derive(Debug)]
pub struct Cable {
    host: String,
    guest: String,
}

fn ip(words: &str) -> bool {
    let mut ip = Command::new("ip");
    ip.args(words.split_whitespace()).stderr(Stdio::null());
    ip.status().is_ok_and(|status| status.success())
}

#[track_caller]
fn must(words: &str) {
    assert!(ip(words), "`ip {words}` failed: it needs root, and iproute2");
}

impl Cable {
    /// Makes both, with `name` in their names.
    ///
    /// # Panics
    /// Without root or iproute2, as all that follows.
    #[track_caller]
    pub fn new(name: &str) -> Self {
        let side = |side: &str| format!("vgpu-{name}-{side}-{}", std::process::id());
        let (host, guest) = (side("host"), side("guest"));
        must(&format!("netns add {host}"));
        must(&format!("netns add {guest}"));
        must(&format!("-n {host} link add wire type veth peer name wire netns {guest}"));
        for (side, address) in [(&host, HOST), (&guest, GUEST)] {
            must(&format!("-n {side} addr add {address}/24 dev wire"));
            must(&format!("-n {side} link set wire up"));
            must(&format!("-n {side} link set lo up"));
        }
        Self { host, guest }
    }

    /// Makes it whole, or cuts it: nothing arrives any more then, and nobody is told.
    ///
    /// # Panics
    /// If that fails.
    #[track_caller]
    pub fn plug(&self, is_whole: bool) {
        let state = if is_whole { "up" } else { "down" };
        must(&format!("-n {} link set wire {state}", self.host));
    }

    /// Runs something in the host's network; what it starts is in it too.
    ///
    /// # Panics
    /// If `work` does.
    pub fn in_host<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        within(&self.host, work)
    }

    /// Runs something in the guest's network; what it starts is in it too.
    ///
    /// # Panics
    /// If `work` does.
    pub fn in_guest<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        within(&self.guest, work)
    }
}

/// A thread is in one network, a process may be in several.
fn within<T: Send>(side: &str, work: impl FnOnce() -> T + Send) -> T {
    let space = File::open(format!("/run/netns/{side}")).expect("ip(8) has made it");
    std::thread::scope(|scope| {
        let inside = scope.spawn(|| {
            let kind = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(space.as_fd(), kind).expect("root may");
            work()
        });
        inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

impl Drop for Cable {
    fn drop(&mut self) {
        for side in [&self.host, &self.guest] {
            ip(&format!("netns del {side}"));
        }
    }
}
