use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use sha2::{Digest, Sha256};

use super::{Error, Result, error::at, run};

/// The packages of the container beyond mmdebstrap's smallest set that still has apt: an init
/// system as servers have it, with managers for its users, and the OpenMP library that the CUDA 12
/// backend was linked with.
pub const ROOT_PACKAGES: [&str; 9] = [
    "systemd",
    "systemd-sysv",
    "libpam-systemd",
    "dbus",
    "dbus-user-session",
    "procps",
    "iproute2",
    "udev",
    "libgomp1",
];

/// The keys of Debian's archive, on Debian itself.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Changes whenever the commands below make another root from the same packages.
const RECIPE: &str = "1";

/// Names a release of Debian or Ubuntu and where its packages come from.
///
/// Most containers run this machine's own release; what is laid into others was linked for an
/// older C library than any of them has.
#[derive(Clone, Debug)]
pub struct Release {
    suite: String,
    sources: Vec<String>,
}

/// Two releases of Debian that are served, each beside the other.
const DEBIAN: [&str; 2] = ["bookworm", "trixie"];

impl Release {
    /// Reads this machine's release and its archive from apt, which knows the mirror to use.
    ///
    /// # Errors
    /// `NoArchive` where no source of Debian or Ubuntu serves the release of `/etc/os-release`.
    pub fn of_this_machine() -> Result<Self> {
        let path = "/etc/os-release";
        let text = fs::read_to_string(path).map_err(at("reading", path))?;
        let name = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
        let suite = name.ok_or(Error::NoArchive)?.trim_matches('"').to_owned();
        let mut command = Command::new("apt-get");
        let fields = "$(ORIGIN)|$(RELEASE)|$(REPO_URI)|$(COMPONENT)";
        command.args(["indextargets", "--format", fields, "Created-By: Packages"]);
        let listed = run(&mut command, Duration::from_secs(30))?.success()?;
        let mut sources: Vec<_> = listed.lines().filter_map(|line| source(line, &suite)).collect();
        sources.sort();
        sources.dedup();
        if sources.is_empty() { Err(Error::NoArchive) } else { Ok(Self { suite, sources }) }
    }

    /// Is Debian's other release, from the same archive.
    ///
    /// # Errors
    /// `NoArchive` where this machine's archive is not Debian's.
    pub fn another(&self) -> Result<Self> {
        let at = DEBIAN.iter().position(|suite| *suite == self.suite).ok_or(Error::NoArchive)?;
        let suite = DEBIAN[1 - at].to_owned();
        let moved =
            |line: &String| line.replace(&format!(" {} ", self.suite), &format!(" {suite} "));
        let sources = self.sources.iter().map(moved).collect();
        Ok(Self { suite, sources })
    }

    /// Is the archive's source line for one component, with the keyring of Debian.
    pub(super) fn source(&self, component: &str) -> Result<String> {
        let line =
            self.sources.iter().find(|line| line.ends_with(" main")).ok_or(Error::NoArchive)?;
        let site = line.trim_start_matches("deb ").trim_end_matches(" main");
        Ok(format!("deb [signed-by={KEYRING}] {site} {component}"))
    }

    /// Is the release's code name, as the archive spells it.
    pub fn suite(&self) -> &str {
        &self.suite
    }

    /// Names the tarball after everything that decides its contents, except the mirror.
    fn key(&self, packages: &[&str]) -> String {
        let recipe = format!("{RECIPE} {} {packages:?}", self.suite);
        let digest = Sha256::digest(recipe.as_bytes());
        let short: String = digest[..6].iter().map(|byte| format!("{byte:02x}")).collect();
        format!("root-{}-{short}.tar", self.suite)
    }
}

/// Is the source line for one index of apt, if it belongs to the plain suite of a distribution.
fn source(line: &str, suite: &str) -> Option<String> {
    let fields: Vec<_> = line.split('|').collect();
    match fields[..] {
        // Before the first `apt-get update` apt does not know the origin and leaves the field.
        ["Debian" | "Ubuntu" | "$(ORIGIN)" | "", release, site, component] if release == suite => {
            Some(format!("deb {site} {release} {component}"))
        }
        _ => None,
    }
}

/// Is the tarball of a root with these packages in `cache`, made on the first call (about 20 s;
/// with a kernel, 60 s).
///
/// # Errors
/// Whatever mmdebstrap says. A root that was not finished is never found by a later call.
pub fn tarball(cache: &Path, release: &Release, packages: &[&str]) -> Result<PathBuf> {
    let path = cache.join(release.key(packages));
    fs::create_dir_all(cache).map_err(at("creating", cache))?;
    // Tests run side by side, and the first one makes the root for all.
    let lock = path.with_extension("lock");
    let held = File::create(&lock).map_err(at("creating", &lock))?;
    held.lock().map_err(at("locking", lock))?;
    if path.exists() {
        return Ok(path);
    }
    let unfinished = path.with_extension("unfinished.tar");
    let mut command = Command::new("mmdebstrap");
    command.args(["--quiet", "--variant=minbase", "--format=tar"]);
    command.arg(format!("--include={}", packages.join(",")));
    command.arg(&release.suite).arg(&unfinished).args(&release.sources);
    run(&mut command, Duration::from_secs(600))?.success()?;
    fs::rename(&unfinished, &path).map_err(at("renaming", unfinished))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_distribution_itself_is_a_source_of_the_root() {
        let wanted = Some("deb http://archive.invalid/debian/ oldcode main".to_owned());
        for (line, expected) in [
            ("Debian|oldcode|http://archive.invalid/debian/|main", wanted.clone()),
            ("$(ORIGIN)|oldcode|http://archive.invalid/debian/|main", wanted),
            ("Debian|oldcode-updates|http://archive.invalid/debian/|main", None),
            ("Somebody|oldcode|http://archive.invalid/tools/|main", None),
            ("", None),
        ] {
            assert_eq!(source(line, "oldcode"), expected, "{line}");
        }
    }
}
