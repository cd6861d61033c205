//! The unit's sandbox: what of it is in the way, by the same judgement by which the planner writes
//! the lines of the drop-in.

use super::super::{Finding, Fix, Scene, Verdict};
use crate::discover::text;
use crate::error::{Error, Result};
use crate::facts::Unit;
use crate::plan::sandbox;

pub(super) fn check(scene: &Scene<'_>) -> Result<Vec<Finding>> {
    if scene.facts.units.is_empty() {
        return Ok(super::no_unit());
    }
    let units = scene.facts.units.iter().filter(|unit| !unit.masked);
    units.map(|unit| judge(scene, unit)).collect()
}

fn judge(scene: &Scene<'_>, unit: &Unit) -> Result<Finding> {
    let settings = unit.settings.iter();
    let lines: Vec<String> = settings
        .map(|setting| format!("{}: {}={}", setting.set_by, setting.name, setting.value))
        .collect();
    let passage = match sandbox::passage(scene.facts, unit, unit.link.as_deref()) {
        Ok(passage) => passage,
        Err(error @ Error::Unserved { .. }) => {
            let because = std::error::Error::source(&error).map(ToString::to_string);
            let because = because.unwrap_or_else(|| error.to_string());
            let remedy = error.hint().unwrap_or("change the setting");
            let cause = format!("the sandbox of {} shuts us out: {because}", unit.name);
            return Ok(Finding::fail(&["U32"], cause).saw(error.to_string()).remedy(remedy));
        }
        Err(error) => return Err(error),
    };
    let ours = text(scene.host, &unit.drop_in_path)?;
    let missing: Vec<&sandbox::Line> =
        passage.lines.iter().filter(|line| !ours.contains(&line.text)).collect();
    if !(ours.is_empty() || missing.is_empty()) {
        let about_sys = missing.iter().any(|line| line.text.contains("/sys"));
        let rows: &[&str] = if about_sys { &["F53", "U32"] } else { &["U32"] };
        let cause =
            format!("the sandbox of {} became stricter than our drop-in allows for", unit.name);
        let missing = missing.iter().map(|line| format!("lacks {}: {}", line.text, line.why));
        let finding = Finding::fail(rows, cause).saw_all(missing).saw_all(lines);
        return Ok(finding.mended_by(Fix::apply()));
    }
    let device = |line: &String| line.contains(" PrivateDevices=") || line.contains(" Device");
    // No link opens a device node, so these are harmless; whoever suspects them is told.
    let rows: &[&str] = if lines.iter().any(device) { &["F54"] } else { &[] };
    let cause = format!("the sandbox of {} lets our libraries and the link through", unit.name);
    Ok(Finding::new(Verdict::Ok, rows, cause).saw_all(lines))
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::{examine_host, verdicts};
    use super::super::tests::{DROP_IN, with};

    fn found(settings: &str, drop_in: &str) -> Vec<String> {
        let file = format!(
            "file /etc/systemd/system/ollama.service.d/40-own.conf [Service]\\n{settings}\\n"
        );
        verdicts(&examine_host("service.hardening", &with(&[drop_in, &file], &[])))
    }

    #[test]
    fn a_sandbox_that_is_not_in_the_way_is_fine_and_devices_are_told_to_be_harmless() {
        assert_eq!(found("ProtectSystem=strict", DROP_IN), ["ok"]);
        assert_eq!(found("PrivateDevices=yes", DROP_IN), ["ok F54"]);
    }

    #[test]
    fn a_setting_that_our_drop_in_does_not_open_is_found() {
        assert_eq!(found("RestrictAddressFamilies=AF_INET", DROP_IN), ["fail U32"]);
        let opened = format!("{DROP_IN}RestrictAddressFamilies=AF_UNIX\\n");
        assert_eq!(found("RestrictAddressFamilies=AF_INET", &opened), ["ok"]);
    }

    #[test]
    fn a_sandbox_that_no_line_opens_is_said_with_the_setting() {
        assert_eq!(found("RootDirectory=/srv/jail", DROP_IN), ["fail U32"]);
    }

    #[test]
    fn a_read_only_sys_is_in_the_way_of_a_pci_link() {
        let pci = DROP_IN.to_owned() + "Environment=VGPU_LINK=pci:0000:00:05.0\\n";
        assert_eq!(found("ProtectKernelTunables=yes", &pci), ["fail F53 U32"]);
    }
}
