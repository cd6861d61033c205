//! What the documents offer for copying: domains of libvirt, checked by its own schema and held
//! against the machines of the stories. The user data of cloud-init is what a story installs with.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use vgpu_tests::chapter::blocks;
use vgpu_tests::vm::{CARRIER, CID, DEVICE};
use vgpu_tests::{run, stage};

use super::shared_memory::{DOORBELL, PLAIN};
use super::story::NAMED;

/// libvirt's schema of a domain, in Debian's libvirt0.
const SCHEMA: &str = "/usr/share/libvirt/schemas/domain.rng";

/// One file of packaging/examples.
pub(crate) fn example(name: &str) -> PathBuf {
    stage::repository().join("packaging/examples").join(name)
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The operator's chapter, its lists' indents taken away.
fn chapter() -> String {
    let text = text(&stage::repository().join("docs/operate.md"));
    text.lines().map(|line| line.trim_start().to_owned() + "\n").collect()
}

/// What libvirt's element looks like in a text, from each begin to its end.
fn elements<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let (begin, end) = (format!("<{name} "), format!("</{name}>"));
    let from = |(at, _)| {
        let rest: &str = &text[at..];
        &rest[..rest.find(&end).expect("an end") + end.len()]
    };
    text.match_indices(&begin).map(from).collect()
}

/// The value of an attribute of the first tag of that name.
fn attribute<'a>(element: &'a str, tag: &str, name: &str) -> &'a str {
    let tag = element.split(&format!("<{tag} ")).nth(1).expect("the tag");
    let value = tag.split(&format!("{name}=\"")).nth(1).expect("the attribute");
    value.split('"').next().unwrap_or_default()
}

fn is_accepted(domain: &Path) {
    let mut xmllint = Command::new("xmllint");
    xmllint.args(["--noout", "--relaxng", SCHEMA]).arg(domain);
    run(&mut xmllint, Duration::from_secs(60)).unwrap().success().unwrap();
}

#[test]
fn the_domains_are_as_libvirts_schema_wants_them() {
    for name in ["libvirt-vsock.xml", "libvirt-shared-memory.xml"] {
        is_accepted(&example(name));
    }
    let (whole, chapter) = (text(&example("libvirt-shared-memory.xml")), chapter());
    let directory = tempfile::tempdir().unwrap();
    let shown = elements(&chapter, "shmem");
    assert_eq!(shown.len(), 2, "docs/operate.md shows one with a doorbell and one without");
    for element in shown {
        let domain = directory.path().join("domain.xml");
        fs::write(&domain, whole.replace(elements(&whole, "shmem")[0], element)).unwrap();
        is_accepted(&domain);
    }
}

/// libvirt makes these options of its elements ("Shared memory device" and "Vsock" of its domain
/// format); the stories boot with them.
#[test]
fn the_machines_of_the_stories_are_those_of_the_examples() {
    let (whole, chapter) = (text(&example("libvirt-shared-memory.xml")), chapter());
    let shown = elements(&chapter, "shmem");
    for element in [elements(&whole, "shmem")[0], shown[0]] {
        let (path, model) =
            (attribute(element, "server", "path"), attribute(element, "model", "type"));
        let vectors = attribute(element, "msi", "vectors");
        let device = format!("-device {model},chardev=vgpu,vectors={vectors}");
        assert_eq!(format!("-chardev socket,path={path},id=vgpu {device}"), DOORBELL);
        assert!(chapter.contains(&format!("ivshmem = \"{path}\"")), "{path}");
    }
    let (name, model) =
        (attribute(shown[1], "shmem", "name"), attribute(shown[1], "model", "type"));
    let size = shown[1].split("<size unit=\"M\">").nth(1).and_then(|rest| rest.split('<').next());
    let path = format!("/dev/shm/{name}");
    let backend =
        format!("memory-backend-file,id=vgpu,share=on,mem-path={path},size={}M", size.unwrap());
    assert_eq!(format!("-object {backend} -device {model},memdev=vgpu"), PLAIN);
    assert!(chapter.contains(&format!("memory = \"{path}\"")), "{path}");

    let vsock = text(&example("libvirt-vsock.xml"));
    assert_eq!(attribute(elements(&vsock, "vsock")[0], "cid", "address"), CID.to_string());
    assert!(chapter.contains(&format!("-device vhost-vsock-pci,guest-cid={CID}")));
    // Where the kernel has no vhost_vsock, the stories' own way.
    let ways = blocks("## A virtual machine by vsock");
    let carried = &ways.last().expect("it ends with that").text;
    let cid = format!("--guest-cid={CID} ");
    assert!(CARRIER.starts_with(&cid), "{CARRIER}");
    for words in
        [&format!("vhost-device-vsock {CARRIER}\n"), DEVICE, "memory-backend-memfd,id=memory,"]
    {
        assert!(carried.contains(words), "{words} in\n{carried}");
    }
    // The guest's part, which cloud-init does in the stories.
    let guest = &ways[1].text;
    assert!(guest.contains("apt install") && guest.contains("vgpu-install doctor"), "{guest}");
    let named = format!("link = \"{NAMED}\"");
    assert!(guest.contains(&named), "{guest}");
    for place in [&text(&example("cloud-init.yaml")), &chapter] {
        assert!(place.contains(&named), "{place}");
    }
}
