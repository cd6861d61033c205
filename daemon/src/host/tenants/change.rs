//! Other tenants, or other limits of them, for a daemon that runs. What holds at once and what for
//! clients that come from then on: docs/host.md, "Tenants".

use super::super::pace::Pace;
use super::Tenants;
use crate::config::tenant::Tenant;
use crate::error::DaemonError;

/// The one that everybody is of where none is configured.
const ALL: &str = "all";

/// Keys that clients keep as they were when they came: what a worker was told, or made its device
/// of.
const KEPT: [&str; 1] = ["gpus"];

/// What a new configuration makes of the tenants; nothing of it is in force yet.
#[derive(Debug)]
pub(crate) struct Change {
    all: Vec<Tenant>,
    configured: Vec<bool>,
    open: Option<usize>,
    /// Timers for those that had none, by place.
    fresh: Vec<(usize, Pace)>,
    /// What differs: `tenant.key`, `tenant.new` or `tenant.gone`.
    pub changed: Vec<String>,
    /// What of that holds only for clients that come from then on.
    pub for_new_clients: Vec<String>,
}

impl Tenants {
    /// Works out what a new configuration changes.
    ///
    /// # Errors
    /// [`DaemonError::System`] if the system has no timer for a limit of messages.
    pub fn prepare(&self, mut wanted: Vec<Tenant>) -> Result<Change, DaemonError> {
        let is_open = wanted.is_empty();
        if is_open {
            wanted.push(Tenant { name: ALL.into(), ..Tenant::default() });
        }
        let mut change = Change {
            // Nobody comes to be of one that is gone; who is, keeps its limits.
            all: self.all.iter().map(nobodys).collect(),
            configured: vec![false; self.all.len()],
            open: None,
            fresh: Vec::new(),
            changed: Vec::new(),
            for_new_clients: Vec::new(),
        };
        for tenant in wanted {
            let place = self.all.iter().position(|known| known.name == tenant.name);
            let place = change.put(place, tenant, self);
            let rate = change.all[place].limits.messages_per_second;
            if let (Some(rate), false) = (rate, self.has_timer(place)) {
                change.fresh.push((place, Pace::new(rate)?));
            }
            change.open = is_open.then_some(place);
        }
        for (place, known) in self.all.iter().enumerate() {
            if self.configured[place] && !change.configured[place] {
                change.changed.push(format!("{}.gone", known.name));
            }
        }
        Ok(change)
    }

    /// Puts a change in force.
    pub fn take_over(&mut self, change: Change) {
        let Change { all, configured, open, fresh, .. } = change;
        self.paces.resize_with(all.len(), || None);
        for (place, pace) in self.paces.iter_mut().enumerate() {
            if let Some(pace) = pace {
                pace.change(all[place].limits.messages_per_second);
            }
        }
        for (place, pace) in fresh {
            self.paces[place] = Some(pace);
        }
        (self.all, self.configured, self.open) = (all, configured, open);
    }

    fn has_timer(&self, place: usize) -> bool {
        self.paces.get(place).is_some_and(Option::is_some)
    }
}

impl Change {
    /// Puts a tenant at its place, or at a new one.
    fn put(&mut self, place: Option<usize>, tenant: Tenant, old: &Tenants) -> usize {
        let Some(place) = place else {
            self.changed.push(format!("{}.new", tenant.name));
            self.all.push(tenant);
            self.configured.push(true);
            return self.all.len() - 1;
        };
        let known = &old.all[place];
        for key in differences(known, &tenant) {
            let name = format!("{}.{key}", tenant.name);
            // Those that came without a limit of messages have no timer.
            let has_none = key == "messages_per_second" && !old.has_timer(place);
            if KEPT.contains(&key) || has_none {
                self.for_new_clients.push(name.clone());
            }
            self.changed.push(name);
        }
        if !old.configured[place] {
            self.changed.push(format!("{}.new", tenant.name));
        }
        (self.all[place], self.configured[place]) = (tenant, true);
        place
    }
}

/// A tenant that nobody is of any more.
fn nobodys(tenant: &Tenant) -> Tenant {
    Tenant { name: tenant.name.clone(), limits: tenant.limits.clone(), ..Tenant::default() }
}

/// The keys of host.toml in which two tenants of one name differ.
fn differences(old: &Tenant, new: &Tenant) -> impl Iterator<Item = &'static str> {
    let (before, after) = (&old.limits, &new.limits);
    let differs = [
        ("users", old.users != new.users),
        ("groups", old.groups != new.groups),
        ("machines", old.machines != new.machines || old.named != new.named),
        ("certificates", old.certificates != new.certificates),
        ("memory_mib", before.memory != after.memory),
        ("host_memory_mib", before.host_memory != after.host_memory),
        ("clients", before.clients != after.clients),
        ("messages_per_second", before.messages_per_second != after.messages_per_second),
        ("gpus", before.gpus != after.gpus),
    ];
    differs.into_iter().filter_map(|(key, differs)| differs.then_some(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tenant::Limits;

    fn tenant(name: &str, user: u32, limits: Limits) -> Tenant {
        Tenant { name: name.into(), users: vec![user], limits, ..Tenant::default() }
    }

    #[test]
    fn tenants_keep_their_places_and_what_changes_is_named() {
        let before = vec![
            tenant("one", 1, Limits::default()),
            tenant("two", 2, Limits { messages_per_second: Some(5), ..Limits::default() }),
        ];
        let mut tenants = Tenants::new(before).expect("a timer");
        let rated = Limits { messages_per_second: Some(9), memory: Some(1), ..Limits::default() };
        let third = Limits { gpus: Some(vec![1]), ..Limits::default() };
        let wanted = vec![tenant("three", 3, third), tenant("two", 2, rated.clone())];
        let change = tenants.prepare(wanted.clone()).expect("a timer");
        assert_eq!(
            change.changed,
            ["three.new", "two.memory_mib", "two.messages_per_second", "one.gone"]
        );
        assert_eq!(change.for_new_clients, [""; 0]);
        tenants.take_over(change);
        assert_eq!(["one", "two", "three"], [0, 1, 2].map(|place| tenants.name(place)));
        assert_eq!([0, 1, 2].map(|place| tenants.is_configured(place)), [false, true, true]);
        assert_eq!(tenants.prepare(wanted).expect("a timer").changed, [""; 0]);
        // One that comes back has its old place, and new limits for new clients are named.
        let back = vec![tenant("one", 1, rated)];
        let change = tenants.prepare(back).expect("a timer");
        assert_eq!(change.for_new_clients, ["one.messages_per_second"]);
        tenants.take_over(change);
        assert_eq!(tenants.count(), 3);
        let none = tenants.prepare(Vec::new()).expect("nothing is limited");
        assert_eq!((none.open, none.changed), (Some(3), vec!["all.new".into(), "one.gone".into()]));
    }
}
