//! Which tenant a client belongs to.

mod change;

use vgpu_link::Peer;

use super::pace::Pace;
use crate::config::tenant::{Limits, Tenant};
use crate::error::DaemonError;

/// The tenants of this host. Each keeps its place for as long as the daemon runs: the ledger and
/// what is counted know it by that.
#[derive(Debug)]
pub(crate) struct Tenants {
    all: Vec<Tenant>,
    /// How many of them are configured: the others have clients from before a reload at most.
    configured: Vec<bool>,
    /// Set where none is configured: the place of the one that everybody is of.
    open: Option<usize>,
    /// What limits the messages of each, where something does or did.
    paces: Vec<Option<Pace>>,
}

/// What is known of a client's tenant when it connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Belongs {
    /// It is of this tenant.
    To(usize),
    /// Its certificate will say, which its worker sees.
    ByCertificate,
    /// It is of none.
    Nowhere,
    /// It came as a virtual machine and is none: a process of this machine, or of the one that this
    /// machine runs on.
    NoMachine,
}

/// The first context id of virtual machines; those below are the hypervisor, a machine itself and
/// its host (vsock(7)).
const FIRST_MACHINE: u32 = 3;

impl Tenants {
    /// Takes up the configured tenants; without any, everybody is one tenant `all` without limits.
    ///
    /// # Errors
    /// [`DaemonError::System`] if the system has no timer for a limit of messages.
    pub fn new(wanted: Vec<Tenant>) -> Result<Self, DaemonError> {
        let mut tenants = Self { all: vec![], configured: vec![], open: None, paces: vec![] };
        let change = tenants.prepare(wanted)?;
        tenants.take_over(change);
        Ok(tenants)
    }

    /// The limits of each tenant.
    pub fn limits(&self) -> Vec<Limits> {
        self.all.iter().map(|tenant| tenant.limits.clone()).collect()
    }

    /// The limits of one tenant.
    pub fn limits_of(&self, tenant: usize) -> &Limits {
        &self.all[tenant].limits
    }

    /// Counts all tenants that there have been.
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// Says whether the configuration still names a tenant.
    pub fn is_configured(&self, tenant: usize) -> bool {
        self.configured[tenant]
    }

    /// A tenant's name.
    pub fn name(&self, tenant: usize) -> &str {
        &self.all[tenant].name
    }

    /// What limits a tenant's messages.
    pub fn pace(&self, tenant: usize) -> Option<&Pace> {
        self.all[tenant].limits.messages_per_second?;
        self.paces[tenant].as_ref()
    }

    /// Finds the tenant of a peer that the system vouches for. A process is looked for by its user
    /// first; its group counts where no tenant names the user.
    pub fn of(&self, peer: &Peer) -> Belongs {
        // Of such a one the system vouches for neither user nor group, whoever may connect.
        if matches!(peer, Peer::Machine { cid: ..FIRST_MACHINE }) {
            return Belongs::NoMachine;
        }
        if let Some(tenant) = self.open {
            return Belongs::To(tenant);
        }
        let found = match peer {
            Peer::Process { uid, gid, .. } => self
                .position(|tenant| tenant.users.contains(uid))
                .or_else(|| self.position(|tenant| tenant.groups.contains(gid))),
            Peer::Machine { cid } => self.position(|tenant| tenant.machines.contains(cid)),
            Peer::Named { machine } => self.position(|tenant| tenant.named.contains(machine)),
            Peer::Address(_) => return Belongs::ByCertificate,
        };
        found.map_or(Belongs::Nowhere, Belongs::To)
    }

    /// Finds the tenant of a name in a certificate that our own authority signed.
    pub fn of_certificate(&self, name: &str) -> Option<usize> {
        self.position(|tenant| tenant.certificates.iter().any(|known| known == name))
    }

    fn position(&self, is_it: impl Fn(&Tenant) -> bool) -> Option<usize> {
        self.all.iter().position(is_it)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenants() -> Tenants {
        let one =
            Tenant { name: "one".into(), users: vec![1000], groups: vec![50], ..Tenant::default() };
        let two = Tenant {
            name: "two".into(),
            users: vec![1001],
            groups: vec![60],
            machines: vec![3],
            named: vec!["ollama-1".into()],
            certificates: vec!["guest".into()],
            ..Tenant::default()
        };
        Tenants::new(vec![one, two]).expect("nothing is limited")
    }

    #[test]
    fn a_peer_is_found_by_user_then_by_group_then_not_at_all() {
        let tenants = tenants();
        let of = |uid, gid| tenants.of(&Peer::Process { uid, gid, pid: 1 });
        assert_eq!(of(1000, 1), Belongs::To(0));
        assert_eq!(of(1001, 50), Belongs::To(1), "the user decides, not the group");
        assert_eq!(of(7, 60), Belongs::To(1));
        assert_eq!(of(7, 7), Belongs::Nowhere);
        assert_eq!(of(0, 0), Belongs::Nowhere, "root is nobody's tenant unless it is named");
        assert_eq!(of(3, 3), Belongs::Nowhere, "a context id is no user");
        assert_eq!(tenants.of(&Peer::Machine { cid: 3 }), Belongs::To(1));
        assert_eq!(tenants.of(&Peer::Machine { cid: 1000 }), Belongs::Nowhere);
        let named = |machine: &str| tenants.of(&Peer::Named { machine: machine.into() });
        assert_eq!((named("ollama-1"), named("3")), (Belongs::To(1), Belongs::Nowhere));
    }

    #[test]
    fn a_peer_of_the_network_is_found_by_its_certificate_only() {
        let tenants = tenants();
        let address = Peer::Address("127.0.0.1:9".parse().expect("an address"));
        assert_eq!(tenants.of(&address), Belongs::ByCertificate);
        assert_eq!(tenants.of_certificate("guest"), Some(1));
        assert_eq!(tenants.of_certificate("Guest"), None);
        assert_eq!(tenants.of_certificate(""), None);
    }

    #[test]
    fn without_tenants_everybody_is_of_the_same_one() {
        let tenants = Tenants::new(Vec::new()).expect("nothing is limited");
        assert_eq!(tenants.of(&Peer::Process { uid: 7, gid: 7, pid: 7 }), Belongs::To(0));
        assert_eq!((tenants.name(0), tenants.limits()), ("all", vec![Limits::default()]));
    }

    /// Every process of the host and of its containers could once come by the loopback of vsock,
    /// past the permissions of the socket.
    #[test]
    fn a_process_of_the_host_is_no_virtual_machine_with_tenants_or_without() {
        for tenants in [tenants(), Tenants::new(Vec::new()).expect("nothing is limited")] {
            for cid in 0..3 {
                assert_eq!(tenants.of(&Peer::Machine { cid }), Belongs::NoMachine, "{cid}");
            }
            assert!(matches!(tenants.of(&Peer::Machine { cid: 3 }), Belongs::To(_)));
        }
    }
}
