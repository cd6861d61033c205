//! Roots with a database that the real rpm made from a package that the real rpmbuild packed.

use std::path::{Path, PathBuf};
use std::process::Command;

use vgpu_install::discover;
use vgpu_install::facts::{Facts, Source, VersionFrom};
use vgpu_install::host::memory::stand_in::StandIn;
use vgpu_install::host::real::Real;

use crate::guest::digest_of;

/// Where distributions keep the database, before and since Fedora 36.
const DATABASES: [&str; 2] = ["var/lib/rpm", "usr/lib/sysimage/rpm"];
const LIBRARY: &str = "usr/lib64/nvidia-sim/libcuda.so.1";

/// A root with a driver and an Ollama that rpm installed, and one library that it did not.
struct Root {
    dir: tempfile::TempDir,
    database: PathBuf,
}

impl Root {
    fn installed(database: &str) -> Self {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let root = dir.path().join("root");
        std::fs::create_dir_all(root.join("usr/lib64")).unwrap();
        write(&root.join("usr/lib/os-release"), b"ID=sim\nID_LIKE=\"rhel fedora\"\n");
        write(&root.join("usr/lib64/libnvidia-ml.so.1"), &library("libnvidia-ml.so.1"));
        let built = [
            package(dir.path(), "nvidia-sim", &[(LIBRARY, library("libcuda.so.1"))]),
            package(dir.path(), "ollama", &[("usr/bin/ollama", library("ollama"))]),
        ];
        let mut rpm = Command::new("rpm");
        rpm.arg("--root").arg(&root).args(["--dbpath", &format!("/{database}")]);
        ran(rpm.args(["--install", "--nodeps", "--nosignature"]).args(built));
        Self { database: root.join(database), dir }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    /// Asks for owners, and holds that the root is as it was, and that no copy stays.
    fn asked(&self) -> Facts {
        let before = digest_of(&self.path());
        let host = Real::open(&self.path()).unwrap();
        let mut facts = discover::facts(&host).unwrap();
        discover::ask_owners(&host, &mut facts);
        assert_eq!(digest_of(&self.path()), before, "the foreign root stays as it is");
        facts
    }

    fn because(&self) -> String {
        let facts = self.asked();
        assert!(facts.libraries.iter().all(|copy| copy.owner.is_none()));
        let [unseen] = &facts.unseen[..] else { panic!("{:?}", facts.unseen) };
        let database = Path::new("/").join(self.database.strip_prefix(self.path()).unwrap());
        assert_eq!(unseen.path.as_ref(), database);
        unseen.because.clone()
    }
}

fn write(path: &Path, content: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

fn library(name: &str) -> Vec<u8> {
    StandIn::parse(&format!("soname={name} image=30M needs=libm.so.6")).bytes()
}

fn ran(command: &mut Command) {
    let output = command.output().expect("rpm and rpmbuild are needed (cargo xtask setup)");
    assert!(output.status.success(), "{command:?}: {output:?}");
}

/// Packs files as version 1:0.99.7-3 of a package.
fn package(dir: &Path, name: &str, files: &[(&str, Vec<u8>)]) -> PathBuf {
    let content = dir.join(name);
    let mut listed = String::new();
    for (path, bytes) in files {
        write(&content.join(path), bytes);
        listed.push_str(&format!("/{path}\n"));
    }
    let spec = format!(
        "Name: {name}\nEpoch: 1\nVersion: 0.99.7\nRelease: 3\nSummary: a stand-in\nLicense: MIT\n\
         AutoReqProv: no\n%description\na stand-in\n%install\ncp -a {}/. %{{buildroot}}\n\
         %files\n{listed}",
        content.display()
    );
    let path = dir.join(format!("{name}.spec"));
    std::fs::write(&path, spec).unwrap();
    let mut rpmbuild = Command::new("rpmbuild");
    rpmbuild.args(["-bb", "--quiet", "--define", &format!("_topdir {}", dir.display())]);
    rpmbuild.args(["--define", "_rpmfilename %{NAME}.rpm", "--define", "debug_package %{nil}"]);
    rpmbuild.args(["--define", "__os_install_post %{nil}", "--define", "_build_id_links none"]);
    ran(rpmbuild.arg(&path));
    dir.join("RPMS").join(format!("{name}.rpm"))
}

fn owner<'f>(facts: &'f Facts, name: &str) -> Option<(&'f str, &'f str, Option<&'f str>)> {
    let copy = facts.libraries.iter().find(|copy| copy.name == name).unwrap();
    let owner = copy.owner.as_ref()?;
    Some((&owner.manager, &owner.package, owner.version.as_deref()))
}

#[test]
fn rpm_names_the_owners_below_another_root_and_leaves_it_byte_for_byte() {
    for database in DATABASES {
        let root = Root::installed(database);
        let facts = root.asked();
        assert_eq!(facts.unseen, [], "{database}");
        let expected = Some(("rpm", "nvidia-sim", Some("0.99.7-3")));
        assert_eq!(owner(&facts, "libcuda.so.1"), expected, "{database}");
        assert_eq!(owner(&facts, "libnvidia-ml.so.1"), None, "no package holds it");
        let ollama = &facts.ollamas[0];
        assert_eq!(ollama.owner.as_ref().unwrap().package, "ollama");
        assert_eq!(
            (ollama.source, ollama.version_from),
            (Source::Package, Some(VersionFrom::Package))
        );
        assert_eq!(ollama.version.as_deref(), Some("0.99.7"));
    }
}

#[test]
fn links_of_a_foreign_database_stay_within_its_root() {
    let root = Root::installed(DATABASES[1]);
    let old = root.path().join("var/lib/rpm");
    std::fs::create_dir_all(old.parent().unwrap()).unwrap();
    std::fs::rename(&root.database, &old).unwrap();
    std::os::unix::fs::symlink("/var/lib/rpm", &root.database).unwrap();
    assert!(owner(&root.asked(), "libcuda.so.1").is_some(), "/var/lib/rpm of the root");
}

#[test]
fn a_damaged_foreign_database_is_said_not_to_be_seen() {
    let root = Root::installed(DATABASES[1]);
    let file = root.database.join("rpmdb.sqlite");
    let whole = std::fs::read(&file).unwrap();
    for content in [&b""[..], &[7; 50_000], &whole[..60_000]] {
        std::fs::write(&file, content).unwrap();
        let because = root.because();
        assert!(because.starts_with("/usr/bin/rpm could not read all of it: error:"), "{because}");
    }
}

#[test]
fn a_foreign_database_that_is_too_long_is_not_copied() {
    let root = Root::installed(DATABASES[1]);
    let file = std::fs::File::options().write(true).open(root.database.join("rpmdb.sqlite"));
    file.unwrap().set_len((1 << 30) + 1).unwrap();
    let host = Real::open(&root.path()).unwrap();
    let mut facts = discover::facts(&host).unwrap();
    discover::ask_owners(&host, &mut facts);
    let because = &facts.unseen[0].because;
    assert!(because.contains("longer than 1073741824 bytes"), "{because}");
}

#[test]
fn a_database_of_a_kind_that_the_machines_rpm_cannot_read_is_said_not_to_be_seen() {
    let root = Root::installed(DATABASES[1]);
    let sqlite = root.database.join("rpmdb.sqlite");
    for name in ["Packages.db", "Packages"] {
        for old in std::fs::read_dir(&root.database).unwrap() {
            std::fs::remove_file(old.unwrap().path()).unwrap();
        }
        std::fs::write(root.database.join(name), [7; 50_000]).unwrap();
        let because = root.because();
        assert!(because.starts_with("/usr/bin/rpm "), "{name}: {because}");
    }
    assert!(!sqlite.exists());
}

/// The program runs where another file lies over rpm's, in a mount namespace of its own.
#[test]
fn a_machine_without_rpm_says_that_a_foreign_database_was_not_asked() {
    let root = Root::installed(DATABASES[1]);
    let before = digest_of(&root.path());
    let script = "mount --bind \"$1\" /usr/bin && exec \"$2\" --root \"$3\" scan --json";
    let empty = root.dir.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "/bin/sh", "-c", script, "sh"]).arg(&empty);
    let output = unshare.arg(env!("CARGO_BIN_EXE_vgpu-install")).arg(root.path()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    let because = "/usr/bin/rpm was not asked: looking for /usr/bin/rpm: No such file or directory";
    assert!(text.contains(because), "{text}");
    assert_eq!(digest_of(&root.path()), before, "the foreign root stays as it is");
}
