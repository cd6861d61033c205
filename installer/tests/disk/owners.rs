//! Owners by the real `dpkg-query` and the real `rpm`, of roots with databases of their own.

mod rpm;

use std::path::Path;

use vgpu_install::discover;
use vgpu_install::facts::Source;
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
    std::fs::create_dir_all(root.join("usr/bin")).unwrap();
    std::fs::write(root.join("usr/bin/ollama"), StandIn::parse("needs=libm.so.6").bytes()).unwrap();
    let ollama = "Package: ollama-sim\nStatus: install ok installed\nArchitecture: amd64\n\
                  Version: 1:0.99.7-2\nMaintainer: nobody\nDescription: a stand-in\n";
    std::fs::write(info.join("ollama-sim.list"), "/.\n/usr\n/usr/bin/ollama\n").unwrap();
    let status = "Package: libsim1\nStatus: install ok installed\nArchitecture: amd64\n\
                  Multi-Arch: same\nVersion: 999.1\nMaintainer: nobody\nDescription: a stand-in\n";
    let status = format!("{status}\n{ollama}");
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
        let owner = copy.owner.as_ref()?;
        Some((owner.manager.as_str(), owner.package.as_str(), owner.version.as_deref()))
    };
    assert_eq!(owner("libcuda.so.1"), Some(("dpkg", "libsim1", Some("999.1"))));
    assert_eq!(owner("libnvidia-ml.so.1"), None, "no package holds it");
    let ollama = &facts.ollamas[0];
    let owner = ollama.owner.as_ref().map(|owner| owner.package.as_str());
    assert_eq!((owner, ollama.source), (Some("ollama-sim"), Source::Package));
    assert_eq!(ollama.version.as_deref(), Some("0.99.7"), "without the packager's revision");
}
