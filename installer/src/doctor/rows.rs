//! The known failures that the doctor detects: which check names which.
//!
//! The numbers are stable: F are failures of an earlier system of this kind, U what users of Ollama
//! complained about, P hazards of loaders, installers and packages. Each check names in its
//! findings the rows that fit.

/// One known failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Its number.
    pub id: &'static str,
    /// The checks that find it.
    pub checks: &'static [&'static str],
    /// What it is.
    pub what: &'static str,
}

const fn row(id: &'static str, checks: &'static [&'static str], what: &'static str) -> Row {
    Row { id, checks, what }
}

/// Every failure that a check finds.
#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    row("F01", &["loader.winner"], "a copy of libcuda without a SONAME is loaded beside another"),
    row("F02", &["loader.winner"],
        "a copy of libnvidia-ml without a SONAME is loaded beside another"),
    row("F03", &["ollama.discovery"],
        "no CUDA library in the server's maps, which is as it should be"),
    row("F04", &["loader.preload"], "the preloaded libraries of the unit do not reach the runner"),
    row("F05", &["service.reload"],
        "the service runs with the environment from before the drop-in"),
    row("F06", &["service.dropin"], "our drop-in is there and has no effect"),
    row("F07", &["system.platform", "service.unit"],
        "a snap's Ollama, which files cannot change, serves"),
    row("F08", &["loader.preload"], "LD_PRELOAD names a library of NVIDIA's"),
    row("F09", &["loader.preload"], "LD_PRELOAD names a file that is not there"),
    row("F10", &["system.leftovers"],
        "libraries that intercept exec or system calls are left over"),
    row("F11", &["loader.dup"], "one library is in a process twice, by two mechanisms"),
    row("F12", &["loader.dup", "api.identity"],
        "cuInit fails because two CUDA libraries meet in a process"),
    row("F13", &["service.dropin"], "one variable is set twice"),
    row("F14", &["service.unit"], "the unit starts a wrapper instead of the program"),
    row("F16", &["service.env"], "OLLAMA_LIBRARY_PATH was set by hand"),
    row("F17", &["service.env"], "OLLAMA_LIBRARY_PATH puts the parent before the CUDA directory"),
    row("F18", &["ollama.bundle"], "the layout of this version lacks its CUDA backend"),
    row("F19", &["service.env"], "OLLAMA_LLM_LIBRARY does not fit the layout"),
    row("F20", &["service.env"], "CUDA_VISIBLE_DEVICES hides the GPU"),
    row("F21", &["loader.winner"], "the bundled libcudart wins"),
    row("F22", &["loader.inventory"], "several copies of one library, of different versions"),
    row("F23", &["loader.symbols"], "a symbol of libcudart lacks its version node"),
    row("F24", &["loader.symbols"], "a symbol of cuBLAS stands under another version node"),
    row("F25", &["loader.symbols"], "a library of ours does not load alone"),
    row("F26", &["loader.symbols"], "a function that a backend needs is missing"),
    row("F27", &["loader.symbols"], "a library that a backend needs is missing"),
    row("F28", &["loader.winner"], "some names go to us and some to NVIDIA"),
    row("F29", &["ollama.bundle"], "a library of Ollama's bundle was overwritten"),
    row("F30", &["loader.secure"],
        "set-user-id or a capability makes ld.so ignore the environment"),
    row("F31", &["service.reload"], "the process still runs a program that was replaced"),
    row("F32", &["system.preload"], "a CUDA library is preloaded into every process"),
    row("F33", &["system.preload"], "ld.so.preload holds text that is no library"),
    row("F39", &["host.worker"], "a GPU that was missed once stays away"),
    row("F40", &["system.preload"], "system programs break on what ld.so.preload names"),
    row("F43", &["package.journal"], "an installation stopped half-way"),
    row("F44", &["package.foreign"], "a driver package is half configured"),
    row("F46", &["package.integrity"], "a file of ours is damaged"),
    row("F47", &["system.disk"], "a file system that we write to is full"),
    row("F48", &["system.kmod"], "NVIDIA's kernel module took the virtual device"),
    row("F49", &["transport.present"], "the way to the host is not there"),
    row("F50", &["transport.present"], "candidates were seen and none is the way to the host"),
    row("F51", &["api.attrs"], "values of the device are invented"),
    row(
        "F52",
        &["transport.access", "transport.handshake"],
        "the service's user may not open the way to the host",
    ),
    row("F53", &["service.hardening", "transport.access"], "a read-only /sys is in the way"),
    row("F54", &["service.hardening"], "PrivateDevices or a device policy hides the link's device"),
    row("F55", &["system.lockdown", "transport.access"], "kernel lockdown forbids to map a device"),
    row("F56", &["transport.present"], "the wrong device would be used"),
    row("F57", &["transport.handshake"], "the host decodes an older form of the protocol"),
    row("F58", &["transport.handshake"], "a device is there and no host answers behind it"),
    row("F59", &["host.worker"], "the host was started anew since the program began"),
    row("F60", &["transport.latency"], "the end of a call is noticed late"),
    row("F61", &["transport.handshake", "transport.latency"], "a slow path carries the data"),
    row("F62", &["api.memory"], "what was copied to the device comes back changed"),
    row("F63", &["transport.latency"], "bulk data stalls"),
    row("F64", &["transport.handshake"], "two programs at once get each other's answers"),
    row("F65", &["host.worker"], "memory of programs that ended is still held"),
    row("F66", &["host.worker"], "the host refuses by its policy"),
    row("F67", &["host.driver", "api.identity"], "the driver's version is not the host's"),
    row("F68", &["api.attrs"], "the device's properties are shifted"),
    row("F69", &["api.attrs"], "the opt-in shared memory is not the host's"),
    row("F70", &["api.attrs"], "the compute capability is not the host's"),
    row("F71", &["ollama.arch"], "the bundle has no code for this GPU"),
    row("F72", &["api.memory"], "a memory query fails and Ollama goes to the CPU"),
    row("F73", &["api.unimplemented", "api.kernel"], "calls succeed and nothing is computed"),
    row("F74", &["api.kernel"], "errors do not reach the program"),
    row("F75", &["loader.winner", "api.blas"], "NVIDIA's cuBLAS is used on our driver"),
    row("F76", &["api.memory"], "device memory is not aligned"),
    row("F78", &["api.unimplemented"], "a program asks for private tables of the driver"),
    row("F80", &["host.worker"], "the host could not make a context"),
    row("F81", &["ollama.log"], "Ollama put no layer on the GPU"),
    row("F82", &["service.env", "loader.winner"], "LD_LIBRARY_PATH puts other libraries first"),
    row("F83", &["ollama.log"], "the client gave up before the model was loaded"),
    row("F84", &["service.env"], "work-arounds for missing functions are still set"),
    row("F85", &["host.driver"], "the host's driver cannot say how kernels take arguments"),
    row("F87", &["api.identity"], "PCI addresses of NVML and CUDA differ"),
    row("F88", &["transport.handshake"], "guest and host are of different versions"),
    row("F89", &["host.worker"], "a fault of one program stays with the worker"),
    row("U01", &["loader.winner"], "libcuda.so.1 is found nowhere"),
    row("U02", &["host.worker"], "the GPU is gone after suspend and resume"),
    row("U03", &["service.order"], "Ollama looked before the link was up"),
    row("U04", &["transport.access"], "a container lost its device after daemon-reload"),
    row("U05", &["ollama.discovery"], "discovery is too slow and Ollama stays on the CPU"),
    row("U06", &["host.driver"], "the host's driver is too old"),
    row("U07", &["loader.winner"], "a link-time stub is loaded as libcuda"),
    row("U08", &["ollama.bundle"], "this Ollama was installed without its CUDA backend"),
    row("U09", &["system.platform", "service.unit"], "a snap's Ollama cannot find its libraries"),
    row("U10", &["service.dropin"], "an upgrade of Ollama wrote the unit anew"),
    row("U11", &["host.driver"], "the host's vGPU profile lacks unified memory"),
    row("U12", &["loader.symbols"], "an older Ollama needs a function that is missing"),
    row("U13", &["ollama.arch"], "the GPU's compute capability is in no list of the bundle"),
    row("U14", &["ollama.install"], "program and libraries are of two installs"),
    row("U15", &["service.env"], "visible devices were overridden by the user"),
    row("U16", &["service.env"], "OLLAMA_LLM_LIBRARY names a directory that is not there"),
    row("U17", &["ollama.log"], "Ollama looked once, before the host could be reached"),
    row("U18", &["ollama.discovery"], "refreshing free memory takes too long"),
    row("U19", &["host.worker"], "memory comes back late after a model was unloaded"),
    row("U20", &["api.attrs", "service.env"], "the GPU is dropped as an integrated one"),
    row("U21", &["ollama.discovery"], "the GPU is filtered out in the second pass"),
    row("U22", &["loader.symbols"], "a library has no version nodes at all"),
    row("U23", &["ollama.log", "api.unimplemented"], "the runner aborts on a CUDA error"),
    row("U24", &["transport.latency"], "loading a model stalls"),
    row("U25", &["package.foreign"], "Ollama's install script brought NVIDIA's driver"),
    row("U26", &["service.env"], "unified or registered host memory is switched on"),
    row("U27", &["ollama.log"], "a model needs an engine that is not served"),
    row("U28", &["api.graph"], "capturing a graph fails"),
    row("U29", &["ollama.install"], "Homebrew's Ollama has no GPU backend"),
    row("U30", &["ollama.install"], "a container asks for NVIDIA's hook"),
    row("U31", &["system.platform"], "a Flatpak cannot see the system's libraries"),
    row("U32", &["service.hardening"], "a hardened unit blocks the link or the libraries"),
    row("U33", &["ollama.bundle", "loader.winner"],
        "Arch's Ollama without its CUDA package, or with the system's runtime"),
    row("U34", &["loader.winner", "api.unimplemented"], "NVIDIA's runtime runs on our driver"),
    row("U35", &["loader.inventory"], "WSL's libnvidia-ml is tried first"),
    row("U36", &["api.identity"], "NVML and CUDA name the device differently"),
    row("U37", &["transport.access"], "the service's user is in none of the link's groups"),
    row("U38", &["host.driver"], "the host's driver cannot unpack the bundle's code"),
    row("U39", &["ollama.discovery"], "the log gives no reason"),
    row("U40", &["loader.winner"], "a container's library path lacks our directory"),
    row("P01", &["loader.cache"], "ldconfig points libcuda.so.1 at another file"),
    row("P02", &["loader.inventory"], "two files of one directory have one SONAME"),
    row("P03", &["loader.inventory"], "a backup carries a driver's SONAME"),
    row("P04", &["package.integrity"], "links of ours vanished"),
    row("P05", &["loader.cache"], "ldconfig finds a regular file where it wants a link"),
    row("P06", &["loader.cache"], "a glibc-hwcaps copy is ranked first"),
    row("P07", &["loader.rpath"], "an RPATH outranks the environment"),
    row("P08", &["loader.dup", "ollama.install"], "an old Ollama opens libcuda by its path"),
    row("P09", &["loader.winner"], "the unversioned name goes to another file"),
    row("P10", &["loader.secure"], "secure execution switches the environment off"),
    row("P11", &["loader.secure"], "the program is static or uses another C library"),
    row("P12", &["loader.cache"], "the cache is older than the directories"),
    row("P13", &["loader.cache"], "the cache changed without us"),
    row("P14", &["package.foreign"], "a driver package changed since we applied"),
    row("P15", &["package.foreign"], "update-alternatives decides which driver is used"),
    row("P16", &["package.foreign"], "NVIDIA's .run installer was here"),
    row("P21", &["package.integrity"], "packaged files were changed"),
    row("P23", &["service.reload"], "systemd has not read our drop-in yet"),
    row("P24", &["service.reload"], "a restart is still to be done"),
    row("P25", &["package.drift"], "links in Ollama's bundle are gone"),
    row("P27", &["package.integrity"], "a file carries the wrong security label"),
    row("P28", &["system.platform"], "AppArmor denies our files"),
    row("P29", &["system.platform"], "/usr cannot be written"),
    row("P32", &["package.journal"], "power was lost in the middle of a change"),
    row("P33", &["package.journal"], "a change failed half-way"),
    row("P34", &["package.journal"], "another installer is at work"),
    row("P35", &["package.drift"], "somebody changed what we had written"),
    row("P36", &["package.drift"], "a path is marked immutable"),
    row("P38", &["system.preload"], "ld.so.preload names a path that others count on"),
    row("P39", &["system.kmod", "package.foreign"], "a real GPU's driver is at work in this guest"),
    row("P40", &["loader.cache"], "a compat library is ranked before us"),
    row("P41", &["loader.winner"], "a directory of stubs is in the path"),
    row("P42", &["system.platform"], "WSL writes its libraries anew at each boot"),
    row("P43", &["loader.preload"], "LD_PRELOAD names a library without its path"),
    row("P44", &["service.dropin"], "a later drop-in replaces our variables"),
    row("P45", &["service.unit"], "several units could serve"),
    row("P47", &["package.foreign"], "a diversion moves a driver's library"),
    row("P48", &["package.drift"], "a path is reached by another name since"),
    row("P51", &["service.env"], "the off switch of our libraries is set"),
    row("P52", &["loader.inventory"], "a copy is for another machine or class"),
    row("P53", &["package.journal"], "many generations are kept"),
    row("P54", &["service.unit"], "a mount of the unit leads nowhere"),
    row("P55", &["package.foreign"], "NVIDIA's own nvidia-smi is in the path"),
];

#[cfg(test)]
mod tests {
    use super::super::catalogue;
    use super::ROWS;

    #[test]
    fn every_check_of_the_catalogue_is_named_once_and_names_known_rows() {
        let mut ids: Vec<&str> = catalogue().map(|check| check.id).collect();
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count);
        for check in catalogue() {
            for row in check.rows {
                let known = ROWS.iter().find(|known| known.id == *row);
                let known = known.unwrap_or_else(|| panic!("{}: {row} is no row", check.id));
                assert!(known.checks.contains(&check.id), "rows.rs: {row} lacks {}", check.id);
            }
        }
    }

    #[test]
    fn every_known_failure_is_named_by_each_check_that_is_to_find_it() {
        let mut wrong = Vec::new();
        for row in ROWS {
            for id in row.checks {
                let check = catalogue().find(|check| check.id == *id);
                if !check.is_some_and(|check| check.rows.contains(&row.id)) {
                    wrong.push(format!("{id} does not name {}", row.id));
                }
            }
        }
        assert_eq!(wrong, Vec::<String>::new());
        assert_eq!((ROWS.len(), catalogue().count()), (160, 42));
    }
}
