//! Libraries in running processes: two files for one SONAME are two drivers with two states.

use std::collections::BTreeMap;

use super::super::{Finding, Scene};
use super::told;
use crate::error::Result;
use crate::facts::Kind;

const STEMS: [&str; 4] = ["libcuda.so", "libnvidia-ml.so", "libcudart.so", "libcublas.so"];

pub(super) fn duplicates(scene: &Scene<'_>) -> Result<Vec<Finding>> {
    let processes = scene.processes()?;
    if processes.all.is_empty() {
        let needs = match processes.refused {
            0 => "needs a running Ollama: no process of it was seen",
            _ => "needs root: other users' processes do not show their programs",
        };
        return Ok(vec![Finding::skipped(needs)]);
    }
    let mut findings = Vec::new();
    let mut lines = Vec::new();
    for process in &processes.all {
        let mut names: BTreeMap<String, Vec<(String, Kind)>> = BTreeMap::new();
        let mut count = 0;
        for file in process.maps(scene.host)? {
            let name = file.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if !STEMS.iter().any(|stem| name.starts_with(stem)) {
                continue;
            }
            let told = told(scene, &file.path)?;
            let soname = told.as_ref().and_then(|told| told.soname.clone()).unwrap_or(name);
            let words = told.as_ref().map_or("not there any more", |told| told.words.as_str());
            let (device, inode) = &file.identity;
            let line = format!("{} mapped as {device}:{inode}, {words}", file.path.display());
            let kind = told.map_or(Kind::Unknown, |told| told.kind);
            names.entry(soname).or_default().push((line, kind));
            count += 1;
        }
        lines.push(format!("{}: {count} files of these names", process.words()));
        for (soname, files) in names.into_iter().filter(|(_, files)| files.len() > 1) {
            let with_driver = files.iter().any(|(_, kind)| *kind == Kind::Ours)
                && soname.starts_with("libcuda.so");
            let rows: &[&str] = if with_driver { &["F11", "F12", "P08"] } else { &["F11", "F12"] };
            let cause = format!("{} has {} files for {soname}", process.words(), files.len());
            let finding =
                Finding::fail(rows, cause).saw_all(files.into_iter().map(|(line, _)| line));
            let remedy =
                "use one way to name our libraries (vgpu-install verify), or upgrade Ollama";
            findings.push(finding.remedy(remedy));
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok("no process has two files for one library").saw_all(lines));
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::super::tests::{examine_host, verdicts};
    use super::super::tests::{library, machine};
    use crate::host::Host;

    const CHECK: &str = "loader.dup";

    #[test]
    fn two_files_of_one_soname_in_a_process_are_found() {
        let cuda = library("x.so", "int x;", &["-Wl,-soname,libcuda.so.1"]);
        let machine = machine(b"backend", &[("libcuda.so.1", &cuda)]);
        assert_eq!(verdicts(&examine_host(CHECK, &machine)), ["skipped"]);
        let ours = "7f-80 r-xp 0 fd:01 8 /usr/lib/x86_64-linux-gnu/vgpu/libcuda.so.1\n";
        machine.place_file(Path::new("/proc/42/maps"), format!("{ours}{ours}").as_bytes());
        machine.place_file(Path::new("/proc/42/stat"), b"42 (ollama) S 1 0");
        let program = Path::new("/usr/local/bin/ollama");
        machine.make_link(Path::new("/proc/42/exe"), program).unwrap();
        assert_eq!(verdicts(&examine_host(CHECK, &machine)), ["ok"]);
        machine.place_file(Path::new("/usr/lib/libcuda.so.999"), &cuda);
        let both = format!("{ours}81-82 r-xp 0 fd:01 9 /usr/lib/libcuda.so.999\n");
        machine.place_file(Path::new("/proc/42/maps"), both.as_bytes());
        assert_eq!(verdicts(&examine_host(CHECK, &machine)), ["fail F11 F12 P08"]);
    }
}
