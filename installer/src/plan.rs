//! From facts and policy to a plan: a pure function.
//!
//! Invariant: nothing here looks at a machine, so that any report can be replayed from its facts.
//! What is done already is planned as nothing.

mod paths;
pub mod sandbox;
mod warnings;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::facts::{
    Bundle, Facts, Libc, Manager, NVIDIA_SMI, Ollama, PciDevice, Runs, SHIMS, SMI, Unit,
};
use crate::ld_conf;
use crate::location::Location;
use crate::object::{Content, Object};
use crate::render;
use crate::step::Step;

/// The link's name that leaves it to our libraries to look for one.
pub const AUTOMATIC: &str = "auto";

/// How far the change reaches.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, JsonSchema, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// A drop-in of each unit that starts Ollama.
    #[default]
    Service,
    /// Links in Ollama's bundle directories.
    Bundle,
    /// The above as each Ollama needs it, and a line in ld.so's configuration for every other
    /// program.
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
    /// True if nobody asked for a scope: where no unit starts Ollama, the bundle's is taken.
    pub may_choose: bool,
    /// The way to the host, where it is to be named.
    pub link: Option<String>,
    /// True if the service is not to be restarted.
    pub no_restart: bool,
    /// True if what is refused for a person to decide was decided.
    pub force: bool,
}

/// Something that a person should know; it stops nothing.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
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
/// [`Error::Unsupported`], [`Error::ShimsMissing`], [`Error::RealDriver`], [`Error::Overridden`],
/// [`Error::Shared`], [`Error::Unserved`], [`Error::Outranked`], [`Error::NotIncluded`] or
/// [`Error::Changed`]: nothing can be done before a person has acted.
pub fn plan(facts: &Facts, policy: &Policy) -> Result<Plan> {
    check(facts, policy)?;
    let scope = scope(facts, policy);
    let mut plan = Plan { scope, ..Plan::default() };
    let served: Vec<&Unit> = facts.units.iter().filter(|unit| is_reached(unit)).collect();
    let mut restarts = Vec::new();
    if scope != Scope::Bundle {
        let mut drop_ins = DropIns::new();
        for unit in &served {
            plan.service(facts, policy, unit, &mut drop_ins)?;
        }
        let is_changed =
            |unit: &Unit| plan.steps.iter().any(|step| step.path() == Some(&unit.drop_in_path));
        restarts.extend(served.iter().copied().filter(|unit| is_changed(unit)));
    }
    let reloads = restarts.clone();
    for ollama in &facts.ollamas {
        let unit = unit_of(facts, ollama);
        if ollama.source.is_sealed() {
            continue;
        }
        if scope == Scope::Service || (scope == Scope::System && unit.is_some()) {
            continue;
        }
        let before = plan.steps.len();
        for bundle in &ollama.bundles {
            plan.bundle(facts, bundle)?;
        }
        let changed = plan.steps.len() > before;
        restarts.extend(served.iter().filter(|known| changed && unit == Some(known)));
    }
    if scope == Scope::System {
        plan.cache(facts)?;
    }
    plan.smi(facts)?;
    plan.steps.extend(managers(&reloads).map(|user| Step::DaemonReload { user }));
    if plan.is_cache_due(facts) {
        plan.steps.push(Step::Ldconfig);
    }
    if !policy.no_restart {
        plan.steps.extend(
            restarts
                .iter()
                // A template is nothing that runs: its instances are, and nobody named one.
                .filter(|unit| !unit.name.contains("@."))
                .map(|unit| Step::Restart { unit: unit.name.clone(), user: user_of(unit) }),
        );
    }
    plan.warnings = warnings::all(facts, policy, scope);
    if policy.no_restart {
        plan.warnings.extend(restarts.iter().map(|unit| warnings::pending(unit)));
    }
    Ok(plan)
}

/// The text of each drop-in, with the first unit that needs it.
type DropIns<'a> = BTreeMap<&'a Location, (&'a Unit, String)>;

/// A unit by its name and whose it is.
fn described(unit: &Unit) -> String {
    match &unit.manager {
        Manager::System => unit.name.clone(),
        Manager::User(user) => format!("{} of {user} ({})", unit.name, unit.fragment),
    }
}

/// True if a drop-in of the unit reaches an Ollama.
fn is_reached(unit: &Unit) -> bool {
    !unit.masked && unit.runs == Runs::Ollama
}

/// The scope that is taken: the one asked for; by default the service's, and where no unit starts
/// an Ollama that is there, the bundle's.
fn scope(facts: &Facts, policy: &Policy) -> Scope {
    let has_bundle = facts.ollamas.iter().any(|ollama| ollama.bundles.iter().any(is_served));
    let has_unit = facts.units.iter().any(|unit| unit.masked || is_reached(unit));
    if policy.may_choose && !has_unit && has_bundle {
        return Scope::Bundle;
    }
    policy.scope
}

/// The unit that starts an Ollama.
#[must_use]
pub fn unit_of<'a>(facts: &'a Facts, ollama: &Ollama) -> Option<&'a Unit> {
    let mut units = facts.units.iter().filter(|unit| !unit.masked);
    units.find(|unit| unit.program.as_ref() == Some(&ollama.executable))
}

fn user_of(unit: &Unit) -> Option<String> {
    match &unit.manager {
        Manager::System => None,
        Manager::User(name) => Some(name.clone()),
    }
}

/// The managers of some units, each once.
fn managers(units: &[&Unit]) -> impl Iterator<Item = Option<String>> {
    let mut users: Vec<Option<String>> = units.iter().map(|unit| user_of(unit)).collect();
    users.sort();
    users.dedup();
    users.into_iter()
}

fn check(facts: &Facts, policy: &Policy) -> Result<()> {
    if facts.platform.libc == Libc::Musl {
        let what = "the C library is musl, and our libraries need glibc 2.28 or newer".into();
        return Err(Error::Unsupported { what });
    }
    if facts.platform.arch.is_empty() {
        let what = "neither an x86-64 nor an AArch64 system was found".into();
        return Err(Error::Unsupported { what });
    }
    if let (Some(device), false) = (real_device(facts), policy.force) {
        return Err(Error::RealDriver { device: device.address.clone() });
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

/// A GPU that NVIDIA's driver serves here, which our libraries would hide from Ollama. sysfs shows
/// a container the devices of its host; without the driver's node they are not the container's.
#[must_use]
pub fn real_device(facts: &Facts) -> Option<&PciDevice> {
    let is_elsewhere = facts.platform.container.is_some() && !facts.guest.nvidia_node;
    let mut devices = facts.guest.devices.iter().filter(|_| !is_elsewhere);
    devices.find(|device| device.driver.as_deref() == Some("nvidia") && !device.is_stub())
}

impl Plan {
    /// True if nothing is to be done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    fn service<'a>(
        &mut self,
        facts: &Facts,
        policy: &Policy,
        unit: &'a Unit,
        drop_ins: &mut DropIns<'a>,
    ) -> Result<()> {
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
        let link = link.filter(|link| *link != AUTOMATIC);
        let passage = sandbox::passage(facts, unit, link)?;
        let text = render::drop_in(facts, unit, link, &passage)?;
        // The drop-ins of all users lie in one directory: units of one name share theirs.
        match drop_ins.get(&unit.drop_in_path) {
            Some((_, known)) if *known == text => return Ok(()),
            Some((other, _)) => {
                let (path, units) =
                    (unit.drop_in_path.clone(), [described(other), described(unit)]);
                return Err(Error::Shared { path, units });
            }
            None => drop_ins.insert(&unit.drop_in_path, (unit, text.clone())),
        };
        self.make_dirs(&unit.missing_dirs);
        let content = Content::File { mode: 0o644, text };
        self.put(&unit.drop_in_path, &unit.drop_in, content)
    }

    fn bundle(&mut self, facts: &Facts, bundle: &Bundle) -> Result<()> {
        for entry in &bundle.entries {
            let path: Location = bundle.dir.join(&entry.name).into();
            // A CUDA line that we have no libraries for is warned of, and left as it is.
            if is_served(bundle) && is_asked_for(bundle, &entry.name) {
                let target = facts.shims.dir.join(&entry.name).into();
                self.put(&path, &entry.object, Content::Link { target })?;
            } else if is_link_of_ours(&entry.object) {
                let before = entry.object.clone();
                self.steps.push(Step::RemoveFile { path, before });
            }
        }
        Ok(())
    }

    /// The name `nvidia-smi`, for those who look for it; a program of that name that is there, or
    /// comes later, is not hidden.
    fn smi(&mut self, facts: &Facts) -> Result<()> {
        let smi = &facts.smi;
        let path = Location::from(NVIDIA_SMI);
        match (smi.others.is_empty(), smi.is_linked()) {
            (true, false) if smi.program && smi.link.is_absent() => {
                self.make_dirs(&smi.missing_dirs);
                self.put(&path, &smi.link, Content::Link { target: SMI.into() })
            }
            (false, true) => {
                self.steps.push(Step::RemoveFile { path, before: smi.link.clone() });
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Our line in ld.so's configuration. It is refused where it would have no effect: a change
    /// that does nothing must not look like one that does.
    fn cache(&mut self, facts: &Facts) -> Result<()> {
        let cache = &facts.ld_cache;
        if !cache.is_included {
            return Err(Error::NotIncluded { path: ld_conf::OURS.into() });
        }
        if let Some(rival) = cache.rivals.first() {
            let (name, path) = (rival.name.clone(), rival.path.clone());
            return Err(Error::Outranked { name, path, conf: rival.conf.clone() });
        }
        self.make_dirs(&cache.missing_dirs);
        let text = render::ld_conf(&facts.shims.dir)?;
        self.put(&ld_conf::OURS.into(), &cache.conf, Content::File { mode: 0o644, text })
    }

    /// True if ldconfig has to run: our line is new, or the cache does not know it yet although
    /// it could.
    fn is_cache_due(&self, facts: &Facts) -> bool {
        let is_new = self.steps.iter().any(|step| {
            step.path().is_some_and(|path| path.as_ref() == std::path::Path::new(ld_conf::OURS))
        });
        let is_stale = facts.ld_cache.is_running && !facts.ld_cache.is_current;
        self.scope == Scope::System && (is_new || is_stale)
    }

    fn make_dirs(&mut self, missing: &[Location]) {
        for dir in missing {
            let step = Step::MakeDir { path: dir.clone(), mode: 0o755 };
            // Two units may share what is missing on the way to their drop-ins.
            if !self.steps.contains(&step) {
                self.steps.push(step);
            }
        }
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

/// True for a link into a private directory of ours, of this or of another layout.
fn is_link_of_ours(object: &Object) -> bool {
    let Object::Link { target, .. } = object else { return false };
    let name = target.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let dir =
        target.parent().filter(|dir| dir.starts_with("/usr/lib") || dir.starts_with("/usr/lib64"));
    SHIMS.contains(&name) && dir.is_some_and(|dir| dir.ends_with("vgpu"))
}

/// True for a name of ours that a backend of this CUDA line asks for.
fn is_asked_for(bundle: &Bundle, name: &str) -> bool {
    let of_line = |major| name.strip_suffix(&format!(".so.{major}")).is_some();
    let is_driver = matches!(name, "libcuda.so.1" | "libnvidia-ml.so.1");
    SHIMS.contains(&name) && (is_driver || bundle.cuda_major.is_some_and(of_line))
}

/// True if we have a runtime for the bundle's CUDA line.
fn is_served(bundle: &Bundle) -> bool {
    bundle.cuda_major.is_some_and(|major| SHIMS.contains(&format!("libcudart.so.{major}").as_str()))
}
