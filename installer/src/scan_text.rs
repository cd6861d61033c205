//! The facts as text for people.

use std::fmt::Write;

use crate::facts::Facts;

/// Writes what was found, a line for each thing.
#[must_use]
pub fn of(facts: &Facts) -> String {
    let mut out = String::new();
    // Writing into a String cannot fail.
    let _ = write(&mut out, facts);
    out
}

fn write(out: &mut String, facts: &Facts) -> std::fmt::Result {
    let platform = &facts.platform;
    let os = if platform.os.is_empty() { "unknown system" } else { &platform.os };
    writeln!(out, "system     {os}, {}, libraries in {}", platform.arch, platform.library_dir)?;
    let count = facts.shims.libraries.len();
    writeln!(out, "our files  {count} of {} in {}", crate::facts::SHIMS.len(), facts.shims.dir)?;
    for ollama in &facts.ollamas {
        writeln!(out, "ollama     {} ({})", ollama.executable, ollama.library_dir)?;
        for bundle in &ollama.bundles {
            let line = bundle.cuda_major.map_or("?".into(), |major| major.to_string());
            writeln!(out, "  backend  CUDA {line} in {}", bundle.dir)?;
        }
    }
    for unit in &facts.units {
        let user = unit.user.as_deref().unwrap_or("root");
        writeln!(out, "unit       {} ({}), user {user}", unit.name, unit.fragment)?;
        for drop_in in &unit.drop_ins {
            writeln!(out, "  drop-in  {drop_in}")?;
        }
        for variable in unit.environment.iter().filter(|known| known.name.starts_with("LD_")) {
            writeln!(out, "  sets     {}={}", variable.name, variable.value)?;
        }
    }
    for copy in &facts.libraries {
        writeln!(out, "library    {} is {} ({})", copy.name, copy.file, copy.kind.word())?;
    }
    if facts.ollamas.is_empty() {
        writeln!(out, "ollama     none found")?;
    }
    Ok(())
}
