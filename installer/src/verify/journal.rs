//! After a restart: which device Ollama itself says it computes on.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use super::{Report, Verdict};
use crate::account;
use crate::error::Result;
use crate::host::{Host, Program};
use crate::plan::Warning;
use crate::service;
use crate::step::Step;

const JOURNALCTL: [&str; 2] = ["/usr/bin/journalctl", "/bin/journalctl"];
/// How long Ollama may take to say what it found. It gives a directory of libraries 30 s, and
/// takes about one where all is well.
const DEADLINE: Duration = Duration::from_secs(45);
/// What Ollama says for each device, since its first versions.
const LINE: &str = "inference compute";

/// Reads what services that were restarted at `since` (seconds since 1970) say in the journal.
/// Where a process of ours found a GPU and Ollama does not, the service's sandbox is in the way.
///
/// # Errors
/// [`crate::Error::Io`] if the journal cannot be asked.
pub fn started(host: &dyn Host, services: &[Step], since: u64, report: &mut Report) -> Result<()> {
    let found_gpu = report.checks.iter().any(|c| c.name == "gpu" && c.verdict == Verdict::Ok);
    for step in services {
        let Step::Restart { unit, user } = step else { continue };
        if !service::is_active(host, unit, user.as_deref())? {
            let what = format!("{unit} is not running, so it says nothing");
            report.add("journal", Verdict::Skipped, what);
            continue;
        }
        let said = line(host, unit, user.as_deref(), since)?;
        judge(unit, said.as_deref(), found_gpu, report);
    }
    Ok(())
}

fn line(host: &dyn Host, unit: &str, user: Option<&str>, since: u64) -> Result<Option<String>> {
    let mut path = Path::new(JOURNALCTL[0]);
    if host.open(path)?.is_none() {
        path = Path::new(JOURNALCTL[1]);
    }
    let mut arguments: Vec<OsString> =
        ["--follow", "--lines=all", "--output=cat"].iter().map(Into::into).collect();
    // A start of the same second, such as that of a rollback just before, has said its line too:
    // the start's number tells them apart. Journals older than systemd 245 lack it for users.
    let start = if user.is_none() { service::invocation(host, unit)? } else { None };
    let since = format!("--since=@{since}");
    match (user, start) {
        (None, Some(start)) => arguments.push(format!("_SYSTEMD_INVOCATION_ID={start}").into()),
        (None, None) => arguments.extend([since.into(), format!("_SYSTEMD_UNIT={unit}").into()]),
        (Some(name), _) => {
            arguments.push(since.into());
            arguments.push(format!("_SYSTEMD_USER_UNIT={unit}").into());
            if let Some(uid) = account::uid(host, name)? {
                arguments.push(format!("_UID={uid}").into());
            }
        }
    }
    let environment = vec![("PATH".into(), "/usr/sbin:/usr/bin:/sbin:/bin".into())];
    let program = Program { path: path.into(), arguments, environment, deadline: DEADLINE };
    // Other libraries, such as Vulkan, have lines of their own beside the one that decides.
    let decides = |line: &str| {
        let low = line.to_ascii_lowercase();
        low.contains(LINE) && (low.contains("library=cuda") || low.contains("library=cpu"))
    };
    host.watch(&program, &decides)
}

fn judge(unit: &str, said: Option<&str>, found_gpu: bool, report: &mut Report) {
    let Some(said) = said else {
        let what = format!("{unit} said nothing of its devices within {} s", DEADLINE.as_secs());
        report.add("journal", Verdict::Warn, what.clone());
        let hint = "look at journalctl --unit for its own words, and run vgpu-install doctor";
        report.warnings.push(Warning::new("journal", what, hint));
        return;
    };
    let begin = said.find(LINE).unwrap_or(0);
    let what = format!("{unit} says: {}", said[begin..].trim());
    let is_cuda = said.to_ascii_lowercase().contains("library=cuda");
    let verdict = match (is_cuda, found_gpu) {
        (true, _) => Verdict::Ok,
        (false, true) => Verdict::Fail,
        // That there is no host was said by its own check.
        (false, false) => Verdict::Warn,
    };
    report.add("journal", verdict, what);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Outcome;
    use crate::host::memory::Memory;

    const CUDA: &str = "time=x level=INFO msg=\"inference compute\" id=0 library=CUDA name=CUDA0";
    const CPU: &str = "time=x level=INFO msg=\"inference compute\" id=cpu library=cpu";

    fn heard(lines: &str, found_gpu: bool) -> Report {
        let host = Memory::described("file /bin/systemctl x").with_systemd().saying(lines);
        let mut report = Report::default();
        if found_gpu {
            report.add("gpu", Verdict::Ok, "one");
        }
        let restart = Step::Restart { unit: "ollama.service".into(), user: None };
        started(&host, &[restart], 1000, &mut report).unwrap();
        let asked = "/bin/journalctl --follow --lines=all --output=cat --since=@1000 \
                     _SYSTEMD_UNIT=ollama.service";
        assert_eq!(host.commands().last().map(String::as_str), Some(asked));
        report
    }

    #[test]
    fn ollamas_own_line_is_said_and_decides() {
        let vulkan = "msg=\"inference compute\" id=1 library=Vulkan";
        let report = heard(&format!("other\n{vulkan}\n{CUDA}\n{CPU}"), true);
        let last = report.checks.last().unwrap();
        assert_eq!((last.name, last.verdict), ("journal", Verdict::Ok));
        let what = "ollama.service says: inference compute\" id=0 library=CUDA name=CUDA0";
        assert_eq!(last.what, what);
        let older = CUDA.replace("CUDA name", "cuda variant");
        assert!(heard(&older, true).error().is_ok());
    }

    #[test]
    fn only_the_last_start_is_asked_where_systemd_numbers_them() {
        let shown = Outcome { status: Some(0), stdout: b"99aa\n".into(), ..Outcome::default() };
        let host = Memory::described("file /bin/systemctl x").with_systemd().saying(CUDA);
        let host = host.answering("--property=InvocationID", shown);
        let said = line(&host, "ollama.service", None, 1000).unwrap();
        assert_eq!(said.as_deref(), Some(CUDA));
        let asked = "/bin/journalctl --follow --lines=all --output=cat _SYSTEMD_INVOCATION_ID=99aa";
        assert_eq!(host.commands().last().map(String::as_str), Some(asked));
    }

    #[test]
    fn an_ollama_on_the_cpu_beside_a_gpu_is_a_failure_and_without_one_it_is_not() {
        let error = heard(CPU, true).error().unwrap_err().to_string();
        assert!(error.contains("check journal") && error.contains("library=cpu"), "{error}");
        let report = heard(CPU, false);
        assert!(report.error().is_ok());
        assert_eq!(report.checks.last().unwrap().verdict, Verdict::Warn);
    }

    #[test]
    fn silence_is_told_with_a_remedy() {
        let report = heard("other", true);
        assert!(report.error().is_ok());
        assert_eq!(report.warnings[0].code, "journal");
    }
}
