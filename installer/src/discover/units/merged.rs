//! Merges a unit's assignments, in systemd's order, into what the service gets.

use std::path::{Path, PathBuf};

use super::command::{self, Command};
use super::environment_file::{self, is_name};
use super::manager::{Account, Defaults, put};
use super::settings::{Effect, effect};
use super::specifiers::resolved;
use crate::discover::{TEXT_BYTES_MAX, readable};
use crate::error::Result;
use crate::facts::{EnvironmentFile, Runs, Variable};
use crate::host::Host;
use crate::location::Location;
use crate::unit_file::{Assignment, words};

/// Most files that one wildcard of `EnvironmentFile=` stands for.
const MATCHES_MAX: usize = 64;

/// Where systemd looks for a program that is named without a directory.
const PROGRAMS: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// The assignments of a unit's files so far.
#[derive(Default)]
pub(super) struct Merged {
    commands: Vec<Vec<String>>,
    pub(super) user: Option<String>,
    pub(super) group: Option<String>,
    pub(super) supplementary_groups: Vec<String>,
    environment: Vec<Variable>,
    /// `Environment=` of drop-ins after ours.
    later: Vec<Variable>,
    /// Optional or not, and the path as it is written.
    files: Vec<(bool, String)>,
    passed: Vec<String>,
    unset: Vec<(String, Location)>,
    pub(super) settings: Vec<Variable>,
}

/// What comes of them together with the manager and the files that they name.
#[derive(Default)]
pub(super) struct Whole {
    pub(super) environment: Vec<Variable>,
    pub(super) outranking: Vec<Variable>,
    pub(super) environment_files: Vec<EnvironmentFile>,
    pub(super) settings: Vec<Variable>,
    pub(super) command: Command,
}

impl Merged {
    /// Takes one assignment of the file `path`, which is merged after our drop-in if `later`.
    pub(super) fn take(&mut self, assignment: Assignment, path: &Path, later: bool) {
        if assignment.section != "Service" {
            return;
        }
        let value = assignment.value;
        let some = |value: String| Some(value).filter(|value| !value.is_empty());
        let reset = value.is_empty();
        match assignment.key.as_str() {
            "User" => self.user = some(value),
            "Group" => self.group = some(value),
            "SupplementaryGroups" if reset => self.supplementary_groups.clear(),
            "SupplementaryGroups" => self.supplementary_groups.extend(words(&value)),
            "ExecStart" if reset => self.commands.clear(),
            "ExecStart" => self.commands.push(words(&value)),
            "Environment" => self.environment(&value, path, later),
            "EnvironmentFile" if reset => self.files.clear(),
            "EnvironmentFile" => self.files.push(match value.strip_prefix('-') {
                Some(path) => (true, path.to_owned()),
                None => (false, value),
            }),
            "PassEnvironment" if reset => self.passed.clear(),
            "PassEnvironment" => self.passed.extend(words(&value)),
            "UnsetEnvironment" if reset => self.unset.clear(),
            "UnsetEnvironment" => {
                let words = words(&value).into_iter();
                self.unset.extend(words.map(|word| (word, path.into())));
            }
            key => self.setting(key, value, path),
        }
    }

    fn setting(&mut self, key: &str, value: String, path: &Path) {
        let name = match effect(key, &value) {
            Effect::None => return,
            Effect::Reset(name) => return self.settings.retain(|known| known.name != name),
            Effect::Last(name) => {
                self.settings.retain(|known| known.name != name);
                name
            }
            Effect::Further(name) => name,
        };
        self.settings.push(Variable { name: name.into(), value, set_by: path.into() });
    }

    fn environment(&mut self, value: &str, path: &Path, later: bool) {
        if value.is_empty() {
            self.environment.clear();
            self.later.clear();
            if later {
                put(&mut self.later, "Environment", "", path);
            }
        }
        for word in words(value) {
            let Some((name, value)) = word.split_once('=').filter(|(name, _)| is_name(name)) else {
                continue;
            };
            put(&mut self.environment, name, value, path);
            if later {
                put(&mut self.later, name, value, path);
            }
        }
    }

    /// Puts everything together in the order of systemd.exec(5), "Environment": the manager's
    /// variables, those passed on, `Environment=`, the files, then what is taken away.
    pub(super) fn whole(
        &self,
        host: &dyn Host,
        unit: &str,
        fragment: &Path,
        defaults: &Defaults,
        account: Option<&Account>,
    ) -> Result<Whole> {
        let passed = defaults.passed.iter().filter(|known| self.passed.contains(&known.name));
        let mut whole = Whole::default();
        for variable in defaults.environment.iter().chain(passed).chain(&self.environment) {
            put(&mut whole.environment, &variable.name, &variable.value, &variable.set_by);
        }
        whole.environment.sort_by(|a, b| a.name.cmp(&b.name));
        whole.outranking.clone_from(&self.later);
        for (optional, written) in &self.files {
            let mut read = false;
            for path in matches(host, &resolved(written, unit, account).unwrap_or_default())? {
                let content = readable(host.read(&path, TEXT_BYTES_MAX))?.flatten();
                let pairs = content.and_then(|content| environment_file::pairs(&content));
                read |= pairs.is_some();
                for (name, value) in pairs.unwrap_or_default() {
                    put(&mut whole.outranking, &name, &value, &path);
                }
            }
            let path = written.as_str().into();
            whole.environment_files.push(EnvironmentFile { path, optional: *optional, read });
        }
        for (word, path) in &self.unset {
            // With a value, only that one is taken away: it is never ours.
            match word.split_once('=') {
                None => put(&mut whole.outranking, word, "", path),
                Some((name, value)) => whole
                    .environment
                    .retain(|known| (known.name.as_str(), known.value.as_str()) != (name, value)),
            }
        }
        whole.settings.clone_from(&self.settings);
        for limit in &defaults.limits {
            if !whole.settings.iter().any(|known| known.name == limit.name) {
                whole.settings.push(limit.clone());
            }
        }
        whole.command = self.command(host, unit, account)?;
        if let Some(name) = whole.command.program.take() {
            whole.command.program = full_path(host, name, &whole)?;
        }
        for (name, value) in &whole.command.assigned {
            put(&mut whole.outranking, name, value, fragment);
        }
        Ok(whole)
    }

    /// The first command that starts Ollama's server, else the first one.
    fn command(&self, host: &dyn Host, unit: &str, account: Option<&Account>) -> Result<Command> {
        let mut first = None;
        for words in &self.commands {
            let fill =
                |word: &String| resolved(word, unit, account).unwrap_or_else(|| word.clone());
            let words: Vec<String> = words.iter().map(fill).collect();
            let command = command::of(host, &words)?;
            if command.serves {
                return Ok(command);
            }
            first = first.or(Some(command));
        }
        Ok(first.unwrap_or(Command { runs: Runs::Unknown, ..Command::default() }))
    }
}

/// Where a program lies that is named without a directory: systemd looks in its own list, the
/// programs before Ollama in the unit's `PATH`.
fn full_path(host: &dyn Host, name: String, whole: &Whole) -> Result<Option<String>> {
    if name.starts_with('/') {
        return Ok(Some(name));
    }
    let path = whole.environment.iter().find(|known| known.name == "PATH");
    let path = path.filter(|_| !whole.command.through.is_empty()).map_or("", |path| &path.value);
    for dir in path.split(':').chain(PROGRAMS).filter(|dir| dir.starts_with('/')) {
        let full = Path::new(dir).join(&name);
        if readable(host.open(&full))?.flatten().is_some() {
            return Ok(full.into_os_string().into_string().ok());
        }
    }
    Ok(None)
}

/// The files that a path with wildcards stands for, sorted as glob(3) sorts them.
fn matches(host: &dyn Host, written: &str) -> Result<Vec<PathBuf>> {
    if !written.starts_with('/') {
        return Ok(Vec::new());
    }
    let mut found = vec![PathBuf::from("/")];
    let options =
        glob::MatchOptions { require_literal_leading_dot: true, ..glob::MatchOptions::new() };
    for part in written.split('/').filter(|part| !part.is_empty()) {
        let Some(pattern) =
            part.contains(['*', '?', '[']).then(|| glob::Pattern::new(part).ok()).flatten()
        else {
            found.iter_mut().for_each(|path| path.push(part));
            continue;
        };
        let mut next = Vec::new();
        for dir in &found {
            let names = readable(host.list(dir))?.unwrap_or_default();
            let names = names.into_iter().filter(|name| {
                name.to_str().is_some_and(|name| pattern.matches_with(name, options))
            });
            next.extend(names.map(|name| dir.join(name)));
        }
        next.truncate(MATCHES_MAX);
        found = next;
    }
    Ok(found)
}
