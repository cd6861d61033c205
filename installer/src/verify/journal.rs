//! After a restart: which device Ollama itself says it computes on.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use super::{Report, Verdict};
use crate::error::Result;
use crate::facts::Manager;
use crate::host::{Host, Program};
use crate::plan::Warning;
use crate::step::Step;
use crate::systemd;

const JOURNALCTL: [&str; 2] = ["/usr/bin/journalctl", "/bin/journalctl"];
/// How long Ollama may take to say what it found. It gives a directory of libraries 30 s, and
/// takes about one where all is well.
const DEADLINE: Duration = Duration::from_secs(45);
/// What Ollama says for each device, since its first versions.
const LINE: &str = "inference compute";

/// Reads what services that were just restarted say in the journal since that very start.
/// Where a process of ours found a GPU and Ollama does not, the service's sandbox is in the way.
///
/// # Errors
/// [`crate::Error::Io`] if the journal cannot be asked.
pub fn started(host: &dyn Host, services: &[Step], report: &mut Report) -> Result<()> {
    let found_gpu = report.checks.iter().any(|c| c.name == "gpu" && c.verdict == Verdict::Ok);
    for step in services {
        let Step::Restart { unit, user } = step else { continue };
        let manager = user.clone().map_or(Manager::System, Manager::User);
        let shown = match systemd::show(host, unit, &manager, "ActiveState,InvocationID")? {
            Ok(shown) => shown,
            Err(needs) => {
                report.add("journal", Verdict::Skipped, format!("{unit}: {needs}"));
                continue;
            }
        };
        // A start of the same second, such as that of a rollback just before, has said its line
        // too: only the start's number tells them apart.
        let start = shown.text("InvocationID");
        if !shown.is_active() {
            let what = format!("{unit} is not running, so it says nothing");
            report.add("journal", Verdict::Skipped, what);
        } else if start.is_empty() || !start.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let what = format!("{unit}: needs its InvocationID, which systemd does not say");
            report.add("journal", Verdict::Skipped, what);
        } else {
            judge(unit, line(host, start)?.as_deref(), found_gpu, report);
        }
    }
    Ok(())
}

/// Waits for the line of one start of a unit.
fn line(host: &dyn Host, start: &str) -> Result<Option<String>> {
    let mut path = Path::new(JOURNALCTL[0]);
    if host.open(path)?.is_none() {
        path = Path::new(JOURNALCTL[1]);
    }
    let words = ["--follow", "--lines=all", "--output=cat"];
    let mut arguments: Vec<OsString> = words.iter().map(Into::into).collect();
    arguments.push(format!("_SYSTEMD_INVOCATION_ID={start}").into());
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

    const STARTED: &str = "ActiveState=active\nInvocationID=99aa\n";
    const ASKED: &str = "/bin/journalctl --follow --lines=all --output=cat \
                         _SYSTEMD_INVOCATION_ID=99aa";

    fn shown(text: &str) -> Outcome {
        Outcome { status: Some(0), stdout: text.into(), ..Outcome::default() }
    }

    /// What is reported of a unit that systemd says this of, with these lines in the journal.
    fn restarted(said: &str, lines: &str, user: Option<&str>, found_gpu: bool) -> (Memory, Report) {
        let machine = "file /bin/systemctl x\nfile /etc/passwd ann:x:1000:1000::/x:/bin/sh
            file /run/user/1000/systemd/private x";
        let host = Memory::described(machine).with_systemd().saying(lines);
        let host = host.answering("--property ActiveState,InvocationID", shown(said));
        let restart =
            Step::Restart { unit: "ollama.service".into(), user: user.map(str::to_owned) };
        let mut report = Report::default();
        if found_gpu {
            report.add("gpu", Verdict::Ok, "one");
        }
        started(&host, &[restart], &mut report).unwrap();
        (host, report)
    }

    fn heard(lines: &str, found_gpu: bool) -> Report {
        let (host, report) = restarted(STARTED, lines, None, found_gpu);
        assert_eq!(host.commands().last().map(String::as_str), Some(ASKED));
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
    fn only_the_very_start_is_asked_also_of_a_users_unit() {
        let (host, report) = restarted(STARTED, CUDA, Some("ann"), true);
        assert_eq!(report.checks.last().unwrap().verdict, Verdict::Ok);
        let commands = host.commands();
        let show = "/bin/systemctl --user --machine=ann@.host show --no-pager --property \
                    ActiveState,InvocationID -- ollama.service";
        assert_eq!(commands, [show, ASKED]);
    }

    #[test]
    fn what_cannot_be_told_apart_is_skipped_and_said() {
        for (said, why) in [
            ("ActiveState=failed\nInvocationID=99aa\n", "is not running"),
            ("ActiveState=active\nInvocationID=\n", "needs its InvocationID"),
        ] {
            let (host, report) = restarted(said, CUDA, None, true);
            let last = report.checks.last().unwrap();
            assert!(last.verdict == Verdict::Skipped && last.what.contains(why), "{last:?}");
            assert_eq!(host.commands().len(), 1, "the journal is not asked");
        }
        let (_, report) = restarted("", CUDA, Some("nobody"), true);
        let last = report.checks.last().unwrap();
        assert!(last.what.contains("needs nobody's own systemd"), "{last:?}");
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
