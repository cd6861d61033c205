//! docs/operate.md, done word by word: what it says in fenced blocks is taken from there and run,
//! on one machine that is host and guest. What takes a virtual machine is held against the stories
//! of `cargo xtask test vm` (`tests/tests/vm/examples.rs`).

use std::fs;

use vgpu_tests::chapter::{Block, blocks, headings, page};
use vgpu_tests::stage;
use vgpu_tests::system::Guest;

use super::{USR_LOCAL, alone, has_gpu};

const SOCKET: &str = "## A pair over a local socket";
const SHARED: &str = "## A pair over shared memory of a virtual machine";
const FILE: &str = "### Shared memory in a file";
const VSOCK: &str = "## A virtual machine by vsock";
const ORIGINAL: &str = "## A pair over the original system's device";
const NETWORK: &str = "## A pair over the network";
const TENANTS: &str = "## Tenants and quotas";

/// A machine with Ollama, and both packages where its operator has put them.
struct Both(Guest);

impl Both {
    fn boot() -> Self {
        let guest = alone(USR_LOCAL);
        for package in ["vgpu-host", "vgpu-ollama"] {
            let deb = stage::deb(package);
            let name = deb.file_name().unwrap();
            fs::copy(&deb, guest.root().join("root").join(name)).unwrap();
        }
        // Nobody is there to answer apt.
        guest.sh("echo 'APT::Get::Assume-Yes \"true\";' > /etc/apt/apt.conf.d/99yes").unwrap();
        Self(guest)
    }

    /// Runs a block as it stands, but for the device, of which there is none here.
    #[track_caller]
    fn does(&self, block: &str) -> String {
        let block = block.replace("device = \"nvidia\"", "device = \"sim\"");
        self.0.sh(&format!("cd /root\n{block}")).unwrap()
    }

    /// Does the host's part of the local socket, which the other links begin with.
    fn serves(&self) -> String {
        self.does(&shell(SOCKET)[0])
    }

    /// Puts a table of the chapter into host.toml, in the place of one before.
    fn configures(&self, toml: &str) {
        let toml = format!("device = \"sim\"\n{toml}");
        fs::write(self.0.root().join("etc/vgpu/host.toml"), toml).unwrap();
    }

    /// Waits for so many entries of the journal with this event, and returns the last one's value.
    #[track_caller]
    fn journal(&self, event: &str, count: usize, field: &str) -> String {
        let follow =
            format!("journalctl -o cat --output-fields={field} -f -n all VGPU_EVENT={event}");
        let script = format!(
            "timeout 60 bash -c \"head -n {count} < <({follow})\" > /run/told
             test $(wc -l < /run/told) = {count}; tail -n 1 /run/told"
        );
        self.0.sh(&script).unwrap().trim_end().to_owned()
    }
}

/// The fenced commands below a heading.
fn shell(heading: &str) -> Vec<String> {
    let commands = blocks(heading).into_iter().filter(Block::is_shell);
    commands.map(|block| block.text).collect()
}

/// The fenced tables of host.toml below a heading.
fn tables(heading: &str) -> Vec<String> {
    let tables = blocks(heading).into_iter().filter(|block| block.language == "toml");
    tables.map(|block| block.text).collect()
}

#[test]
fn the_chapter_leads_to_a_pair_over_a_local_socket() {
    let both = Both::boot();
    let [host, guest] = shell(SOCKET).try_into().expect("the host's part and the guest's");
    assert!(host.contains("device = \"nvidia\""), "{host}");
    let status = both.does(&host);
    let quoted = "0 of 64 clients, 1 GPU(s)";
    assert!(status.contains(quoted) && page().contains(quoted), "{status}");
    both.does(&guest);
    has_gpu(&both.0.restart_ollama().unwrap(), "by the chapter");
    assert!(both.does("vgpu-smi").contains("H100"));
    // Of the other ways to say it, this one is the only one that a unit runs by.
    assert_eq!(both.does("stat --format='%a %U %G' /run/vgpu/vgpud.sock"), "660 vgpu vgpu\n");
}

#[test]
fn the_chapter_leads_to_a_pair_over_the_network_whose_guests_have_a_share() {
    let both = Both::boot();
    // "Install as above, without starting it."
    let install = shell(SOCKET)[0].lines().next().expect("it installs first").to_owned();
    both.does(&format!("echo 127.0.0.1 gpu-host >> /etc/hosts\n{install}"));
    let [making, issuing, guest] = shell(NETWORK).try_into().expect("host, CA, guest");
    both.does(&making);
    both.does(&issuing);
    // What is copied between two machines lies on this one already.
    both.does("cp /etc/vgpu/ca/issued/guest-team-a/guest.* /etc/vgpu/tls/");
    both.does(&guest);
    has_gpu(&both.0.restart_ollama().unwrap(), "by the chapter");
    assert_eq!(both.journal("certified", 1, "VGPU_TENANT"), "team-a");
    // Nobody's key is more widely readable than the chapter makes it.
    let modes = both.does("stat --format='%a %U %G %n' /etc/vgpu/tls/*.key /etc/vgpu/ca/ca.key");
    assert_eq!(
        modes,
        "640 root ollama /etc/vgpu/tls/guest.key\n640 root vgpu /etc/vgpu/tls/host.key\n\
         600 root root /etc/vgpu/ca/ca.key\n"
    );
    // And its tenants, by a reload.
    let [tenants] = tables(TENANTS).try_into().expect("one table");
    both.does(&format!(
        "groupadd students
         cat >> /etc/vgpu/host.toml <<'END'\n{tenants}\nEND
         systemctl reload vgpud"
    ));
    let changed = both.journal("reloaded", 1, "VGPU_TENANTS");
    assert_eq!(changed, "team-a.new,students.new,all.gone");
    let memory = "vgpu-smi --query-gpu=memory.total --format=csv,noheader";
    assert_eq!(both.does(memory), "16384 MiB\n");
    let shown = both.does("vgpud smi");
    assert!(shown.contains("team-a") && shown.contains("students"), "{shown}");
    // A certificate of no tenant is refused, and the journal says what was seen.
    both.does(
        "vgpud ca issue --tenant other
         cp /etc/vgpu/ca/issued/guest-other/guest.* /etc/vgpu/tls/",
    );
    let refused = both.does("vgpu-smi -L 2>&1 || true");
    assert!(refused.contains("certificate:other is of no tenant of this host"), "{refused}");
    both.journal("refused", 1, "VGPU_BECAUSE");
}

/// The host's side of what else takes a virtual machine: the daemon takes each table, and is where
/// the machine will look for it.
#[test]
fn the_chapter_leads_to_hosts_that_wait_for_their_virtual_machines() {
    let both = Both::boot();
    both.serves();
    both.does("useradd --system libvirt-qemu");
    let [doorbell] = tables(SHARED).try_into().expect("one table");
    both.configures(&doorbell);
    both.does("systemctl restart vgpud");
    assert_eq!(both.does("stat --format='%a %U' /run/vgpu/ollama-1.sock"), "666 vgpu\n");

    let [file] = tables(FILE).try_into().expect("one table");
    let [making] = shell(FILE).try_into().expect("one block");
    both.configures(&file);
    both.does(&making);
    assert_eq!(both.journal("machine", 1, "VGPU_MACHINE"), "ollama-1");
    assert_eq!(
        both.does("stat --format='%a %U %G %s' /dev/shm/ollama-1"),
        "660 libvirt-qemu vgpu 67108864\n"
    );

    let [stub] = tables(ORIGINAL).try_into().expect("one table");
    let place = "/var/xen/qemu/root-DOMID/tmp";
    let line = format!("ReadWritePaths={place}");
    assert!(page().contains(&format!("`systemctl edit vgpud` with `[Service]` and `{line}`")));
    both.configures(&stub);
    both.does(&format!(
        "install -d -o vgpu {place} /etc/systemd/system/vgpud.service.d
         printf '[Service]\\n{line}\\n' > /etc/systemd/system/vgpud.service.d/override.conf
         systemctl daemon-reload
         systemctl restart vgpud
         test -S {place}/vgpu-mediator.sock"
    ));
    assert!(both.does("systemctl status vgpud").contains("0 of 64 clients, 1 GPU(s)"));
}

/// A block that is new, or another than it was, has to be held by a test: here, in `service.rs`, or
/// in `tests/tests/vm/examples.rs`.
#[test]
fn every_fenced_block_of_the_chapter_is_held_by_a_test() {
    let kinds = |heading: &str| {
        let kind = |block: &Block| match &*block.language {
            "" if block.is_shell() => "shell".to_owned(),
            "" => "options".to_owned(),
            language => language.to_owned(),
        };
        blocks(heading).iter().map(kind).collect::<Vec<_>>()
    };
    let found: Vec<(String, Vec<String>)> = headings()
        .into_iter()
        .map(|heading| (heading.clone(), kinds(&heading)))
        .filter(|(_, kinds)| !kinds.is_empty())
        .collect();
    let expected: [(&str, &[&str]); 9] = [
        (SOCKET, &["shell", "shell"]),
        (SHARED, &["toml", "options", "xml"]),
        (FILE, &["toml", "shell", "options", "xml"]),
        (VSOCK, &["toml", "shell", "options"]),
        (ORIGINAL, &["toml"]),
        (NETWORK, &["shell", "shell", "shell"]),
        (TENANTS, &["toml"]),
        ("## Day by day", &["shell"]),
        ("## What to watch", &["yaml"]),
    ];
    let expected = expected.map(|(heading, kinds)| {
        (heading.to_owned(), kinds.iter().map(|kind| (*kind).to_owned()).collect::<Vec<_>>())
    });
    assert_eq!(found, expected);
}
