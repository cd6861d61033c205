//! From facts and policy to a plan: a pure function.
//!
//! Invariant: nothing here looks at a machine, so that any report can be replayed from its facts.
//! What is done already is planned as nothing.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::facts::{Bundle, Copy, Facts, Layout, Libc, Ollama, SCHEMA_VERSION, SHIMS, Unit};
use crate::location::Location;
use crate::object::{Content, Object};
use crate::render;
use crate::step::Step;

/// How far the change reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// One drop-in of Ollama's unit.
    #[default]
    Service,
    /// Links in Ollama's bundle directories.
    Bundle,
    /// Every process of the system.
    System,
}

impl Scope {
    /// The scope's name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Bundle => "bundle",
            Self::System => "system",
        }
    }
}

/// What the person asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// How far the change reaches.
    pub scope: Scope,
    /// The way to the host, where it is to be named.
    pub link: Option<String>,
    /// True if the service is not to be restarted.
    pub no_restart: bool,
}

/// Something that a person should know; it stops nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// A short name.
    pub code: String,
    /// What was seen.
    pub what: String,
    /// What to do.
    pub hint: String,
}

impl Warning {
    /// Makes a warning.
    pub fn new(code: &str, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { code: code.into(), what: what.into(), hint: hint.into() }
    }
}

/// What is to be done, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Plan {
    /// How far it reaches.
    pub scope: Scope,
    /// The steps.
    pub steps: Vec<Step>,
    /// What a person should know.
    pub warnings: Vec<Warning>,
}

/// Makes the plan.
///
/// # Errors
/// [`Error::Unsupported`], [`Error::ShimsMissing`], [`Error::Overridden`], [`Error::Changed`] or
/// [`Error::Later`]: nothing can be done before a person has acted.
pub fn plan(facts: &Facts, policy: &Policy) -> Result<Plan> {
    check(facts, policy)?;
    let mut plan = Plan { scope: policy.scope, ..Plan::default() };
    let served: Vec<&Unit> = facts.units.iter().filter(|unit| !unit.masked).collect();
    match policy.scope {
        Scope::Service => {
            for unit in &served {
                plan.service(facts, policy, unit)?;
            }
        }
        Scope::Bundle => {
            for bundle in facts.ollamas.iter().flat_map(|ollama| &ollama.bundles) {
                plan.bundle(facts, bundle)?;
            }
        }
        Scope::System => {}
    }
    if !plan.steps.is_empty() {
        if policy.scope == Scope::Service {
            plan.steps.push(Step::DaemonReload);
        }
        if !policy.no_restart {
            let restarts = served.iter().map(|unit| Step::Restart { unit: unit.name.clone() });
            plan.steps.extend(restarts);
        }
    }
    plan.warnings = warnings(facts, policy);
    Ok(plan)
}

fn check(facts: &Facts, policy: &Policy) -> Result<()> {
    if facts.schema_version != SCHEMA_VERSION {
        let what = format!(
            "facts of version {}, and this program reads {SCHEMA_VERSION}",
            facts.schema_version
        );
        return Err(Error::Unsupported { what });
    }
    if policy.scope == Scope::System {
        return Err(Error::Later { what: "scope system" });
    }
    if facts.platform.libc == Libc::Musl {
        let what = "the C library is musl, and our libraries need glibc 2.28 or newer".into();
        return Err(Error::Unsupported { what });
    }
    if facts.platform.arch.is_empty() {
        let what = "neither an x86-64 nor an AArch64 system was found".into();
        return Err(Error::Unsupported { what });
    }
    let missing =
        SHIMS.iter().find(|name| !facts.shims.libraries.iter().any(|shim| shim.name == **name));
    match missing {
        Some(name) => {
            let (dir, missing) = (facts.shims.dir.clone(), (*name).to_owned());
            Err(Error::ShimsMissing { dir, missing })
        }
        None => Ok(()),
    }
}

impl Plan {
    /// True if nothing is to be done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    fn service(&mut self, facts: &Facts, policy: &Policy, unit: &Unit) -> Result<()> {
        // What systemd ranks above us would leave the service half served: libcuda ours, the
        // runtime not, or the other way round.
        let decides = ["LD_LIBRARY_PATH", "LD_PRELOAD", "Environment"];
        let decides = |name: &str| decides.contains(&name);
        if let Some(variable) = unit.outranking.iter().find(|variable| decides(&variable.name)) {
            return Err(Error::Overridden {
                unit: unit.name.clone(),
                path: variable.set_by.clone(),
                variable: variable.name.clone(),
            });
        }
        let link = policy.link.as_deref().or(unit.link.as_deref());
        let text = render::drop_in(unit, &facts.shims.dir, link, facts.guest_unit.as_deref())?;
        for dir in &unit.missing_dirs {
            self.steps.push(Step::MakeDir { path: dir.clone(), mode: 0o755 });
        }
        let content = Content::File { mode: 0o644, text };
        self.put(&unit.drop_in_path, &unit.drop_in, content)
    }

    fn bundle(&mut self, facts: &Facts, bundle: &Bundle) -> Result<()> {
        for entry in &bundle.entries {
            // A CUDA line that we have no libraries for is warned of, and left as it is.
            if SHIMS.contains(&entry.name.as_str()) && is_served(bundle) {
                let target = facts.shims.dir.join(&entry.name).into();
                let path = bundle.dir.join(&entry.name).into();
                self.put(&path, &entry.object, Content::Link { target })?;
            }
        }
        Ok(())
    }

    fn put(&mut self, path: &Location, there: &Object, content: Content) -> Result<()> {
        let path = path.clone();
        self.steps.push(match (there, content) {
            (there, content) if there.holds(&content) => return Ok(()),
            (Object::Absent, Content::File { mode, text }) => Step::WriteFile { path, mode, text },
            (Object::Absent, Content::Link { target }) => Step::MakeLink { path, target },
            (Object::File { .. } | Object::Link { .. }, content) => {
                Step::Replace { path, before: there.clone(), content }
            }
            (Object::Dir { .. } | Object::Other { .. }, _) => {
                return Err(Error::Changed {
                    path,
                    expected: "a file, a link or nothing".into(),
                    found: there.describe(),
                });
            }
        });
        Ok(())
    }
}

/// True if we have a runtime for the bundle's CUDA line.
fn is_served(bundle: &Bundle) -> bool {
    bundle.cuda_major.is_some_and(|major| SHIMS.contains(&format!("libcudart.so.{major}").as_str()))
}

fn warnings(facts: &Facts, policy: &Policy) -> Vec<Warning> {
    let mut found = Vec::new();
    let mut warn =
        |code: &str, what: String, hint: &str| found.push(Warning::new(code, what, hint));
    if facts.ollamas.is_empty() {
        let what = "no Ollama was found in /usr/local, /usr or by its unit";
        warn("no_ollama", what.into(), "install Ollama, then run vgpu-install again");
    }
    for unit in facts.units.iter().filter(|unit| unit.masked) {
        let what = format!("{} is masked and was left alone", unit.name);
        warn("masked", what, "run systemctl unmask, then vgpu-install again");
    }
    if policy.scope == Scope::Service && facts.units.is_empty() && !facts.ollamas.is_empty() {
        let what = "Ollama has no systemd unit here".into();
        warn("no_unit", what, "use --scope bundle, which needs none");
    }
    for Ollama { library_dir, layout, bundles, .. } in &facts.ollamas {
        if *layout == Layout::None {
            let what = format!("the Ollama in {library_dir} has no CUDA backend");
            warn("no_backend", what, "install Ollama with CUDA support");
        }
        for bundle in bundles.iter().filter(|bundle| !is_served(bundle)) {
            let line = bundle
                .cuda_major
                .map_or("an unknown CUDA line".into(), |major| format!("CUDA {major}"));
            let what = format!("the backend in {} is for {line}; 12 and 13 are served", bundle.dir);
            warn("cuda_line", what, "update Ollama");
        }
    }
    let other = |copy: &&Copy| copy.is_of_driver() && copy.asked.is_some() && !copy.ours;
    for copy in facts.libraries.iter().filter(other) {
        let what = format!("another {} is installed: {}", copy.name, copy.file);
        warn("driver", what, "nothing to do: Ollama's service takes ours, all else keeps it");
    }
    found
}
