//! The processes that would load a backend, each with its exact environment.

use std::ffi::OsString;

use crate::error::Result;
use crate::facts::{Bundle, Facts, Layout, Ollama, Unit, Variable};
use crate::host::Host;
use crate::plan::{Scope, unit_of};
use crate::unit_file::{assignments, has_specifier, without_percent_pairs, words};

/// Name and value, as a process sees them.
pub(crate) type Environment = Vec<(OsString, OsString)>;

/// One process of Ollama that loads a backend.
pub(crate) struct Child<'a> {
    /// Its Ollama.
    pub(crate) ollama: &'a Ollama,
    /// The directory of its backend.
    pub(crate) bundle: &'a Bundle,
    /// The unit that starts it, if one does.
    pub(crate) unit: Option<&'a Unit>,
    /// What it gets with our drop-in.
    pub(crate) environment: Environment,
    /// What it gets without.
    pub(crate) plain: Environment,
    /// The groups that our drop-in gives it.
    pub(crate) groups: Vec<String>,
}

/// Lists the processes that would load a backend: in scope `service` those of units, else those of
/// every Ollama.
pub(crate) fn children<'a>(
    host: &dyn Host,
    facts: &'a Facts,
    scope: Scope,
) -> Result<Vec<Child<'a>>> {
    let mut found = Vec::new();
    for ollama in &facts.ollamas {
        let unit = unit_of(facts, ollama);
        if unit.is_none() && scope == Scope::Service {
            continue;
        }
        for bundle in &ollama.bundles {
            if is_served(bundle) {
                found.push(child(host, unit, ollama, bundle)?);
            }
        }
    }
    Ok(found)
}

/// True for a backend of a CUDA line that we have libraries for.
pub(super) fn is_served(bundle: &Bundle) -> bool {
    bundle.cuda_major.is_some_and(|major| major == 12 || major == 13)
}

fn child<'a>(
    host: &dyn Host,
    unit: Option<&'a Unit>,
    ollama: &'a Ollama,
    bundle: &'a Bundle,
) -> Result<Child<'a>> {
    let mut ours = Vec::new();
    let mut groups = Vec::new();
    if let Some(unit) = unit {
        let text = crate::discover::text(host, &unit.drop_in_path)?;
        for line in assignments(&text).into_iter().filter(|line| line.section == "Service") {
            match line.key.as_str() {
                "Environment" => ours.extend(words(&line.value)),
                "SupplementaryGroups" => groups.extend(words(&line.value)),
                _ => {}
            }
        }
    }
    let environment = environment(unit, &ours, ollama, bundle);
    let plain = environment_of(unit, ollama, bundle);
    Ok(Child { ollama, bundle, unit, environment, plain, groups })
}

fn environment_of(unit: Option<&Unit>, ollama: &Ollama, bundle: &Bundle) -> Environment {
    environment(unit, &[], ollama, bundle)
}

/// The environment of a child: the unit's, our drop-in's, what systemd ranks above it (files of
/// variables, later drop-ins), and Ollama's own rule for `LD_LIBRARY_PATH`: its directories first,
/// then what was there.
fn environment(
    unit: Option<&Unit>,
    ours: &[String],
    ollama: &Ollama,
    bundle: &Bundle,
) -> Environment {
    let mut variables: Environment =
        vec![("PATH".into(), "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin".into())];
    if let Some(unit) = unit {
        for Variable { name, value, .. } in &unit.environment {
            put(&mut variables, name, value);
        }
        for (name, value) in ours.iter().filter_map(|word| word.split_once('=')) {
            put(&mut variables, name, value);
        }
        for Variable { name, value, .. } in &unit.outranking {
            put(&mut variables, name, value);
        }
    }
    let old = variables.iter().position(|(name, _)| name == "LD_LIBRARY_PATH");
    let old = old.map(|index| variables.remove(index).1);
    let mut path = ollama.library_dir.as_os_str().to_owned();
    let own = (ollama.layout == Layout::Directories).then(|| bundle.dir.as_os_str().to_owned());
    for further in own.into_iter().chain(old.filter(|old| !old.is_empty())) {
        path.push(":");
        path.push(further);
    }
    variables.push(("LD_LIBRARY_PATH".into(), path));
    variables
}

/// A specifier needs systemd to become a value. In lists, ours come first and have none: what the
/// unit had is left out, entry by entry.
fn put(variables: &mut Environment, name: &str, value: &str) {
    let mut entries = value.split(':').filter(|entry| !has_specifier(entry)).peekable();
    let is_list = name.starts_with("LD_") && entries.peek().is_some();
    if is_list || !has_specifier(value) {
        let whole = entries.collect::<Vec<_>>().join(":");
        variables.retain(|(known, _)| known != name);
        variables.push((name.into(), without_percent_pairs(&whole).into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discover;
    use crate::facts::SHIMS;
    use crate::host::memory::Memory;

    const UNIT: &str = "file /etc/systemd/system/ollama.service [Service]\\n\
        ExecStart=/usr/local/bin/ollama serve\\nUser=ollama\\nEnvironment=A=unit B=unit C=unit\\n\
        EnvironmentFile=/etc/default/ollama
        file /etc/default/ollama C=file
        file /etc/systemd/system/ollama.service.d/50-vgpu.conf [Service]\\n\
        Environment=LD_PRELOAD=/ours/a.so B=ours\\nSupplementaryGroups=vgpu
        file /usr/local/bin/ollama program
        file /usr/local/lib/ollama/cuda_v12/libggml-cuda.so backend
        file /usr/local/lib/ollama/cuda_v13/libggml-cuda.so backend
        file /usr/bin/ollama another
        file /usr/lib/ollama/cuda_v13/libggml-cuda.so backend";

    fn machine() -> Memory {
        let mut text = UNIT.to_owned();
        for name in SHIMS {
            text.push_str(&format!("\nfile /usr/lib/x86_64-linux-gnu/vgpu/{name} ours"));
        }
        Memory::described(&text)
    }

    #[test]
    fn every_backend_of_every_ollama_has_a_child_with_systemds_environment() {
        let host = machine();
        let facts = discover::facts(&host).unwrap();
        let all = |scope| children(&host, &facts, scope).unwrap();
        let dirs = |scope| -> Vec<String> {
            all(scope).iter().map(|child| child.bundle.dir.to_string()).collect()
        };
        let of_unit = ["/usr/local/lib/ollama/cuda_v12", "/usr/local/lib/ollama/cuda_v13"];
        assert_eq!(dirs(Scope::Service), of_unit);
        assert_eq!(dirs(Scope::Bundle), [&of_unit[..], &["/usr/lib/ollama/cuda_v13"]].concat());
        let first = &all(Scope::Service)[0];
        let value = |environment: &Environment, name: &str| {
            let known = environment.iter().find(|(known, _)| known == name);
            known.map(|(_, value)| value.to_str().unwrap().to_owned())
        };
        let of = |name| value(&first.environment, name);
        assert_eq!(of("A").as_deref(), Some("unit"));
        assert_eq!(of("B").as_deref(), Some("ours"));
        assert_eq!(of("C").as_deref(), Some("file"), "a file outranks the unit and us");
        assert_eq!(of("LD_PRELOAD").as_deref(), Some("/ours/a.so"));
        assert_eq!(value(&first.plain, "LD_PRELOAD"), None);
        assert_eq!(value(&first.plain, "B").as_deref(), Some("unit"));
        let path = "/usr/local/lib/ollama:/usr/local/lib/ollama/cuda_v12";
        assert_eq!(of("LD_LIBRARY_PATH").as_deref(), Some(path));
        assert_eq!(first.groups, ["vgpu"]);
    }
}
