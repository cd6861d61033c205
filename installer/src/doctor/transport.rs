//! Checks of the way to the host, as the service's user meets it.

use super::children::{self, Seen};
use super::{Check, Finding, Scene};
use crate::discover::text;
use crate::error::Result;
use crate::facts::{Manager, Unit};
use crate::probe::link::{Connected, Failed, LinkSeen, Outcome, Trouble, Try};
use crate::probe::pci::Candidate;

/// A call that waits longer than this, in the median, makes every token wait: 5 ms; a socket on a
/// loaded machine needs a tenth of it.
const CALL_NS_MAX: u64 = 5_000_000;
/// One call in a hundred that waits longer than this is noticed as a stall: 50 ms.
const STALL_NS_MAX: u64 = 50_000_000;
/// Fewer bytes per second than this load a model of 8 GB in more than a minute and a half: 80 MB.
const BYTES_PER_SECOND_MIN: u64 = 80_000_000;

/// The checks of this group.
pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "transport.present",
        establishes: "the way to the host is there as configured",
        rows: &["F49", "F50", "F56"],
        run: present,
    },
    Check {
        id: "transport.access",
        establishes: "the service's user can open the way to the host",
        rows: &["F52", "F53", "F55", "U04", "U37"],
        run: access,
    },
    Check {
        id: "transport.handshake",
        establishes: "a host of this version answers, each program by itself",
        rows: &["F52", "F57", "F58", "F61", "F64", "F88"],
        run: handshake,
    },
    Check {
        id: "transport.latency",
        establishes: "calls and copies are as fast as the link allows",
        rows: &["F60", "F61", "F63", "U24"],
        run: latency,
    },
];

/// Judges what each unit's user saw of the link.
pub(super) fn over_links(
    scene: &Scene<'_>,
    judge: impl Fn(&Seen<LinkSeen>, &LinkSeen) -> Result<Vec<Finding>>,
) -> Result<Vec<Finding>> {
    if let Some(finding) = children::refused(scene) {
        return Ok(vec![finding]);
    }
    let mut findings = Vec::new();
    for seen in children::link(scene)? {
        match &seen.found {
            Ok(link) => {
                let judged = judge(seen, link)?;
                findings.extend(judged.into_iter().map(|found| found.saw(seen.place.clone())));
            }
            Err(needs) => findings.push(Finding::skipped(needs).saw(&seen.place)),
        }
    }
    Ok(findings)
}

/// The host that was reached.
pub(super) fn connected(link: &LinkSeen) -> Option<&Connected> {
    link.tries.iter().find_map(|one| match &one.outcome {
        Outcome::Connected(connected) => Some(&**connected),
        Outcome::Failed(_) => None,
    })
}

fn led(one: &Try) -> bool {
    matches!(one.outcome, Outcome::Connected(_))
}

fn failures(link: &LinkSeen) -> impl Iterator<Item = (&Try, &Failed)> {
    link.tries.iter().filter_map(|one| match &one.outcome {
        Outcome::Connected(_) => None,
        Outcome::Failed(failed) => Some((one, failed)),
    })
}

/// What a check answers that needs a host and has none.
pub(super) fn unreached() -> Finding {
    Finding::skipped("needs a host that answers: see transport.present and transport.handshake")
}

fn present(scene: &Scene<'_>) -> Result<Vec<Finding>> {
    over_links(scene, |_, link| {
        let mut evidence = vec![format!("{} names the link", link.origin)];
        evidence
            .extend(failures(link).map(|(one, failed)| format!("{}: {}", one.uri, failed.error)));
        evidence.extend(link.pci.iter().map(candidate));
        let finding = if let Some(error) = &link.config_error {
            Finding::fail(&["F49"], "the configuration of the link cannot be used")
                .saw(error)
                .remedy("mend it as docs/install.md, Links, says")
        } else if let Some(way) = link.tries.iter().find(|one| led(one)) {
            Finding::ok(format!("{} is there", way.uri))
        } else if let Some((_, failed)) =
            failures(link).find(|(_, it)| it.trouble == Trouble::Blocked)
        {
            let hint = failed.hint.as_deref().unwrap_or("docs/pci.md says what a device needs");
            Finding::fail(&["F56"], "the PCI device of the link cannot be used as it is")
                .remedy(hint)
        } else if let Some((_, wrong)) = failures(link).find(|(_, failed)| is_wrong(failed.trouble))
        {
            let rows: &[_] = if link.pci.is_empty() { &["F49"] } else { &["F49", "F50", "F56"] };
            let remedy =
                wrong.hint.as_deref().unwrap_or("docs/install.md, Links, says what there is");
            Finding::fail(rows, "the link that is configured is none that this version can open")
                .remedy(remedy)
        } else if failures(link).count() == link.tries.len()
            && failures(link).all(|(_, failed)| failed.trouble == Trouble::Absent)
        {
            let rows: &[_] = if link.pci.is_empty() { &["F49"] } else { &["F49", "F50"] };
            Finding::fail(rows, "nothing lies where the way to the host should be")
                .remedy("start vgpud on the host and bring its socket into this guest")
        } else {
            let names: Vec<&str> = link.tries.iter().map(|one| one.uri.as_str()).collect();
            Finding::ok(format!("{} is there", names.join(", ")))
        };
        Ok(vec![finding.saw_all(evidence)])
    })
}

/// What is known of a PCI device that could carry a link.
fn candidate(device: &Candidate) -> String {
    let Candidate { address, kind, driver, refused, .. } = device;
    let driver = driver.as_deref().unwrap_or("none");
    let verdict = refused.as_ref().map_or("usable".into(), |why| format!("refused, {why}"));
    format!("PCI {address}, {kind}, driver {driver}: {verdict}")
}

fn is_wrong(trouble: Trouble) -> bool {
    matches!(trouble, Trouble::Address | Trouble::NotBuilt)
}

fn is_unusable(trouble: Trouble) -> bool {
    is_wrong(trouble) || trouble == Trouble::Blocked
}

fn is_shut(trouble: Trouble) -> bool {
    matches!(trouble, Trouble::Denied | Trouble::Shut | Trouble::LockedDown)
}

fn access(scene: &Scene<'_>) -> Result<Vec<Finding>> {
    over_links(scene, |seen, link| {
        if link.tries.iter().any(led) {
            return Ok(vec![Finding::ok("the service's user opened it")]);
        }
        let denied = failures(link).find(|(_, failed)| is_shut(failed.trouble));
        let unusable = failures(link).find(|(_, failed)| failed.trouble == Trouble::Credential);
        if let (None, Some((one, failed))) = (denied, unusable) {
            return Ok(vec![unusable_files(one, failed, seen.unit.as_ref())]);
        }
        let Some((one, failed)) = denied else {
            let absent = failures(link).count() == link.tries.len()
                && failures(link)
                    .all(|(_, it)| it.trouble == Trouble::Absent || is_unusable(it.trouble));
            return Ok(vec![match absent {
                true => Finding::skipped("needs a link that is there: see transport.present"),
                false => Finding::ok("the service's user opened it"),
            }]);
        };
        let user = seen.unit.as_ref().map_or("root", Unit::runs_as);
        let restart = match seen.unit.as_ref().map(|unit| (&unit.manager, unit)) {
            None => "systemctl restart ollama".into(),
            Some((Manager::System, unit)) => unit.command("restart"),
            // What a user's systemd starts has the groups that it was itself started with.
            Some((Manager::User(name), _)) => format!("systemctl restart user@$(id -u {name})"),
        };
        let errno = failed.errno.map_or(String::new(), |errno| format!(" (errno {errno})"));
        let mut rows = vec![match failed.trouble {
            Trouble::LockedDown => "F55",
            Trouble::Shut => "F53",
            _ => "F52",
        }];
        let mut finding = Finding::fail(&[], format!("{user} may not open the way to the host"))
            .saw(format!("{}: {}{errno}", one.uri, failed.error));
        // A PCI device knows better what keeps us from it.
        let mut remedy = match (&failed.hint, one.uri.starts_with("pci:")) {
            (Some(hint), true) => hint.clone(),
            _ => "let vgpud's socket belong to a group of the service's user".to_owned(),
        };
        if let Some((mode, owner, gid)) = one.socket {
            let group = group(scene, gid)?;
            finding = finding.saw(format!("mode {mode:04o}, owner {owner}, group {group}"));
            if mode & 0o060 == 0o060 {
                rows.push("U37");
                remedy = format!("usermod -aG {group} {user} && {restart}");
            }
        }
        if let Some(container) = &scene.facts.platform.container {
            rows.push("U04");
            finding = finding.saw(format!("this is a container of {container}"));
        }
        finding.rows = rows;
        Ok(vec![finding.remedy(remedy)])
    })
}

/// Certificates or a key of this guest that TLS cannot begin with.
fn unusable_files(one: &Try, failed: &Failed, unit: Option<&Unit>) -> Finding {
    let cause = "the certificates of this guest cannot be used";
    let finding = Finding::fail(&["F52"], cause).saw(format!("{}: {}", one.uri, failed.error));
    match (&failed.file, failed.errno, unit) {
        // EACCES: the key is nobody's but Ollama's.
        (Some(file), Some(13), Some(unit)) => {
            let user = unit.runs_as();
            finding.remedy(format!("chgrp $(id -gn {user}) {file} && chmod 640 {file}"))
        }
        _ => finding.remedy(failed.hint.as_deref().unwrap_or("vgpud ca issue on the host")),
    }
}

/// A group's name, or its number if it has none.
fn group(scene: &Scene<'_>, gid: u32) -> Result<String> {
    let groups = text(scene.host, "/etc/group".as_ref())?;
    let number = gid.to_string();
    let named = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == number).then(|| name.to_owned())
    });
    Ok(named.unwrap_or(number))
}

fn handshake(scene: &Scene<'_>) -> Result<Vec<Finding>> {
    over_links(scene, |_, link| {
        if let Some(host) = connected(link) {
            return Ok(vec![greeted(host)]);
        }
        let mut findings = Vec::new();
        for (one, failed) in failures(link) {
            let (rows, cause, remedy): (&[_], _, _) = match failed.trouble {
                Trouble::Silent | Trouble::NobodyListens => (
                    &["F58"],
                    "the way to the host is there, and no host answers behind it",
                    "start vgpud on the host: systemctl status vgpud says why it is not there",
                ),
                Trouble::Version => (
                    &["F88"],
                    "guest and host speak different versions",
                    "install the same version of vgpu-ollama here and of vgpu-host there",
                ),
                Trouble::Unreachable => (
                    &["F58"],
                    "the host's machine is not reached",
                    "check its name and the network: getent hosts NAME, ping NAME",
                ),
                Trouble::Distrust => (
                    &["F52"],
                    "guest and host do not trust each other's certificates",
                    failed.hint.as_deref().unwrap_or("vgpud ca issue on the host"),
                ),
                Trouble::Broken => (
                    &["F57"],
                    "what answers does not speak this protocol",
                    "check that vgpud, and not something older, listens there",
                ),
                _ => continue,
            };
            let saw = format!("{}: {}", one.uri, failed.error);
            findings.push(Finding::fail(rows, cause).saw(saw).remedy(remedy));
        }
        if findings.is_empty() {
            let needs = "needs a link that can be opened: see transport.present and .access";
            findings.push(Finding::skipped(needs));
        }
        Ok(findings)
    })
}

fn greeted(host: &Connected) -> Finding {
    let ours = env!("CARGO_PKG_VERSION");
    let (first, second) = host.sessions;
    let finding = if second == Some(first) {
        Finding::fail(&["F64"], "two programs at once were given one session")
            .remedy("report it with vgpu-install report: this is a defect of vgpud")
    } else if host.host_version != ours {
        Finding::warn(&["F88"], "guest and host are of different versions")
            .remedy("install the same version of vgpu-ollama here and of vgpu-host there")
    } else {
        Finding::ok("a host of this version answers")
    };
    let second = second.map_or("a second connection was refused".into(), |second| {
        format!("sessions {first} and {second} at once")
    });
    finding
        .saw(format!("host {}, guest {ours}, wire format {}", host.host_version, host.wire_version))
        .saw(format!("epoch {}, {second}", host.epoch))
        .saw(format!("handshake in {} µs", host.handshake_us))
}

fn latency(scene: &Scene<'_>) -> Result<Vec<Finding>> {
    let mut findings = over_links(scene, |_, link| {
        let Some(host) = connected(link) else { return Ok(vec![unreached()]) };
        let (median, late) = host.round_trip_ns;
        let saw = format!("round trip {} µs, 99th percentile {} µs", median / 1000, late / 1000);
        Ok(vec![paced(median, late).saw(saw)])
    })?;
    if findings.iter().all(|finding| finding.verdict == super::Verdict::Skipped) {
        return Ok(findings);
    }
    for seen in children::api(scene)? {
        let Ok(Ok(pace)) = seen.found.as_ref().map(|api| api.pace.as_ref()) else { continue };
        let (median, late) = pace.call_ns;
        let (there, back) = pace.bytes_per_second;
        let mut finding = paced(median, late);
        if there.min(back) < BYTES_PER_SECOND_MIN {
            finding = Finding::warn(&["F61", "F63", "U24"], "bulk data goes slowly")
                .remedy("see whether host and guest are short of processor time; then report it");
        }
        let us = |ns: u64| ns as f64 / 1000.0;
        findings.push(
            finding
                .saw(format!("call {:.1} µs, 99th percentile {:.1} µs", us(median), us(late)))
                .saw(format!(
                    "submit {:.2} µs, 99th percentile {:.2} µs",
                    us(pace.submit_ns.0),
                    us(pace.submit_ns.1)
                ))
                .saw(format!(
                    "{} MB/s to the device, {} MB/s back",
                    there / 1_000_000,
                    back / 1_000_000
                ))
                .saw(&seen.place),
        );
    }
    Ok(findings)
}

fn paced(median: u64, late: u64) -> Finding {
    if median > CALL_NS_MAX || late > STALL_NS_MAX {
        return Finding::warn(&["F60"], "the end of a call is noticed late")
            .remedy("see whether host and guest are short of processor time; then report it");
    }
    Finding::ok("calls come back in time")
}
