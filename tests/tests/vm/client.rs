//! A client of the GPU that lives in the guest for as long as a test wants.

use vgpu_tests::system::Guest;
use vgpu_tests::vm::Vm;

/// The environment in which a program of the guest finds our libraries.
const OURS: &str = "LD_LIBRARY_PATH=/usr/lib/x86_64-linux-gnu/vgpu";

/// Measures calls and copies of up to 16 MiB in the guest. What is emulated is far slower than a
/// machine is: the figures of links can be compared with each other only.
pub(crate) fn measured(guest: &Guest<Vm>) -> String {
    guest.sh(&format!("{OURS} /media/parcel/bench-client --sizes=5")).unwrap()
}

/// Starts a client that has a context and waits for the end of its input.
pub(crate) fn hold_a_context(guest: &Guest<Vm>, name: &str) {
    guest
        .sh(&format!(
            "mkfifo /run/{name}
             systemd-run --quiet --unit={name}-input sh -c 'exec sleep infinity > /run/{name}'
             systemd-run --quiet --unit={name} --setenv={OURS} sh -c \
                 'exec /media/parcel/bench-client idle < /run/{name}'
             {}",
            heard(name, "memory_kib")
        ))
        .unwrap();
}

/// A client that measures as above while other things happen.
pub(crate) struct Running(String);

impl Running {
    /// Starts it.
    pub(crate) fn start(guest: &Guest<Vm>, name: String) -> Self {
        let program = "/media/parcel/bench-client --sizes=1";
        guest.sh(&format!("systemd-run --quiet --unit={name} --setenv={OURS} {program}")).unwrap();
        Self(name)
    }

    /// Waits for its end; answers how systemd calls it, and all that it said.
    pub(crate) fn ended(self, guest: &Guest<Vm>) -> (String, String) {
        let Self(name) = self;
        let ended = guest.sh(&heard(&name, "-e Deactivated -e Failed.with.result")).unwrap();
        (ended, guest.sh(&format!("journalctl -o cat --unit {name}")).unwrap())
    }
}

/// Ends the input of such a client; answers the last line that it says.
pub(crate) fn release(guest: &Guest<Vm>, name: &str) -> String {
    let last = heard(name, "result");
    guest.sh(&format!("systemctl stop {name}-input\n{last}")).unwrap()
}

/// Waits for a line of a unit in which there is a word.
fn heard(unit: &str, word: &str) -> String {
    format!("timeout 120 bash -ec 'grep -m1 {word} < <(journalctl -o cat -f -n all --unit {unit})'")
}
