//! Finds the servers that run on this very machine, from `/proc` (proc(5)).

use std::path::Path;

use super::units::Account;
use super::{readable, text};
use crate::error::Result;
use crate::facts::{Manager, Running};
use crate::host::Host;
use crate::object::Object;

/// Most processes that are looked at; a large server has some thousands.
const PROCESSES_MAX: usize = 1 << 16;
/// Most servers that are told of.
const FOUND_MAX: usize = 64;
/// What the kernel counts time in for programs: a hundredth of a second, on all our machines.
const TICKS_PER_SECOND: u64 = 100;
/// What the kernel adds to the name of a file that is gone.
const DELETED: &str = " (deleted)";
/// What the names of containers' control groups have in them.
const CONTAINERS: [&str; 6] = ["docker", "libpod", "lxc", "kubepods", "containerd", "nspawn"];

/// Finds every server; none below a foreign root.
pub(super) fn all(host: &dyn Host, accounts: &[Account]) -> Result<Vec<Running>> {
    let mut found = Vec::new();
    if !host.is_running() {
        return Ok(found);
    }
    let booted = field(&stream(host, Path::new("/proc/stat")), "btime");
    let names = readable(host.list(Path::new("/proc")))?.unwrap_or_default();
    for name in names.into_iter().take(PROCESSES_MAX) {
        let pid = name.to_str().and_then(|name| name.parse::<u32>().ok());
        if let Some(pid) = pid
            && let Some(running) = one(host, pid, booted.unwrap_or(0), accounts)?
            && found.len() < FOUND_MAX
        {
            found.push(running);
        }
    }
    Ok(found)
}

fn stream(host: &dyn Host, path: &Path) -> String {
    // A process may end while it is looked at: its files then answer with an error of their own.
    host.kernel_text(path).ok().flatten().unwrap_or_default()
}

/// The first number of a line that begins with a name.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim_start_matches(':').split_whitespace().next()?.parse().ok()
}

fn one(host: &dyn Host, pid: u32, booted: u64, accounts: &[Account]) -> Result<Option<Running>> {
    let dir = Path::new("/proc").join(pid.to_string());
    let of = |name: &str| stream(host, &dir.join(name));
    if !of("comm").trim_start_matches('.').starts_with("ollama") {
        return Ok(None);
    }
    let command = of("cmdline");
    if !command.split('\0').skip(1).take(8).any(|word| word == "serve" || word == "start") {
        return Ok(None);
    }
    let link = host.inspect(&dir.join("exe")).ok();
    let Some(Object::Link { target, .. }) = link else { return Ok(None) };
    let shown = target.to_string();
    let (executable, deleted) = match shown.strip_suffix(DELETED) {
        Some(path) => (path.into(), true),
        None => (target, false),
    };
    let Some(uid) = field(&of("status"), "Uid").and_then(|uid| u32::try_from(uid).ok()) else {
        return Ok(None);
    };
    let group = of("cgroup");
    let (unit, manager) = unit(&group, accounts);
    Ok(Some(Running {
        pid,
        executable,
        deleted,
        uid,
        user: user(host, uid)?,
        unit,
        manager,
        contained: CONTAINERS.iter().any(|name| group.contains(name)),
        started: booted + ticks(&of("stat")).unwrap_or(0) / TICKS_PER_SECOND,
    }))
}

/// The name that the system gives a user id.
fn user(host: &dyn Host, uid: u32) -> Result<Option<String>> {
    let passwd = text(host, Path::new("/etc/passwd"))?;
    let mut lines = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let own = lines.find(|fields| fields.get(2).is_some_and(|id| *id == uid.to_string()));
    Ok(own.map(|fields| fields[0].to_owned()))
}

/// The time of the start after the machine's, in ticks: the twenty-second field. The second one,
/// in brackets, may hold anything.
fn ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(19)?.parse().ok()
}

/// The unit of a control group: `0::/system.slice/ollama.service`, or below a user's manager
/// `0::/user.slice/user-1000.slice/user@1000.service/app.slice/ollama.service`.
fn unit(group: &str, accounts: &[Account]) -> (Option<String>, Manager) {
    let of_systemd = |line: &&str| line.starts_with("0::") || line.contains(":name=systemd:");
    let path = group.lines().find(of_systemd).and_then(|line| line.splitn(3, ':').nth(2));
    let parts = || path.unwrap_or_default().split('/');
    let unit = parts().rfind(|part| part.ends_with(".service") && !part.starts_with("user@"));
    let id = parts().find_map(|part| part.strip_prefix("user@")?.strip_suffix(".service"));
    let name = id.map(|id| {
        let own = accounts.iter().find(|account| account.uid.to_string() == id);
        own.map_or(id.to_owned(), |account| account.name.clone())
    });
    (unit.map(str::to_owned), name.map_or(Manager::System, Manager::User))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_is_read_from_the_control_group() {
        let ann = Account { name: "ann".into(), uid: 1000, home: "/srv/ann".into() };
        let cases = [
            ("0::/system.slice/ollama.service\n", Some("ollama.service"), Manager::System),
            (
                "12:cpu:/\n1:name=systemd:/system.slice/ollama@a.service\n",
                Some("ollama@a.service"),
                Manager::System,
            ),
            (
                "0::/user.slice/user-1000.slice/user@1000.service/app.slice/llm.service\n",
                Some("llm.service"),
                Manager::User("ann".into()),
            ),
            ("0::/user.slice/user-7.slice/session-1.scope\n", None, Manager::System),
            ("", None, Manager::System),
        ];
        for (text, name, manager) in cases {
            let found = unit(text, std::slice::from_ref(&ann));
            assert_eq!(found, (name.map(str::to_owned), manager), "{text:?}");
        }
    }

    #[test]
    fn the_start_is_found_behind_a_name_with_brackets() {
        let stat = "7 (o) lla ma) S 1 7 7 0 -1 4194560 1 0 0 0 3 1 0 0 20 0 9 0 4711 1 1";
        assert_eq!(ticks(stat), Some(4711));
        assert_eq!(ticks("7 (x"), None);
    }
}
