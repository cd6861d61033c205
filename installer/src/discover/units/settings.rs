//! The settings of a service that can keep our libraries or the link from working.
//!
//! systemd.exec(5), systemd.resource-control(5) and systemd.service(5) describe them. What each
//! one means for us is judged elsewhere: here they are only collected as systemd would.

/// How systemd takes a setting that is given more than once, or empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The last truth value counts; what is none is ignored.
    Truth,
    /// The last of a truth value or one of these words counts; what is neither is ignored.
    Word(&'static [&'static str]),
    /// The last one counts; an empty one takes it back.
    Text,
    /// All count; an empty one takes those before it back.
    List,
    /// The last one counts; one that cannot be read is ignored, and so is an empty one.
    Limit,
}

const SETTINGS: [(&str, Kind); 61] = [
    ("AmbientCapabilities", Kind::List),
    ("AppArmorProfile", Kind::Text),
    ("BindPaths", Kind::List),
    ("BindReadOnlyPaths", Kind::List),
    ("CapabilityBoundingSet", Kind::List),
    ("DeviceAllow", Kind::List),
    ("DevicePolicy", Kind::Word(&["auto", "closed", "strict"])),
    ("DynamicUser", Kind::Truth),
    ("ExecPaths", Kind::List),
    ("ExecSearchPath", Kind::List),
    ("ExtensionDirectories", Kind::List),
    ("ExtensionImages", Kind::List),
    ("IPAddressAllow", Kind::List),
    ("IPAddressDeny", Kind::List),
    ("InaccessiblePaths", Kind::List),
    ("LimitAS", Kind::Limit),
    ("LimitDATA", Kind::Limit),
    ("LimitFSIZE", Kind::Limit),
    ("LimitMEMLOCK", Kind::Limit),
    ("LimitNOFILE", Kind::Limit),
    ("LimitNPROC", Kind::Limit),
    ("LockPersonality", Kind::Truth),
    ("MemoryDenyWriteExecute", Kind::Truth),
    ("MemoryHigh", Kind::Limit),
    ("MemoryMax", Kind::Limit),
    ("MountAPIVFS", Kind::Truth),
    ("NetworkNamespacePath", Kind::Text),
    ("NoExecPaths", Kind::List),
    ("NoNewPrivileges", Kind::Truth),
    ("PrivateDevices", Kind::Truth),
    ("PrivateIPC", Kind::Truth),
    ("PrivateMounts", Kind::Truth),
    ("PrivateNetwork", Kind::Truth),
    ("PrivateTmp", Kind::Word(&["connected", "disconnected"])),
    ("PrivateUsers", Kind::Word(&["self", "identity", "full", "managed"])),
    ("ProcSubset", Kind::Word(&["all", "pid"])),
    ("ProtectClock", Kind::Truth),
    ("ProtectControlGroups", Kind::Word(&["private", "strict"])),
    ("ProtectHome", Kind::Word(&["read-only", "tmpfs"])),
    ("ProtectHostname", Kind::Word(&["private"])),
    ("ProtectKernelLogs", Kind::Truth),
    ("ProtectKernelModules", Kind::Truth),
    ("ProtectKernelTunables", Kind::Truth),
    ("ProtectProc", Kind::Word(&["noaccess", "invisible", "ptraceable", "default"])),
    ("ProtectSystem", Kind::Word(&["full", "strict"])),
    ("ReadOnlyPaths", Kind::List),
    ("ReadWritePaths", Kind::List),
    ("RestrictAddressFamilies", Kind::List),
    ("RestrictFileSystems", Kind::List),
    ("RestrictNamespaces", Kind::List),
    ("RootDirectory", Kind::Text),
    ("RootEphemeral", Kind::Truth),
    ("RootImage", Kind::Text),
    ("SELinuxContext", Kind::Text),
    ("SystemCallArchitectures", Kind::List),
    ("SystemCallErrorNumber", Kind::Text),
    ("SystemCallFilter", Kind::List),
    ("TasksMax", Kind::Limit),
    ("TemporaryFileSystem", Kind::List),
    ("UMask", Kind::Limit),
    ("WorkingDirectory", Kind::Text),
];
/// Older names that systemd still reads, and today's.
const OLDER_NAMES: [(&str, &str); 3] = [
    ("InaccessibleDirectories", "InaccessiblePaths"),
    ("ReadOnlyDirectories", "ReadOnlyPaths"),
    ("ReadWriteDirectories", "ReadWritePaths"),
];
const YES: [&str; 6] = ["1", "yes", "y", "true", "t", "on"];
const NO: [&str; 6] = ["0", "no", "n", "false", "f", "off"];

/// What an assignment does to the settings that were collected before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing: it is not one of these settings, or systemd ignores the value.
    None,
    /// The setting is as if it had never been given.
    Reset(&'static str),
    /// This value takes the place of an earlier one.
    Last(&'static str),
    /// This value stands beside earlier ones.
    Further(&'static str),
}

/// Says what an assignment in the `[Service]` section does.
pub(super) fn effect(key: &str, value: &str) -> Effect {
    let older = OLDER_NAMES.iter().find(|(older, _)| *older == key);
    let key = older.map_or(key, |(_, name)| name);
    let Some((name, kind)) = SETTINGS.iter().find(|(name, _)| *name == key) else {
        return Effect::None;
    };
    let is_truth = || YES.iter().chain(&NO).any(|word| word.eq_ignore_ascii_case(value));
    match kind {
        Kind::Truth if is_truth() => Effect::Last(name),
        Kind::Word(words) if is_truth() || words.contains(&value) => Effect::Last(name),
        Kind::Truth | Kind::Word(_) => Effect::None,
        Kind::Text | Kind::List if value.is_empty() => Effect::Reset(name),
        Kind::List => Effect::Further(name),
        Kind::Limit if value.is_empty() => Effect::None,
        Kind::Text | Kind::Limit => Effect::Last(name),
    }
}

/// True for a value that systemd reads as yes.
#[must_use]
pub fn is_yes(value: &str) -> bool {
    YES.iter().any(|word| word.eq_ignore_ascii_case(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_listed_once_and_in_order() {
        assert!(SETTINGS.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    #[test]
    fn what_systemd_ignores_changes_nothing() {
        let cases = [
            ("PrivateDevices", "yes", Effect::Last("PrivateDevices")),
            ("PrivateDevices", "maybe", Effect::None),
            ("PrivateDevices", "", Effect::None),
            ("ProtectSystem", "strict", Effect::Last("ProtectSystem")),
            ("ProtectSystem", "Strict", Effect::None),
            ("DeviceAllow", "/dev/null rw", Effect::Further("DeviceAllow")),
            ("DeviceAllow", "", Effect::Reset("DeviceAllow")),
            ("RootDirectory", "", Effect::Reset("RootDirectory")),
            ("ReadOnlyDirectories", "/a", Effect::Further("ReadOnlyPaths")),
            ("LimitMEMLOCK", "", Effect::None),
            ("Nice", "5", Effect::None),
        ];
        for (key, value, expected) in cases {
            assert_eq!(effect(key, value), expected, "{key}={value}");
        }
    }
}
