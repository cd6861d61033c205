//! What one client can reach of another, on this machine's device: nothing.

use serde_json::json;
use vgpu_link::{LinkError, Uri};

use super::{Outcome, Setting};
use crate::isolation::{forgeries, leaks};
use crate::system::Result;

/// Makes every request with every name that is not the client's, and looks for what another client
/// left in memory.
pub(super) fn compare(setting: &Setting) -> Result<Outcome> {
    let host = setting.host(&[])?;
    let checked = host.link().parse::<Uri>().and_then(|at| Ok((forgeries(&at)?, leaks(&at)?)));
    let (report, found) = match checked {
        Ok(checked) => checked,
        Err(error) => return Ok(unserved(&error)),
    };
    let says = format!(
        "{} forgeries, {} done; {} of {} messages sharp; {} leaks",
        report.forged,
        report.broken.len(),
        report.sharp,
        report.messages,
        found.len()
    );
    let held = report.broken.is_empty() && found.is_empty() && report.sharp > 0;
    let figures =
        json!({ "forged": report.forged, "sharp": report.sharp, "missing": report.missing });
    let lines = report.broken.iter().chain(&found).map(|line| format!("- {line}"));
    Ok(Outcome::of(held, says, lines.collect(), figures))
}

fn unserved(error: &LinkError) -> Outcome {
    Outcome::of(false, format!("an honest client is not served: {error}"), vec![], json!({}))
}
