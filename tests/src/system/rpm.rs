use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use super::{Finished, Result, error::at, run};

/// Longest time for rpm and rpmbuild; measured below 3 s.
const LIMIT: Duration = Duration::from_secs(120);

/// Where rpm keeps its database since Fedora 36; Debian's rpm would take root's home.
const DATABASE: &str = "/usr/lib/sysimage/rpm";

/// rpm's program, and the directory of its configuration.
const PROGRAM: &str = "/usr/bin/rpm";
const CONFIGURATION: &str = "/usr/lib/rpm";

/// What an rpm system says of itself; no release has this name.
const OS_RELEASE: &str = "NAME=\"Sim Linux\"\nID=sim\nID_LIKE=\"rhel fedora\"\nVERSION_ID=999\n\
    PRETTY_NAME=\"Sim Linux 999\"\n";

/// Provides to rpm what the Debian below it has, which is in no rpm database.
const BASE: &str = "Name: sim-base
Version: 999
Release: 1
Summary: What the root has already
License: MIT
BuildArch: noarch
AutoReqProv: no
Provides: /bin/sh, systemd, glibc = 2.28
%description
A stand-in.
%files
";

/// Is our guest's package as an rpm, with its files where rpm systems have them.
#[derive(Debug)]
pub struct Rpm {
    packages: [PathBuf; 2],
}

impl Rpm {
    /// Packs the staged files below `into`.
    ///
    /// # Errors
    /// Whatever rpmbuild says.
    pub fn built(stage: &Path, into: &Path) -> Result<Self> {
        let ours = format!(
            "Name: vgpu-ollama
Version: {version}
Release: 1
Summary: Lets Ollama use a GPU of its host
License: MIT OR Apache-2.0
AutoReqProv: no
Requires: glibc >= 2.28, systemd
%description
Files alone: this package sets nothing up.
%install
mkdir -p %{{buildroot}}/usr/lib64 %{{buildroot}}/usr/lib
cp -a {stage}/usr/lib/x86_64-linux-gnu/vgpu %{{buildroot}}/usr/lib64/vgpu
cp -a {stage}/usr/lib/systemd %{{buildroot}}/usr/lib/systemd
cp -a {stage}/usr/bin %{{buildroot}}/usr/bin
%files
/usr/bin/*
/usr/lib64/vgpu
/usr/lib/systemd/system/*
",
            version = env!("CARGO_PKG_VERSION"),
            stage = stage.display()
        );
        Ok(Self { packages: [build(into, "sim-base", BASE)?, build(into, "vgpu-ollama", &ours)?] })
    }

    /// Makes `root` one of an rpm system, as far as its packages go, with this machine's rpm, and
    /// installs ours.
    ///
    /// # Errors
    /// Whatever rpm says.
    pub fn install(&self, root: &Path) -> Result<()> {
        let release = root.join("usr/lib/os-release");
        fs::write(&release, OS_RELEASE).map_err(at("writing", release))?;
        for path in ["var/lib/dpkg", "var/lib/apt"] {
            let path = root.join(path);
            fs::remove_dir_all(&path).map_err(at("removing", path))?;
        }
        lay_program(root)?;
        let mut rpm = rpm(root);
        run(rpm.arg("--install").args(&self.packages), LIMIT)?.success().map(drop)
    }
}

/// Asks rpm whether our package's files below `root` are as they were packed; silence is a yes.
///
/// # Errors
/// If rpm cannot be started.
pub fn verified(root: &Path) -> Result<Finished> {
    run(rpm(root).args(["--verify", "vgpu-ollama"]), LIMIT)
}

/// Lays this machine's rpm into a root of its own release, with the libraries that it needs and
/// the root has not, and its configuration, in which the database is where rpm systems have it.
fn lay_program(root: &Path) -> Result<()> {
    let needed = run(Command::new("ldd").arg(PROGRAM), LIMIT)?.success()?;
    let libraries = needed.lines().filter_map(|line| line.split(' ').nth(2));
    let paths = libraries.filter(|path| path.starts_with('/')).chain([PROGRAM, CONFIGURATION]);
    let mut cp = Command::new("cp");
    cp.args(["--parents", "--recursive", "--dereference", "--no-clobber"]);
    run(cp.args(paths).arg(root), LIMIT)?.success()?;
    let macros = root.join("etc/rpm/macros");
    let directory = root.join("etc/rpm");
    fs::create_dir_all(&directory).map_err(at("creating", directory))?;
    fs::write(&macros, format!("%_dbpath {DATABASE}\n")).map_err(at("writing", macros))
}

fn rpm(root: &Path) -> Command {
    let mut rpm = Command::new("rpm");
    rpm.arg("--root").arg(root).args(["--dbpath", DATABASE]);
    rpm
}

fn build(into: &Path, name: &str, spec: &str) -> Result<PathBuf> {
    fs::create_dir_all(into).map_err(at("creating", into))?;
    let path = into.join(format!("{name}.spec"));
    fs::write(&path, spec).map_err(at("writing", &path))?;
    let mut rpmbuild = Command::new("rpmbuild");
    rpmbuild.args(["-bb", "--quiet", "--define"]).arg(format!("_topdir {}", into.display()));
    rpmbuild.args(["--define", "_rpmfilename %{NAME}.rpm", "--define", "debug_package %{nil}"]);
    rpmbuild.args(["--define", "__os_install_post %{nil}", "--define", "_build_id_links none"]);
    run(rpmbuild.arg(&path), LIMIT)?.success()?;
    Ok(into.join("RPMS").join(format!("{name}.rpm")))
}
