//! What every check is given: the machine, its facts, and what several checks would ask again.

mod processes;
mod systemd;

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

pub(super) use processes::Processes;

use super::children::Children;
use crate::cli::Options;
use crate::discover::text;
use crate::error::{Error, Result};
use crate::facts::{Facts, Unit, Variable};
use crate::host::{Host, Outcome, Program};
use crate::plan::Scope;
use crate::state;
use crate::systemd::Shown;
use crate::unit_file::{assignments, without_percent_pairs, words};

/// How long a package manager may take to name an owner.
const OWNER_DEADLINE: Duration = Duration::from_secs(20);
/// The configuration of a guest, which may name its links.
const CONFIGURATION: &str = "/etc/vgpu/guest.toml";

/// All that is in force: generations of several scopes lie beside each other.
pub(super) struct InForce {
    /// The number of the newest generation.
    pub(super) generation: u64,
    /// When it was made: seconds since 1970.
    pub(super) since: u64,
    /// Every scope, in the order in which they came.
    pub(super) scopes: Vec<Scope>,
}

/// One machine under examination.
pub struct Scene<'a> {
    /// The machine.
    pub host: &'a dyn Host,
    /// Its facts.
    pub facts: &'a Facts,
    /// The command's options.
    pub options: &'a Options,
    processes: OnceCell<Processes>,
    shown: RefCell<BTreeMap<String, std::result::Result<Shown, String>>>,
    /// What children of the doctor saw.
    pub(in crate::doctor) children: Children,
}

impl<'a> Scene<'a> {
    /// A scene in which nothing was asked yet.
    #[must_use]
    pub fn new(host: &'a dyn Host, facts: &'a Facts, options: &'a Options) -> Self {
        let (processes, shown) = (OnceCell::new(), RefCell::default());
        let children = Children::default();
        Self { host, facts, options, processes, shown, children }
    }

    /// Runs a program of the machine that only looks, and gives its outcome; none where programs
    /// cannot be run or none of these paths holds one.
    pub(super) fn ask(
        &self,
        paths: &[&str],
        arguments: &[&str],
        deadline: Duration,
    ) -> Result<Option<Outcome>> {
        if !self.host.is_running() {
            return Ok(None);
        }
        for path in paths.iter().map(Path::new) {
            if self.host.open(path)?.is_some() {
                let arguments = arguments.iter().map(Into::into).collect();
                let environment = vec![
                    ("PATH".into(), "/usr/sbin:/usr/bin:/sbin:/bin".into()),
                    ("LC_ALL".into(), "C.UTF-8".into()),
                ];
                let program = Program { path: path.into(), arguments, environment, deadline };
                return self.host.run(&program).map(Some);
            }
        }
        Ok(None)
    }

    /// As [`Scene::ask`], for a program that must succeed: gives what it printed.
    pub(super) fn tool(
        &self,
        path: &str,
        arguments: &[&str],
        deadline: Duration,
    ) -> Result<Option<String>> {
        let Some(outcome) = self.ask(&[path], arguments, deadline)? else { return Ok(None) };
        if outcome.status == Some(0) {
            return Ok(Some(String::from_utf8_lossy(&outcome.stdout).into_owned()));
        }
        let said = String::from_utf8_lossy(&outcome.stderr);
        let said = said.trim().lines().last().unwrap_or("it said nothing");
        let because = if outcome.timed_out { "no answer in time" } else { said };
        Err(Error::Program { program: path.into(), because: because.into() })
    }

    /// The package that a path belongs to, as a word: "none" if no package has it.
    pub(super) fn owner(&self, path: &Path) -> Result<String> {
        let path = path.to_string_lossy();
        let dpkg = self.ask(&["/usr/bin/dpkg-query"], &["-S", &path], OWNER_DEADLINE)?;
        let rpm = ["-qf", "--qf", "%{NAME}\\n", &path];
        let outcome = match dpkg {
            Some(outcome) => Some(outcome),
            None => self.ask(&["/usr/bin/rpm"], &rpm, OWNER_DEADLINE)?,
        };
        let Some(outcome) = outcome else { return Ok("not asked for".into()) };
        if outcome.status != Some(0) {
            return Ok("none".into());
        }
        let text = String::from_utf8_lossy(&outcome.stdout);
        let first = text.lines().next().unwrap_or("none");
        Ok(first.rsplit_once(": ").map_or(first, |(package, _)| package).to_owned())
    }

    /// The links that the guest is told to use: those of the units, and of the configuration.
    pub(super) fn links(&self) -> Result<Vec<String>> {
        let mut links: Vec<String> =
            self.facts.units.iter().filter_map(|unit| unit.link.clone()).collect();
        let text = text(self.host, Path::new(CONFIGURATION))?;
        for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
            if let Some((key, value)) = line.split_once('=')
                && key.trim() == "link"
            {
                links.push(value.trim().trim_matches(['"', '\'']).to_owned());
            }
        }
        links.sort();
        links.dedup();
        Ok(links)
    }

    /// What is in force, if anything is.
    pub(super) fn in_force(&self) -> Result<Option<InForce>> {
        let generations = state::generations(self.host)?;
        let scopes = state::scopes(&generations);
        Ok(generations.last().map(|newest| {
            let (generation, since) = (newest.generation, newest.time);
            InForce { generation, since, scopes }
        }))
    }

    /// The environment that systemd gives to a unit's processes by its files: with our drop-in,
    /// and with what outranks it.
    pub(super) fn environment(&self, unit: &Unit) -> Result<Vec<Variable>> {
        let mut all = unit.environment.clone();
        let mut put = |name: &str, value: String, set_by: &Path| {
            all.retain(|known| known.name != name);
            let (name, set_by) = (name.to_owned(), set_by.into());
            all.push(Variable { name, value, set_by });
        };
        let ours = text(self.host, &unit.drop_in_path)?;
        for line in assignments(&ours).iter().filter(|line| line.key == "Environment") {
            for word in words(&line.value) {
                if let Some((name, value)) = word.split_once('=') {
                    put(name, without_percent_pairs(value), &unit.drop_in_path);
                }
            }
        }
        for later in &unit.outranking {
            if (later.name.as_str(), later.value.as_str()) == ("Environment", "") {
                all.clear();
                continue;
            }
            all.retain(|known| known.name != later.name);
            // An empty value stands for one that was taken away.
            if !later.value.is_empty() {
                all.push(later.clone());
            }
        }
        Ok(all)
    }
}

/// The value of a variable in an environment, with who set it.
pub(super) fn value<'v>(environment: &'v [Variable], name: &str) -> Option<&'v Variable> {
    environment.iter().find(|variable| variable.name == name)
}
