//! Was what runs started after what lies there? Processes keep the environment and the files of
//! their start.

use super::super::{Finding, Fix, Scene};
use crate::discover::text;
use crate::error::Result;
use crate::facts::{Manager, SHIMS, Unit};
use crate::systemd::Shown;
use crate::unit_file::{assignments, words};

/// How exact a process's start is known: the machine's start is given in whole seconds.
const START_SECONDS: u64 = 2;

pub(super) fn check(scene: &Scene<'_>) -> Result<Vec<Finding>> {
    let mut findings = replaced(scene)?;
    if scene.facts.units.is_empty() {
        findings.extend(super::no_unit());
        return Ok(findings);
    }
    for unit in scene.facts.units.iter().filter(|unit| !unit.masked) {
        match scene.shown(&unit.name, &unit.manager)? {
            Ok(shown) => findings.extend(pending(scene, unit, &shown)?),
            Err(needs) => {
                let saw = format!("nothing says when {} started", unit.name);
                findings.push(Finding::skipped(needs).saw(saw));
            }
        }
    }
    Ok(findings)
}

fn pending(scene: &Scene<'_>, unit: &Unit, shown: &Shown) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    if shown.text("NeedDaemonReload") == "yes" {
        let cause = format!("systemd has not read the files of {} since they changed", unit.name);
        let saw = format!("{}: NeedDaemonReload=yes", unit.name);
        findings.push(Finding::fail(&["F05", "P23"], cause).saw(saw).mended_by(Fix::reload(unit)));
    }
    let pid = shown.number("MainPID");
    let main = scene.processes()?.all.iter().find(|process| Some(u64::from(process.pid)) == pid);
    let changed = unit.drop_in.meta().map(|meta| meta.mtime.seconds).unwrap_or_default();
    let Some(main) = main.filter(|_| shown.is_active()) else { return Ok(findings) };
    let changed = u64::try_from(changed).unwrap_or(0);
    if changed > main.started + START_SECONDS {
        let cause =
            format!("{} runs since before our drop-in changed: a restart is due", unit.name);
        let finding = Finding::fail(&["F05", "P24"], cause)
            .saw(format!("{} started at {}", main.words(), main.started))
            .saw(format!("{} changed at {changed}", unit.drop_in_path))
            .mended_by(Fix::restart(unit));
        findings.push(finding);
    }
    Ok(findings)
}

/// Processes whose program or libraries of ours were replaced under them.
fn replaced(scene: &Scene<'_>) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for process in &scene.processes()?.all {
        let mut lines = Vec::new();
        if process.is_deleted {
            lines.push(format!("{}: its program is (deleted)", process.words()));
        }
        for file in process.maps(scene.host)?.iter().filter(|file| file.is_deleted) {
            let name = file.path.file_name().unwrap_or_default();
            let ours = file.path.starts_with(&*scene.facts.shims.dir);
            if ours && SHIMS.iter().any(|shim| name == *shim) {
                lines.push(format!("{}: {} (deleted)", process.words(), file.path.display()));
            }
        }
        if lines.is_empty() {
            continue;
        }
        let cause = "a process still runs files that were replaced";
        let mut finding = Finding::fail(&["F31"], cause).saw_all(lines);
        for unit in &scene.facts.units {
            let shown = scene.shown(&unit.name, &unit.manager)?.unwrap_or_default();
            let main = shown.number("MainPID");
            if main == Some(process.pid.into()) || main == Some(process.parent.into()) {
                finding = finding.mended_by(Fix::restart(unit));
            }
        }
        if finding.remedy.is_none() {
            finding = finding.remedy(format!("end process {} and start it again", process.pid));
        }
        findings.push(finding);
    }
    Ok(findings)
}

/// Ollama looks for a GPU once: the link must have been up by then.
pub(super) fn order(scene: &Scene<'_>) -> Result<Vec<Finding>> {
    let Some(guest) = &scene.facts.guest_unit else {
        return Ok(vec![Finding::ok("no unit brings the link up, so nothing is to be ordered")]);
    };
    let mut findings = Vec::new();
    for unit in scene.facts.units.iter().filter(|unit| !unit.masked) {
        let ours = text(scene.host, &unit.drop_in_path)?;
        let after = assignments(&ours).into_iter().filter(|line| line.key == "After");
        let mut is_ordered = after.flat_map(|line| words(&line.value)).any(|name| name == *guest);
        let shown = scene.shown(&unit.name, &unit.manager)?;
        if let Ok(shown) = &shown {
            is_ordered |= words(shown.text("After")).contains(guest);
        }
        if !is_ordered {
            let cause = format!("{} may start before {guest} has the link up", unit.name);
            let saw = format!("{}: no After={guest}", unit.name);
            findings.push(Finding::fail(&["U03"], cause).saw(saw).mended_by(Fix::apply()));
            continue;
        }
        let key = "ActiveEnterTimestampMonotonic";
        let ready = scene.shown(guest, &Manager::System)?.ok().and_then(|shown| shown.number(key));
        let looked = shown.ok().filter(Shown::is_active).and_then(|shown| shown.number(key));
        let (Some(looked), Some(ready)) = (looked, ready) else { continue };
        if ready > looked {
            let cause = format!("{} was started before the link was up", unit.name);
            let finding = Finding::fail(&["U03"], cause)
                .saw(format!("{guest}: ready {ready} us after boot"))
                .saw(format!("{}: active {looked} us after boot", unit.name))
                .mended_by(Fix::restart(unit));
            findings.push(finding);
        }
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::{examine_host, verdicts};
    use super::super::tests::{DROP_IN, with};
    use crate::host::Outcome;
    use crate::host::memory::Memory;

    const RUNS: &str = "MainPID=42\nActiveState=active\nNeedDaemonReload=no\n";
    const STAT: &str = "file /proc/42/stat 42 (ollama) S 1 42 42 0 -1 0 0 0 0 0 0 0 0 0 20 0 9 0 ";

    /// A server that started this many seconds after a boot at second 0.
    fn server(seconds: u64) -> String {
        format!("link /proc/42/exe -> /usr/local/bin/ollama\n{STAT}{}00 0", seconds)
    }

    fn found(check: &str, parts: &[&str], shown: &[(&str, &str)]) -> Vec<String> {
        verdicts(&examine_host(check, &with(parts, shown)))
    }

    #[test]
    fn a_server_from_before_the_change_is_due_for_a_restart() {
        let check = "service.reload";
        let shown = [("ollama.service", RUNS)];
        // Files of a machine in memory are made from second 1000 on.
        assert_eq!(found(check, &[DROP_IN, &server(5)], &shown), ["fail F05 P24"]);
        assert_eq!(found(check, &[DROP_IN, &server(5000)], &shown), ["ok"]);
        let unread = [("ollama.service", "ActiveState=active\nNeedDaemonReload=yes\n")];
        assert_eq!(found(check, &[DROP_IN], &unread), ["fail F05 P23"]);
        assert_eq!(found(check, &[DROP_IN], &[]), ["skipped"]);
    }

    #[test]
    fn a_users_own_systemd_says_when_its_unit_started() {
        let machine = |socket: &str| {
            let text = format!(
                "file /etc/passwd ann:x:1000:1000::/srv/ann:/bin/sh
                 file /srv/ann/.config/systemd/user/ollama.service [Service]\\n\
                 ExecStart=/usr/local/bin/ollama serve
                 file /etc/systemd/user/ollama.service.d/50-vgpu.conf [Service]
                 file /usr/local/bin/ollama \u{7f}ELF
                 file /usr/local/lib/ollama/cuda_v13/libggml-cuda.so backend
                 file /usr/bin/systemctl elf\n{socket}\n{}",
                server(5)
            );
            let stdout = RUNS.as_bytes().to_vec();
            let outcome = Outcome { status: Some(0), stdout, ..Outcome::default() };
            Memory::described(&text)
                .answering("--machine=ann@.host show", outcome)
                .running()
                .with_systemd()
        };
        let found =
            examine_host("service.reload", &machine("file /run/user/1000/systemd/private x"));
        assert_eq!(verdicts(&found), ["fail F05 P24"]);
        let remedy = "systemctl --user --machine=ann@.host restart ollama.service";
        assert_eq!(found[0].remedy.as_deref(), Some(remedy));
        let found = examine_host("service.reload", &machine(""));
        assert_eq!(verdicts(&found), ["skipped"]);
        assert_eq!(found[0].cause, "needs ann's own systemd, which does not run");
    }

    #[test]
    fn replaced_files_of_a_running_process_are_found() {
        let shown = [("ollama.service", RUNS)];
        let gone = "link /proc/42/exe -> /usr/local/bin/ollama (deleted)";
        let parts = [DROP_IN, &server(5000), gone];
        assert_eq!(found("service.reload", &parts, &shown), ["fail F31"]);
        let maps = "file /proc/42/maps 7f-80 r-xp 0 fd:01 9 \
                    /usr/lib/x86_64-linux-gnu/vgpu/libcuda.so.1 (deleted)\\n";
        let parts = [DROP_IN, &server(5000), maps];
        assert_eq!(found("service.reload", &parts, &shown), ["fail F31"]);
    }

    #[test]
    fn ollama_before_the_link_is_found_by_order_and_by_time() {
        let check = "service.order";
        let guest = "file /usr/lib/systemd/system/vgpu-guest.service [Service]";
        assert_eq!(found(check, &[DROP_IN], &[]), ["ok"]);
        assert_eq!(found(check, &[DROP_IN, guest], &[]), ["fail U03"]);
        let times = |ollama: u32, link: u32| {
            let ollama = format!(
                "ActiveState=active\nAfter=a.target vgpu-guest.service\n\
                 ActiveEnterTimestampMonotonic={ollama}\n"
            );
            let link = format!("ActiveEnterTimestampMonotonic={link}\n");
            let shown =
                [("ollama.service", ollama.as_str()), ("vgpu-guest.service", link.as_str())];
            found(check, &[DROP_IN, guest], &shown)
        };
        assert_eq!(times(5, 9), ["fail U03"]);
        assert_eq!(times(9, 5), ["ok"]);
    }
}
