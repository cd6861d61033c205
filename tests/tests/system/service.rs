//! `vgpud` as a service: the package's unit under a real systemd, and what the journal keeps.
//!
//! A guest is `vgpu-smi --loop` over our NVML: it holds its connection until it is cut off.

use std::{fs, path::Path};

use vgpu_tests::chapter::blocks;
use vgpu_tests::stage;
use vgpu_tests::system::{Container, Machine as _};

use super::setting;

/// A container with the host's package and what a client needs, and nothing else of ours.
struct Host(Container);

impl Host {
    /// Boots it, with this configuration beside `device`, and this much more in the unit.
    fn boot(lines: &str, unit: &str) -> Self {
        let setting = setting();
        let booted = Container::boot(&setting.containers, &setting.tarball, vec![], |_| Ok(()));
        let host = Self(booted.unwrap());
        let guest = setting.stage.package("vgpu-ollama");
        for file in ["usr/bin/vgpu-smi", "usr/lib/x86_64-linux-gnu/vgpu/libnvidia-ml.so.1"] {
            host.put(&guest.join(file), file);
        }
        host.put(&stage::deb("vgpu-host"), "root/vgpu-host.deb");
        host.configure(lines);
        host.sh(&format!(
            "mkdir -p /etc/systemd/system/vgpud.service.d
             printf '[Service]\\n{unit}\\n' > /etc/systemd/system/vgpud.service.d/test.conf
             apt-get --yes install /root/vgpu-host.deb"
        ));
        host
    }

    fn put(&self, from: &Path, to: &str) {
        let to = self.0.root().join(to);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, to).unwrap();
    }

    /// Writes host.toml.
    fn configure(&self, lines: &str) {
        self.sh("mkdir -p /etc/vgpu");
        let text = format!("device = \"sim\"\n{lines}\n");
        fs::write(self.0.root().join("etc/vgpu/host.toml"), text).unwrap();
    }

    #[track_caller]
    fn sh(&self, script: &str) -> String {
        self.0.sh(script).unwrap()
    }

    /// Waits for the journal to have `count` entries with these fields; the last one's value of
    /// `field`.
    #[track_caller]
    fn journal(&self, fields: &str, count: usize, field: &str) -> String {
        let script = format!(
            "timeout 60 bash -c \"head -n {count} < <(journalctl -o cat --output-fields={field} \
                 -f -n all {fields})\" > /run/told
             wc -l < /run/told
             tail -n 1 /run/told"
        );
        let said = self.sh(&script);
        let (lines, last) = said.split_once('\n').unwrap();
        assert_eq!(lines.trim(), count.to_string(), "{fields} {field}: {said}");
        last.trim_end().to_owned()
    }

    /// A property of the service.
    #[track_caller]
    fn is(&self, property: &str) -> String {
        let asked = format!("systemctl show --property={property} --value vgpud");
        self.sh(&asked).trim_end().to_owned()
    }

    /// Starts a guest that stays, as a unit of this name, and waits until it is served; it is the
    /// `count`th of this boot that is.
    fn guest(&self, unit: &str, count: usize) {
        let smi = "vgpu-smi --loop 1 --query-gpu=name --format=csv,noheader";
        self.sh(&format!("systemd-run --quiet --collect --unit={unit} {smi}"));
        self.journal("VGPU_EVENT=hello", count, "VGPU_EXE");
    }

    /// Asks for the list of GPUs once; what the guest says.
    fn asks(&self) -> String {
        self.sh("vgpu-smi -L 2>&1 || true")
    }

    /// What Prometheus hears.
    fn scrape(&self) -> String {
        self.sh("bash -c 'exec 3<>/dev/tcp/127.0.0.1/9475
                 printf \"GET /metrics HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n\" >&3; cat <&3'")
    }
}

const METRICS: &str = "metrics = \"127.0.0.1:9475\"";

#[test]
fn systemd_starts_reloads_and_drains_the_service_and_the_journal_keeps_each_event() {
    let host = Host::boot("clients_max = 1", "");
    host.sh("systemctl start vgpud");
    assert_eq!(host.is("StatusText"), "0 of 1 clients, 1 GPU(s)");
    let first = host.is("MainPID");
    host.guest("one", 1);
    // The fields are the worker's own, which reaches no socket by itself any more.
    let exe = host.sh("journalctl -o verbose VGPU_EVENT=hello VGPU_EXE=vgpu-smi");
    for field in ["VGPU_SESSION=1", "VGPU_PID=", "PRIORITY=6", "_SYSTEMD_UNIT=vgpud.service"] {
        assert!(exe.contains(field), "{field} in\n{exe}");
    }
    let full = host.asks();
    assert!(full.contains("1 clients are served, and no more may be"), "{full}");
    let warned = host.sh("journalctl -o cat -p warning VGPU_EVENT=refused");
    assert!(warned.starts_with("refused session=2 "), "{warned}");
    // A wrong configuration changes nothing, a right one drops nobody.
    host.configure("clients_max = 0");
    host.sh("systemctl reload vgpud");
    let told = host.journal("VGPU_EVENT=not-reloaded", 1, "VGPU_BECAUSE");
    assert!(told.contains("clients_max"), "{told}");
    host.configure(&format!("clients_max = 2\nsim_gpus = 2\n{METRICS}"));
    host.sh("systemctl reload vgpud");
    assert_eq!(host.journal("VGPU_EVENT=reloaded", 1, "VGPU_RESTART_FOR"), "device");
    let text = host.scrape();
    for line in ["vgpud_clients 1", "vgpud_clients_max 2", "vgpud_refused_total{reason=\"full\"} 1"]
    {
        assert!(text.lines().any(|said| said == line), "{line} in\n{text}");
    }
    host.guest("two", 2);
    assert_eq!(host.is("StatusText"), "2 of 2 clients, 1 GPU(s)");
    // Draining, it takes nobody and ends after its last client.
    host.sh("systemctl kill -s USR1 --kill-who=main vgpud");
    assert_eq!(host.journal("VGPU_EVENT=draining", 1, "VGPU_CLIENTS"), "2");
    let late = host.asks();
    assert!(late.contains("the host is being stopped"), "{late}");
    host.sh("systemctl is-active one two && systemctl stop one");
    assert_eq!((host.is("ActiveState"), host.is("MainPID")), ("active".into(), first));
    host.sh("systemctl stop two
             timeout 60 sh -c 'while systemctl is-active --quiet vgpud; do :; done'");
    assert_eq!((host.is("ActiveState"), host.is("Result")), ("inactive".into(), "success".into()));
    // With drain_seconds a client that stays is told goodbye when they are over.
    host.configure("drain_seconds = 1");
    host.sh("systemctl start vgpud");
    host.guest("three", 3);
    host.sh("systemctl stop vgpud");
    host.sh("timeout 60 sh -c 'while systemctl is-active --quiet three; do :; done'");
    let end = host.sh("journalctl -o cat -u three");
    assert!(end.contains("the host is being stopped"), "{end}");
    assert_eq!(host.is("Result"), "success");
}

#[test]
fn a_host_process_that_hangs_is_started_again_and_a_full_unit_keeps_its_hardening() {
    let host = Host::boot("", "WatchdogSec=2");
    host.sh("systemctl start vgpud");
    host.guest("one", 1);
    let hung = host.is("MainPID");
    host.sh(&format!("kill -STOP {hung}"));
    host.journal("VGPU_EVENT=ready", 2, "VGPU_DEVICE");
    assert_eq!(host.is("NRestarts"), "1");
    assert_ne!(host.is("MainPID"), hung);
    // Its workers went with it, and nothing of them is left but what serves now.
    let left = host.sh("cat /sys/fs/cgroup/system.slice/vgpud.service/cgroup.procs | wc -l");
    assert_eq!(left.trim(), "3", "the host process and two workers that wait");
    assert!(host.asks().contains("GPU 0: "));
    // What the unit takes from all of them, with a device that needs nothing of the machine.
    let exposure = "systemd-analyze security --no-pager --threshold=45 vgpud.service";
    host.sh(exposure);
    let pid = host.is("MainPID");
    let status = host.sh(&format!("cat /proc/{pid}/status"));
    for line in ["CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1"] {
        assert!(status.lines().any(|said| said == line), "{line} in\n{status}");
    }
    let writes = format!("nsenter --mount --target {pid} touch /usr/x /etc/x 2>&1 || true");
    let said = host.sh(&writes);
    assert_eq!(said.matches("Read-only file system").count(), 2, "{said}");
}

#[test]
fn behind_systemds_socket_a_guest_starts_the_service_and_waits_while_it_is_away() {
    let host = Host::boot("", "");
    let [turned_on] = blocks("## Day by day").try_into().expect("the operator's chapter has one");
    host.sh(&turned_on.text);
    assert_eq!(host.is("ActiveState"), "inactive");
    assert_eq!(host.sh("stat --format='%a %U %G' /run/vgpu/vgpud.sock"), "660 root vgpu\n");
    assert!(host.asks().contains("GPU 0: "), "the first guest starts it");
    assert_eq!(host.is("ActiveState"), "active");
    let by = host.journal("VGPU_EVENT=listening", 1, "VGPU_BY");
    assert_eq!(by, "systemd");
    // Between two of its lives nobody is refused: the connection waits in systemd's socket.
    let told = host.sh("systemctl stop vgpud 2>&1; vgpu-smi -L");
    assert!(told.contains("GPU 0: "), "{told}");
    assert_eq!(host.sh("systemctl is-active vgpud.socket"), "active\n");
    assert_eq!(host.sh("stat --format='%a %U %G' /run/vgpu/vgpud.sock"), "660 root vgpu\n");
}
