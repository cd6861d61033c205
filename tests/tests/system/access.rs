//! Who may touch what carries a link by PCI: the group of the real udev's commands, over a made-up
//! sysfs, on both releases of Debian.

use std::fs;

use vgpu_tests::system::{Files, Guest, Setting};

use super::{USR_LOCAL, found, setting};

/// Makes a sysfs in a mount namespace of its own, with one PCI device of the five given numbers,
/// asks udev what it does when the device appears, does that, and shows the regions.
const DEVICE: &str = r#"set -e
mount -t tmpfs none /sys
device=/sys/devices/pci0000:00/0000:00:05.0
mkdir -p $device /sys/bus/pci/devices /run/udev
ln -s ../../../bus/pci $device/subsystem
ln -s ../../../devices/pci0000:00/0000:00:05.0 /sys/bus/pci/devices/0000:00:05.0
cd $device
echo PCI_SLOT_NAME=0000:00:05.0 > uevent
for file in vendor device subsystem_vendor subsystem_device class; do
    echo 0x$1 > $file
    shift
done
touch enable driver_override
for region in 0 1 2; do
    touch resource$region
    chmod 600 resource$region
done
SYSTEMD_DEVICE_VERIFY_SYSFS=0 udevadm test --action=add $device > /run/test 2>&1
grep --only-matching --extended-regexp "/bin/ch(grp|mod) [^%']*$device[^%']*" /run/test |
    sort --unique > /run/commands
sh -e /run/commands
stat --format='%n %a %U %G' resource*
"#;

const CLOSED: &str = "resource0 600 root root\nresource1 600 root root\nresource2 600 root root\n";

/// The devices, by vendor, device, both numbers of the subsystem and class, and who has them.
const DEVICES: [(&str, &str); 4] = [
    // QEMU's shared memory.
    (
        "1af4 1110 1af4 1100 050000",
        "resource0 660 root vgpu\nresource1 600 root root\nresource2 660 root vgpu\n",
    ),
    // The stub under a card's number.
    (
        "10de 2331 10de 16c1 030200",
        "resource0 660 root vgpu\nresource1 660 root vgpu\nresource2 600 root root\n",
    ),
    // A card that is real, and a network card.
    ("10de 2331 10de 1626 030200", CLOSED),
    ("1af4 1000 1af4 0001 020000", CLOSED),
];

/// Answers whether this udev could be asked to verify the rules, which came with version 254.
fn given_to_the_group(setting: &Setting) -> bool {
    let guest = Guest::boot(setting, USR_LOCAL, Files::Laid, None).unwrap();
    fs::write(guest.root().join("root/device"), DEVICE).unwrap();
    for (numbers, expected) in DEVICES {
        let shown = guest.sh(&format!("unshare --mount sh /root/device {numbers}")).unwrap();
        assert_eq!(shown, expected, "{} {numbers}", setting.release.suite());
    }
    let verified = guest.sh("if udevadm --help | grep --quiet verify; then
             udevadm verify /usr/lib/udev/rules.d/70-vgpu.rules
         fi");
    !verified.unwrap().is_empty()
}

#[test]
fn the_links_device_is_its_groups_and_no_other_device_is_touched() {
    let settings = [setting(), found(Setting::of_the_other_debian())];
    let verified = settings.each_ref().map(given_to_the_group);
    assert!(verified.contains(&true), "no release's udev knows how to verify rules");
}
