//! What the documents offer for copying: domains of libvirt, checked by its own schema. The
//! user data of cloud-init is what the story installs with.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use vgpu_tests::{run, stage};

/// libvirt's schema of a domain, in Debian's libvirt0.
const SCHEMA: &str = "/usr/share/libvirt/schemas/domain.rng";

/// One file of packaging/examples.
pub(crate) fn example(name: &str) -> PathBuf {
    stage::repository().join("packaging/examples").join(name)
}

#[test]
fn the_domains_are_as_libvirts_schema_wants_them() {
    for name in ["libvirt-vsock.xml", "libvirt-shared-memory.xml"] {
        let mut xmllint = Command::new("xmllint");
        xmllint.args(["--noout", "--relaxng", SCHEMA]).arg(example(name));
        run(&mut xmllint, Duration::from_secs(60)).unwrap().success().unwrap();
    }
}
