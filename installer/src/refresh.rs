//! Looking again after Ollama, a driver or our own package changed.
//!
//! It is run by `vgpu-refresh.path` and by package scripts, so it never fights: what a person
//! edited or removed is named and left, and only what an upgrade makes stale is made anew.

use std::collections::BTreeMap;
use std::path::Path;

use crate::answer::Answer;
use crate::cli::{Options, ScopeName};
use crate::commands;
use crate::error::Result;
use crate::facts::NVIDIA_SMI;
use crate::host::Host;
use crate::location::Location;
use crate::object::Content;
use crate::plan::{Scope, Warning};
use crate::state::{self, Manifest};
use crate::step::Step;

/// Exit code where something of ours was changed by others and left.
const DRIFT: u8 = 3;

/// Brings each scope that is in force up to date and verifies it; without a generation in force
/// it does nothing.
///
/// # Errors
/// As apply and verify.
pub fn run(host: &dyn Host, options: &Options, answer: &mut Answer) -> Result<u8> {
    commands::refuse_interrupted(host)?;
    let generations = state::generations(host)?;
    if generations.is_empty() {
        answer.lines.push("nothing to do: no generation is in force".into());
        return Ok(0);
    }
    let (mut code, mut changed, mut left) = (0, 0, Vec::new());
    let scopes = state::scopes(&generations);
    for scope in &scopes {
        let options = Options { scope: Some(named(*scope)), ..options.clone() };
        let edited = edited(host, &generations, *scope)?;
        answer.changed = false;
        if edited.is_empty() {
            code = commands::applying(host, &options, answer)?.max(code);
        } else {
            code = DRIFT;
        }
        left.extend(edited);
        changed += usize::from(answer.changed);
    }
    answer.changed = changed > 0;
    answer.lines.dedup();
    // An apply verified its own scope.
    if changed < scopes.len() && !options.check {
        commands::verifying(host, &Options { scope: None, ..options.clone() }, answer)?;
    }
    for path in left.iter().map(Location::to_string) {
        // A verification has named what else is not as we left it.
        answer.warnings.retain(|known| !(known.code == "drift" && known.what.contains(&path)));
        let hint = "vgpu-install makes it anew; vgpu-install --rollback ends all of it";
        let what = format!("{path} was changed by others and was left");
        answer.warnings.push(Warning::new("drift", what, hint));
    }
    Ok(code)
}

/// Paths of a scope that no longer hold what we put there and are for people to edit. Links in
/// Ollama's directories are not: its own upgrade wipes them, and that is no person's wish.
fn edited(host: &dyn Host, generations: &[Manifest], scope: Scope) -> Result<Vec<Location>> {
    if scope == Scope::Bundle {
        return Ok(Vec::new());
    }
    let mut latest: BTreeMap<&Location, &Step> = BTreeMap::new();
    let of_scope = |manifest: &&Manifest| manifest.scopes().any(|one| one == scope);
    for manifest in generations.iter().filter(of_scope) {
        let has_bundle = manifest.scopes().any(|one| one == Scope::Bundle);
        // A generation that was joined may hold the bundle's links beside this scope's paths.
        let is_own = |step: &&Step| !has_bundle || !is_bundle_link(step);
        let steps = manifest.changes.iter().map(|change| &change.step).filter(is_own);
        latest.extend(steps.filter_map(|step| Some((step.path()?, step))));
    }
    let mut edited = Vec::new();
    for (path, step) in latest {
        if let Some(content) = step.content()
            && !host.inspect(path)?.holds(&content)
        {
            edited.push(path.clone());
        }
    }
    Ok(edited)
}

/// True for a link in a directory of Ollama's: of what we link, only `nvidia-smi` lies elsewhere.
fn is_bundle_link(step: &Step) -> bool {
    let is_smi = step.path().is_some_and(|path| path.as_ref() == Path::new(NVIDIA_SMI));
    matches!(step.content(), Some(Content::Link { .. })) && !is_smi
}

/// A scope as the command line names it.
pub(crate) fn named(scope: Scope) -> ScopeName {
    match scope {
        Scope::Service => ScopeName::Service,
        Scope::Bundle => ScopeName::Bundle,
        Scope::System => ScopeName::System,
    }
}
