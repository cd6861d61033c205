use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use super::{Bind, Error, Release, Result, error::at, run};

/// The user-space driver as Debian packages it; with what they depend on, 12 MB. No kernel module.
const PACKAGES: [&str; 3] = ["libcuda1", "libnvidia-ml1", "nvidia-smi"];

/// The upstream version of the second set: higher than any, and no file has it.
const NEXT: &str = "998.77.66";

/// Longest time for a download: 12 MB and the archive's lists.
const FETCH: Duration = Duration::from_secs(300);

/// Names Debian's own packages of NVIDIA's driver, in two versions.
#[derive(Debug)]
pub struct Driver {
    directory: PathBuf,
}

impl Driver {
    /// Fetches the packages with apt from the non-free component of `release`, once, and makes the
    /// second version of them: the archive has one.
    ///
    /// # Errors
    /// Whatever apt or dpkg-deb says. A set that was not finished is never found by a later call.
    pub fn fetched(cache: &Path, release: &Release, tarball: &Path) -> Result<Self> {
        let directory = cache.join(format!("driver-{}", release.suite()));
        let lock = directory.with_extension("lock");
        let held = File::create(&lock).map_err(at("creating", &lock))?;
        held.lock().map_err(at("locking", lock))?;
        if !directory.exists() {
            let unfinished = directory.with_extension("unfinished");
            match fs::remove_dir_all(&unfinished) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(at("removing", unfinished)(error));
                }
                _ => {}
            }
            fetch(&unfinished, release, tarball)?;
            renew(&unfinished)?;
            fs::rename(&unfinished, &directory).map_err(at("renaming", unfinished))?;
        }
        Ok(Self { directory })
    }

    /// Shows the packages to a guest: `/run/driver/1` and `/run/driver/2`.
    pub fn bind(&self) -> Bind {
        Bind { here: self.directory.clone(), there: "/run/driver".into() }
    }
}

/// Downloads the packages and what the container's root lacks of their dependencies into `1`.
fn fetch(into: &Path, release: &Release, tarball: &Path) -> Result<()> {
    for name in ["1", "2", "apt/lists/partial", "apt/archives/partial"] {
        fs::create_dir_all(into.join(name)).map_err(at("creating", into))?;
    }
    let apt = into.join("apt");
    let sources = ["main", "contrib", "non-free"].map(|component| release.source(component));
    let sources = sources.into_iter().collect::<Result<Vec<_>>>()?.join("\n") + "\n";
    fs::write(apt.join("sources.list"), sources).map_err(at("writing", &apt))?;
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--to-stdout", "--file"]).arg(tarball).arg("./var/lib/dpkg/status");
    let status = run(&mut tar, FETCH)?.success()?;
    fs::write(apt.join("status"), status).map_err(at("writing", &apt))?;
    let options = [
        ("Dir::Etc::SourceList", "sources.list"),
        ("Dir::State::Lists", "lists"),
        ("Dir::State::Status", "status"),
        ("Dir::Cache", "."),
    ];
    let get = |words: &[&str]| {
        let mut get = Command::new("apt-get");
        for (name, file) in options {
            get.arg("--option").arg(format!("{name}={}", apt.join(file).display()));
        }
        get.args(["--option=Dir::Etc::SourceParts=/dev/null", "--option=APT::Sandbox::User=root"]);
        run(get.args(words), FETCH)?.success()
    };
    get(&["update"])?;
    let install = ["--yes", "--download-only", "--no-install-recommends", "install"];
    get(&[&install[..], &PACKAGES].concat())?;
    for entry in debs(&apt.join("archives"))? {
        let name = entry.file_name().unwrap_or_default().to_owned();
        fs::rename(&entry, into.join("1").join(name)).map_err(at("renaming", entry))?;
    }
    fs::remove_dir_all(&apt).map_err(at("removing", apt))
}

/// Makes a higher version of each package that has the driver's version, in `2`.
fn renew(directory: &Path) -> Result<()> {
    let all = debs(&directory.join("1"))?;
    let field = |deb: &Path, name: &str| {
        let mut show = Command::new("dpkg-deb");
        let said = run(show.arg("--field").arg(deb).arg(name), FETCH)?.success()?;
        Ok::<_, Error>(said.trim().to_owned())
    };
    let is_libcuda = |deb: &&PathBuf| deb.to_string_lossy().contains("/libcuda1_");
    let libcuda = all.iter().find(is_libcuda).ok_or_else(|| Error::Missing {
        what: "libcuda1".to_owned(),
        place: directory.display().to_string(),
        output: format!("{all:?}"),
    })?;
    let version = field(libcuda, "Version")?;
    let upstream = version.rsplit_once('-').map_or(version.as_str(), |(upstream, _)| upstream);
    for deb in &all {
        if field(deb, "Version")? == version {
            repack(deb, &directory.join("2"), upstream, NEXT)?;
        }
    }
    Ok(())
}

/// Packs a deb again below `into`, with another version in its control files and file names.
///
/// # Errors
/// Whatever dpkg-deb says.
pub fn repack(deb: &Path, into: &Path, version: &str, next: &str) -> Result<PathBuf> {
    let name = deb.file_name().unwrap_or_default().to_string_lossy().replace(version, next);
    let packed = into.join(name);
    // File names and links carry a library's version; what is in the files stays.
    let script = r#"
        work=$(mktemp --directory)
        trap 'rm -rf "$work"' EXIT
        dpkg-deb --raw-extract "$1" "$work/deb"
        cd "$work/deb"
        old=$(printf %s "$3" | sed 's/[.+]/\\&/g')
        find DEBIAN -type f -exec sed -i "s/$old/$4/g" {} +
        find . -depth -name "*$3*" | while read -r path; do
            name=${path##*/}
            mv "$path" "${path%/*}/$(printf %s "$name" | sed "s/$old/$4/g")"
        done
        find . -type l -lname "*$3*" | while read -r path; do
            ln -snf "$(readlink "$path" | sed "s/$old/$4/g")" "$path"
        done
        dpkg-deb --root-owner-group --build -Znone "$work/deb" "$2""#;
    let mut sh = Command::new("sh");
    sh.args(["-euc", script, "sh"]).arg(deb).arg(&packed).args([version, next]);
    run(&mut sh, FETCH)?.success()?;
    Ok(packed)
}

fn debs(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(at("listing", directory))? {
        let path = entry.map_err(at("listing", directory))?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
