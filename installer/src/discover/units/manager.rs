//! The service managers: where each looks for units, and what it gives to all of them.

use std::path::{Path, PathBuf};

use super::environment_file;
use crate::discover::{TEXT_BYTES_MAX, readable};
use crate::error::Result;
use crate::facts::{Manager, Variable};
use crate::host::Host;
use crate::unit_file::{assignments_of, words};

/// Where the system's manager looks, strongest first (systemd.unit(5), "Unit File Load Path").
const SYSTEM: [&str; 13] = [
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/run/systemd/transient",
    "/run/systemd/generator.early",
    "/etc/systemd/system",
    "/etc/systemd/system.attached",
    "/run/systemd/system",
    "/run/systemd/system.attached",
    "/run/systemd/generator",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
    "/run/systemd/generator.late",
];
/// Where a user's manager looks: `~` is the home directory, `@` the runtime directory.
const USER: [&str; 17] = [
    "~/.config/systemd/user.control",
    "@/systemd/user.control",
    "@/systemd/transient",
    "@/systemd/generator.early",
    "~/.config/systemd/user",
    "/etc/xdg/systemd/user",
    "/etc/systemd/user",
    "@/systemd/user",
    "/run/systemd/user",
    "@/systemd/generator",
    "~/.local/share/systemd/user",
    "/usr/local/share/systemd/user",
    "/usr/share/systemd/user",
    "/usr/local/lib/systemd/user",
    "/usr/lib/systemd/user",
    "/lib/systemd/user",
    "@/systemd/generator.late",
];
/// Where files such as `system.conf.d/*.conf` lie, strongest first.
const CONFIG: [&str; 5] = ["/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib"];

/// A person or account with a home directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The name.
    pub name: String,
    /// The user id.
    pub uid: u32,
    /// The home directory.
    pub home: PathBuf,
}

/// One service manager.
pub(super) struct Realm {
    pub(super) manager: Manager,
    pub(super) account: Option<Account>,
    /// Where it looks for units, strongest first.
    pub(super) dirs: Vec<PathBuf>,
    /// Where a drop-in of ours goes.
    pub(super) admin_dir: &'static Path,
}

impl Realm {
    pub(super) fn system() -> Self {
        Self {
            manager: Manager::System,
            account: None,
            dirs: SYSTEM.iter().map(PathBuf::from).collect(),
            admin_dir: Path::new("/etc/systemd/system"),
        }
    }

    /// The manager of one user. Our drop-in goes where only root may write: a directory in a home
    /// belongs to its user, who could lead us elsewhere.
    pub(super) fn of(account: &Account) -> Self {
        let runtime = PathBuf::from(format!("/run/user/{}", account.uid));
        let place = |dir: &&str| match dir.split_at(1) {
            ("~", rest) => account.home.join(rest.trim_start_matches('/')),
            ("@", rest) => runtime.join(rest.trim_start_matches('/')),
            _ => PathBuf::from(dir),
        };
        Self {
            manager: Manager::User(account.name.clone()),
            account: Some(account.clone()),
            dirs: USER.iter().map(place).collect(),
            admin_dir: Path::new("/etc/systemd/user"),
        }
    }

    /// True for a directory that serves this user alone.
    pub(super) fn is_own(&self, dir: &Path) -> bool {
        self.account.as_ref().is_some_and(|account| {
            dir.starts_with(&account.home) || dir.starts_with(format!("/run/user/{}", account.uid))
        })
    }

    /// Gathers what the manager gives to every unit: variables, and limits by their unit's names.
    pub(super) fn defaults(&self, host: &dyn Host) -> Result<Defaults> {
        let file = if self.account.is_some() { "user.conf" } else { "system.conf" };
        let mut defaults = Defaults::default();
        if let Some(account) = &self.account {
            for path in conf_files(host, "environment.d", Some(&account.home.join(".config")))? {
                let content = readable(host.read(&path, TEXT_BYTES_MAX))?.flatten();
                let pairs = content.and_then(|content| environment_file::pairs(&content));
                for (name, value) in pairs.unwrap_or_default() {
                    // Specifiers belong to unit files: here a percent sign is one.
                    let value = value.replace('%', "%%");
                    put(&mut defaults.environment, &name, &value, &path);
                }
            }
        }
        let main = CONFIG.iter().map(|dir| Path::new(dir).join("systemd").join(file));
        let mut files = Vec::new();
        for path in main {
            if host.open(&path)?.is_some() {
                files.push(path);
                break;
            }
        }
        files.extend(conf_files(host, &format!("systemd/{file}.d"), None)?);
        for path in files {
            let content = host.read(&path, TEXT_BYTES_MAX)?.unwrap_or_default();
            for line in assignments_of(&content).iter().filter(|line| line.section == "Manager") {
                defaults.take(&line.key, &line.value, &path, self.account.is_some());
            }
        }
        Ok(defaults)
    }
}

/// What a manager gives to every unit.
#[derive(Default)]
pub(super) struct Defaults {
    /// Variables that every unit gets.
    pub(super) environment: Vec<Variable>,
    /// Variables of the manager itself, which a unit gets if it asks for them.
    pub(super) passed: Vec<Variable>,
    /// Limits for units that name none.
    pub(super) limits: Vec<Variable>,
}

impl Defaults {
    fn take(&mut self, key: &str, value: &str, path: &Path, is_user: bool) {
        let list = match key {
            "DefaultEnvironment" => &mut self.environment,
            // What a user's manager has in its environment, its services have in theirs.
            "ManagerEnvironment" if is_user => &mut self.environment,
            "ManagerEnvironment" => &mut self.passed,
            _ => {
                if let Some(limit) = key.strip_prefix("Default").filter(|k| k.starts_with("Limit"))
                    && !value.is_empty()
                {
                    put(&mut self.limits, limit, value, path);
                }
                return;
            }
        };
        if value.is_empty() {
            list.clear();
        }
        for word in words(value) {
            if let Some((name, value)) = word.split_once('=') {
                put(list, name, value, path);
            }
        }
    }
}

/// Sets a variable, in the place of an earlier one.
pub(super) fn put(list: &mut Vec<Variable>, name: &str, value: &str, path: &Path) {
    list.retain(|known| known.name != name);
    list.push(Variable { name: name.into(), value: value.into(), set_by: path.into() });
}

/// Lists the `.conf` files of a directory that exists in several places, by name; of one name the
/// strongest place wins.
fn conf_files(host: &dyn Host, below: &str, strongest: Option<&Path>) -> Result<Vec<PathBuf>> {
    let dirs = strongest.into_iter().chain(CONFIG.iter().map(Path::new));
    let dirs: Vec<PathBuf> = dirs.map(|dir| dir.join(below)).collect();
    super::drop_ins::conf_files(host, &dirs)
}
