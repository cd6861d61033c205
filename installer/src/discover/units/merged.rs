//! Merges a unit's assignments, in systemd's order, into what the service gets.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::settings::{Effect, effect};
use crate::discover::text;
use crate::error::Result;
use crate::facts::{EnvironmentFile, Variable};
use crate::host::Host;
use crate::unit_file::{Assignment, words};

#[derive(Default)]
pub(super) struct Merged {
    pub(super) executable: Option<String>,
    pub(super) user: Option<String>,
    pub(super) group: Option<String>,
    pub(super) supplementary_groups: Vec<String>,
    pub(super) environment: BTreeMap<String, Variable>,
    pub(super) outranking: Vec<Variable>,
    pub(super) environment_files: Vec<EnvironmentFile>,
    pub(super) settings: Vec<Variable>,
}

impl Merged {
    pub(super) fn take(
        &mut self,
        host: &dyn Host,
        assignment: Assignment,
        path: &Path,
        later: bool,
    ) -> Result<()> {
        if assignment.section != "Service" {
            return Ok(());
        }
        let value = assignment.value;
        let some = |value: String| Some(value).filter(|value| !value.is_empty());
        match assignment.key.as_str() {
            "User" => self.user = some(value),
            "Group" => self.group = some(value),
            "SupplementaryGroups" if value.is_empty() => self.supplementary_groups.clear(),
            "SupplementaryGroups" => self.supplementary_groups.extend(words(&value)),
            "ExecStart" if value.is_empty() => self.executable = None,
            "ExecStart" => {
                let program = words(&value).into_iter().next();
                // Prefixes such as `-` and `!!` change how the program is run, not which.
                let path = program.map(|p| p.trim_start_matches(['-', '@', ':', '+', '!']).into());
                self.executable = self.executable.take().or(path);
            }
            "Environment" if value.is_empty() => {
                self.environment.clear();
                self.outrank(later, "Environment", "", path);
            }
            "Environment" => self.environment(&value, path, later),
            "EnvironmentFile" => self.environment_file(host, &value)?,
            "UnsetEnvironment" => {
                for word in words(&value) {
                    let name = word.split('=').next().unwrap_or_default().to_owned();
                    self.outrank(true, &name, "", path);
                }
            }
            key => self.setting(key, value, path),
        }
        Ok(())
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
        for word in words(value) {
            let Some((name, value)) = word.split_once('=') else { continue };
            let (name, value) = (name.to_owned(), value.to_owned());
            self.outrank(later, &name, &value, path);
            let set_by = path.into();
            self.environment.insert(name.clone(), Variable { name, value, set_by });
        }
    }

    /// Variables from files outrank all `Environment=` lines (systemd.exec(5)).
    fn environment_file(&mut self, host: &dyn Host, value: &str) -> Result<()> {
        if value.is_empty() {
            for file in std::mem::take(&mut self.environment_files) {
                self.outranking.retain(|variable| variable.set_by != file.path);
            }
            return Ok(());
        }
        let (optional, path) = match value.strip_prefix('-') {
            Some(path) => (true, PathBuf::from(path)),
            None => (false, PathBuf::from(value)),
        };
        let content = host.read(&path, super::super::TEXT_BYTES_MAX)?;
        let read = content.is_some();
        for line in text(host, &path)?.lines() {
            let Some((name, value)) = line.trim().split_once('=') else { continue };
            let value = words(value).into_iter().next().unwrap_or_default();
            self.outrank(true, name.trim(), &value, &path);
        }
        self.environment_files.push(EnvironmentFile { path: path.into(), optional, read });
        Ok(())
    }

    fn outrank(&mut self, later: bool, name: &str, value: &str, path: &Path) {
        if later {
            let (name, value) = (name.to_owned(), value.to_owned());
            self.outranking.push(Variable { name, value, set_by: path.into() });
        }
    }
}
