//! Reads the alternatives system: who may stand behind a link of `/etc/alternatives`, and why the
//! one that does was taken (update-alternatives(1)).

use std::path::{Path, PathBuf};

use super::{lossy, places::Search};
use crate::facts::{Alternative, Choice, Copy};
use crate::host::Host;

/// Where the links lie, and where dpkg's and rpm's systems keep what they lead to.
const LINKS: &str = "/etc/alternatives";
const GROUPS: [&str; 2] = ["/var/lib/dpkg/alternatives", "/var/lib/alternatives"];
/// Longest description of a group: 1 MiB; real ones have a few kilobytes.
const GROUP_BYTES_MAX: u64 = 1 << 20;
/// Most groups that are read: a desktop has three hundred.
const GROUPS_MAX: usize = 2000;

/// Finds the groups that stand behind the links which lead to copies, by name.
pub fn of(host: &dyn Host, copies: &[Copy]) -> Vec<Alternative> {
    let links = copies.iter().flat_map(|copy| &copy.links);
    let wanted: Vec<PathBuf> =
        links.filter(|link| link.starts_with(LINKS)).map(|link| link.to_path_buf()).collect();
    if wanted.is_empty() {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut search = Search::of(host);
    for dir in GROUPS.map(Path::new) {
        for name in search.names(dir, &|_| true).into_iter().take(GROUPS_MAX) {
            let path = dir.join(&name);
            let looked = host.read(&path, GROUP_BYTES_MAX);
            let Some(text) = search.noted(&path, looked) else { continue };
            let group = parse(&name.to_string_lossy(), &lossy(&text));
            let names = |link: &&PathBuf| {
                let base = link.file_name().map(|base| base.to_string_lossy().into_owned());
                base.is_some_and(|base| group.1.contains(&base))
            };
            if wanted.iter().any(|link| names(&link)) {
                let mut alternative = group.0;
                let link = Path::new(LINKS).join(&alternative.name);
                alternative.current = host.canonical(&link).ok().flatten().map(Into::into);
                found.push(alternative);
            }
        }
    }
    found
}

/// Reads a group; gives with it the names of its links in `/etc/alternatives`.
fn parse(name: &str, text: &str) -> (Alternative, Vec<String>) {
    let mut lines = text.lines();
    let mut alternative = Alternative {
        name: name.into(),
        automatic: lines.next() == Some("auto"),
        link: lines.next().unwrap_or_default().into(),
        current: None,
        choices: Vec::new(),
    };
    let mut names = vec![name.to_owned()];
    // Pairs of name and link of what follows the master, up to an empty line.
    while let Some(slave) = lines.next().filter(|line| !line.is_empty()) {
        names.push(slave.to_owned());
        lines.next();
    }
    // Each choice has a path, a priority and one line for each follower.
    while let Some(path) = lines.next().filter(|line| !line.is_empty()) {
        let Some(priority) = lines.next().and_then(|line| line.trim().parse().ok()) else { break };
        alternative.choices.push(Choice { path: path.into(), priority });
        for _ in 1..names.len() {
            lines.next();
        }
    }
    (alternative, names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discover;
    use crate::host::memory::Memory;

    #[test]
    fn the_group_behind_a_link_is_found_by_the_name_of_a_follower() {
        let host = Memory::described(
            "elf /usr/lib/x86_64-linux-gnu/nvidia/current/libcuda.so.1 soname=libcuda.so.1 image=9M
             link /usr/lib/x86_64-linux-gnu/libcuda.so.1 -> /etc/alternatives/glx--libcuda.so.1
             link /etc/alternatives/glx--libcuda.so.1 -> \
                  /usr/lib/x86_64-linux-gnu/nvidia/current/libcuda.so.1
             link /etc/alternatives/glx -> /usr/lib/nvidia
             dir /usr/lib/nvidia
             file /var/lib/dpkg/alternatives/editor auto\\n/usr/bin/editor\\n\\n/bin/ed\\n1\\n\\n
             file /var/lib/dpkg/alternatives/glx manual\\n/usr/lib/glx\\nglx--libcuda.so.1\\n\
                  /usr/lib/x86_64-linux-gnu/libcuda.so.1\\nother\\n/other\\n\\n/usr/lib/nvidia\\n\
                  100\\n/one\\n\\n/usr/lib/mesa-diverted\\n5\\n\\n\\n\\n",
        );
        let facts = discover::facts(&host).unwrap();
        let found = of(&host, &facts.libraries);
        let choice = |path: &str, priority| Choice { path: path.into(), priority };
        let expected = Alternative {
            name: "glx".into(),
            automatic: false,
            link: "/usr/lib/glx".into(),
            current: Some("/usr/lib/nvidia".into()),
            choices: vec![choice("/usr/lib/nvidia", 100), choice("/usr/lib/mesa-diverted", 5)],
        };
        assert_eq!(found, [expected]);
    }

    #[test]
    fn a_group_that_ends_early_gives_what_it_holds() {
        let (group, names) = parse("x", "auto\n/l\ns\n/s\n\n/p\nnot a number\n");
        assert_eq!((group.choices.len(), names.len(), group.automatic), (0, 2, true));
        assert_eq!(parse("x", "").1, ["x"]);
    }
}
