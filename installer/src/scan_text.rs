//! The facts as a page for people.

use std::fmt::{Result, Write};

use crate::facts::{Asked, Copy, Facts, Manager, Runs, SHIMS};

/// Writes what was found: the system, each Ollama, its units, the libraries as a table, and what
/// could not be looked at.
#[must_use]
pub fn of(facts: &Facts) -> String {
    let mut out = String::new();
    // Writing into a String cannot fail.
    let _ = system(&mut out, facts)
        .and_then(|()| ollamas(&mut out, facts))
        .and_then(|()| units(&mut out, facts))
        .and_then(|()| libraries(&mut out, facts))
        .and_then(|()| alternatives(&mut out, facts))
        .and_then(|()| unseen(&mut out, facts));
    out
}

fn system(out: &mut String, facts: &Facts) -> Result {
    let platform = &facts.platform;
    let os = if platform.os.is_empty() { "an unknown system" } else { &platform.os };
    let libc = platform.libc.word();
    let arch = if platform.arch.is_empty() { "an unknown machine" } else { &platform.arch };
    write!(out, "System      {os}, {arch}, {libc}, {}", platform.init.word())?;
    if let Some(container) = &platform.container {
        write!(out, ", in a container of {container}")?;
    }
    for (is, what) in [(platform.wsl, "WSL"), (platform.immutable, "/usr is not written to")] {
        if is {
            write!(out, ", {what}")?;
        }
    }
    let found = facts.shims.libraries.len();
    writeln!(out, "\nOur files   {found} of {} in {}", SHIMS.len(), facts.shims.dir)
}

fn ollamas(out: &mut String, facts: &Facts) -> Result {
    writeln!(out, "\nOllama")?;
    if facts.ollamas.is_empty() && facts.confined.is_empty() {
        writeln!(out, "  none was found")?;
    }
    for ollama in &facts.ollamas {
        let version = ollama.version.as_deref().unwrap_or("of unknown version");
        let source = ollama.source.word();
        writeln!(out, "  {} {}, {source}", ollama.executable, shown(version))?;
        if let Some(owner) = &ollama.owner {
            let version = owner.version.as_deref().unwrap_or("of unknown version");
            let package = format!("{} {version} ({})", owner.package, owner.manager);
            writeln!(out, "    package    {}", shown(&package))?;
        }
        writeln!(out, "    libraries  {}", ollama.library_dir)?;
        if ollama.bundles.is_empty() {
            writeln!(out, "    backend    none for CUDA")?;
        }
        for bundle in &ollama.bundles {
            let line = bundle.cuda_major.map_or("?".into(), |major| major.to_string());
            writeln!(out, "    backend    CUDA {line} in {}", bundle.dir)?;
        }
        if let Some(advice) = &ollama.advice {
            writeln!(out, "    advice     {}", shown(advice))?;
        }
    }
    for confined in &facts.confined {
        writeln!(out, "  {}", shown(&confined.describe()))?;
        writeln!(out, "    advice     {}", shown(&confined.advice))?;
    }
    for dir in &facts.left_behind {
        writeln!(out, "  {dir}, which no program here takes")?;
    }
    running(out, facts)
}

fn running(out: &mut String, facts: &Facts) -> Result {
    for server in &facts.running {
        let user = server.user.clone().unwrap_or_else(|| server.uid.to_string());
        let unit = shown(server.unit.as_deref().unwrap_or("no unit"));
        writeln!(out, "  process {}, user {}, {unit}", server.pid, shown(&user))?;
        writeln!(out, "    program    {}", server.executable)?;
        if server.deleted {
            writeln!(out, "    advice     its file was replaced since: restart it")?;
        }
    }
    Ok(())
}

fn units(out: &mut String, facts: &Facts) -> Result {
    if !facts.units.is_empty() {
        writeln!(out, "\nUnits")?;
    }
    for unit in &facts.units {
        let user = unit.user.as_deref().unwrap_or("root");
        let masked = if unit.masked { ", masked" } else { "" };
        writeln!(out, "  {}, user {user}{masked}", unit.name)?;
        writeln!(out, "    file       {}", unit.fragment)?;
        if let Manager::User(name) = &unit.manager {
            writeln!(out, "    manager    {}'s own", shown(name))?;
        }
        if unit.runs != Runs::Ollama {
            writeln!(out, "    runs       no Ollama that a drop-in reaches")?;
        }
        for drop_in in &unit.drop_ins {
            writeln!(out, "    drop-in    {drop_in}")?;
        }
        for variable in unit.environment.iter().filter(|known| known.name.starts_with("LD_")) {
            writeln!(out, "    sets       {}={}", variable.name, shown(&variable.value))?;
        }
    }
    Ok(())
}

/// Text from a file of somebody else, without what a terminal would obey.
fn shown(text: &str) -> String {
    crate::location::Location::from(text).to_string()
}

/// A line for each copy; below it the links that lead to it, and other names of it.
fn libraries(out: &mut String, facts: &Facts) -> Result {
    writeln!(out, "\nLibraries   (* is what ld.so takes if nothing else is said)")?;
    if facts.libraries.is_empty() {
        return writeln!(out, "  none was found");
    }
    let rows: Vec<[String; 5]> = facts.libraries.iter().map(row).collect();
    let heads = ["  NAME", "KIND", "VERSION", "OWNER", "PATH"].map(str::to_owned);
    let width = |column: usize| {
        let cells = std::iter::once(&heads).chain(&rows).map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths = [width(0), width(1), width(2), width(3)];
    let line = |out: &mut String, row: &[String; 5]| {
        for (cell, width) in row.iter().zip(widths) {
            write!(out, "{cell:<width$}  ")?;
        }
        writeln!(out, "{}", row[4])
    };
    line(out, &heads)?;
    for (copy, row) in facts.libraries.iter().zip(&rows) {
        line(out, row)?;
        // The path itself is the first link, in the spelling of its real directory.
        for link in copy.links.iter().skip(1) {
            writeln!(out, "      by    {link}")?;
        }
        if copy.file != copy.path {
            writeln!(out, "      is    {}", copy.file)?;
        }
        for alias in &copy.aliases {
            writeln!(out, "      also  {alias}")?;
        }
    }
    Ok(())
}

fn row(copy: &Copy) -> [String; 5] {
    let taken = matches!(copy.asked, Some(Asked::Cache | Asked::DefaultDir));
    let owner = copy.owner.as_ref().map_or("-".into(), |owner| {
        let version = owner.version.as_ref().map(|version| format!(" {version}"));
        format!("{}{}", owner.package, version.unwrap_or_default())
    });
    let kind = match copy.elf {
        None => format!("{}, no library", copy.kind.word()),
        Some(elf) if elf.class == 32 => format!("{}, 32 bits", copy.kind.word()),
        Some(_) => copy.kind.word().to_owned(),
    };
    [
        format!("{} {}", if taken { '*' } else { ' ' }, shown(&copy.name)),
        kind,
        copy.version.clone().unwrap_or_else(|| "-".into()),
        shown(&owner),
        copy.path.to_string(),
    ]
}

fn alternatives(out: &mut String, facts: &Facts) -> Result {
    if !facts.alternatives.is_empty() {
        writeln!(out, "\nAlternatives")?;
    }
    for group in &facts.alternatives {
        let how = if group.automatic { "by priority" } else { "chosen by hand" };
        let current = group.current.as_ref().map_or("nothing".into(), ToString::to_string);
        writeln!(out, "  {} leads to {current}, {how}", shown(&group.name))?;
        for choice in &group.choices {
            writeln!(out, "    {:>8}   {}", choice.priority, choice.path)?;
        }
    }
    Ok(())
}

fn unseen(out: &mut String, facts: &Facts) -> Result {
    if !facts.unseen.is_empty() {
        writeln!(out, "\nNot seen")?;
    }
    for place in &facts.unseen {
        writeln!(out, "  {}: {}", place.path, place.because)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::discover;
    use crate::facts::Owner;
    use crate::host::memory::Memory;

    #[test]
    fn the_page_shows_each_copy_with_its_owner_and_the_way_to_it() {
        let host = Memory::described(
            "file /etc/os-release PRETTY_NAME=\"Sim 999\"
             elf /lib64/ld-linux-x86-64.so.2 soname=ld-linux-x86-64.so.2
             elf /usr/lib64/nvidia/libcuda.so.580.999 soname=libcuda.so.1 image=30M
             link /usr/lib64/libcuda.so.1 -> /etc/alternatives/cuda
             link /etc/alternatives/cuda -> /usr/lib64/nvidia/libcuda.so.580.999
             file /usr/local/bin/ollama program
             dir /usr/local/lib/ollama
             fifo /usr/lib64/libnvidia-ml.so.1",
        );
        let mut facts = discover::facts(&host).unwrap();
        facts.libraries[0].owner =
            Some(Owner { manager: "rpm".into(), package: "sim-libs".into(), version: None });
        let page = super::of(&facts);
        let expected = "System      Sim 999, x86_64, glibc, no init system
Our files   0 of 6 in /usr/lib64/vgpu

Ollama
  /usr/local/bin/ollama of unknown version, archive
    libraries  /usr/local/lib/ollama
    backend    none for CUDA

Libraries   (* is what ld.so takes if nothing else is said)
  NAME          KIND            VERSION  OWNER     PATH
* libcuda.so.1  nvidia/current  580.999  sim-libs  /usr/lib64/libcuda.so.1
      by    /etc/alternatives/cuda
      is    /usr/lib64/nvidia/libcuda.so.580.999

Not seen
  /usr/lib64/libnvidia-ml.so.1: it is neither a file nor a link to one
";
        assert_eq!(page, expected);
    }
}
