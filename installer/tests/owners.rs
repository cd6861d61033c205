//! Owners by the real `dpkg-query`, of a root that has a database of its own.

#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "the test lays out its own root")]

use std::path::Path;

use vgpu_install::discover;
use vgpu_install::host::memory::stand_in::StandIn;
use vgpu_install::host::real::Real;

/// Lays out a Debian root with a driver whose package names files as before /usr was merged.
fn lay(root: &Path) {
    let dir = root.join("usr/lib/x86_64-linux-gnu");
    std::fs::create_dir_all(&dir).unwrap();
    std::os::unix::fs::symlink("usr/lib", root.join("lib")).unwrap();
    let library =
        |name: &str| StandIn::parse(&format!("soname={name} image=30M needs=libm.so.6")).bytes();
    for name in ["libcuda.so.1", "libnvidia-ml.so.1"] {
        std::fs::write(dir.join(name), library(name)).unwrap();
    }
    let info = root.join("var/lib/dpkg/info");
    std::fs::create_dir_all(&info).unwrap();
    let status = "Package: libsim1\nStatus: install ok installed\nArchitecture: amd64\n\
                  Multi-Arch: same\nVersion: 999.1\nMaintainer: nobody\nDescription: a stand-in\n";
    std::fs::write(root.join("var/lib/dpkg/status"), status).unwrap();
    std::fs::write(info.join("format"), "1\n").unwrap();
    let list = "/.\n/lib\n/lib/x86_64-linux-gnu\n/lib/x86_64-linux-gnu/libcuda.so.1\n";
    std::fs::write(info.join("libsim1:amd64.list"), list).unwrap();
}

#[test]
fn dpkg_is_asked_with_the_database_of_the_root_and_for_both_spellings() {
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    lay(root.path());
    let host = Real::open(root.path()).unwrap();
    let mut facts = discover::facts(&host).unwrap();
    assert!(facts.libraries.iter().all(|copy| copy.owner.is_none()), "facts ask nobody");
    discover::ask_owners(&host, &mut facts);
    assert_eq!(facts.unseen, [], "dpkg-query is needed (cargo xtask setup)");
    let owner = |name: &str| {
        let copy = facts.libraries.iter().find(|copy| copy.name == name).unwrap();
        copy.owner.as_ref().map(|owner| (owner.manager.as_str(), owner.package.as_str()))
    };
    assert_eq!(owner("libcuda.so.1"), Some(("dpkg", "libsim1")));
    assert_eq!(owner("libnvidia-ml.so.1"), None, "no package holds it");
}
