//! Looking again after Ollama, a driver or our own package changed.
//!
//! It is run by `vgpu-refresh.path` and by package scripts, so it never fights: what a person
//! edited or removed is named and left, and only what an upgrade makes stale is made anew.

use std::collections::BTreeMap;

use crate::answer::Answer;
use crate::cli::{Options, ScopeName};
use crate::commands;
use crate::error::Result;
use crate::host::Host;
use crate::location::Location;
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
    let (mut code, mut changed, mut left) = (0, false, Vec::new());
    for scope in scopes(&generations) {
        let options = Options { scope: Some(named(scope)), ..options.clone() };
        let edited = edited(host, &generations, scope)?;
        answer.changed = false;
        if edited.is_empty() {
            code = commands::applying(host, &options, answer)?.max(code);
        } else {
            code = DRIFT;
        }
        left.extend(edited);
        if !answer.changed && !options.check {
            commands::verifying(host, &options, answer)?;
        }
        changed |= answer.changed;
    }
    answer.changed = changed;
    answer.warnings.extend(left.into_iter().map(|path| {
        let hint = "vgpu-install makes it anew; vgpu-install --rollback ends all of it";
        Warning::new("drift", format!("{path} was changed by others and was left"), hint)
    }));
    Ok(code)
}

/// The scopes in force, each once, in the order in which they came.
fn scopes(generations: &[Manifest]) -> Vec<Scope> {
    let mut scopes = Vec::new();
    for manifest in generations {
        if !scopes.contains(&manifest.scope) {
            scopes.push(manifest.scope);
        }
    }
    scopes
}

/// Paths of a scope that no longer hold what we put there and are for people to edit. Links in
/// Ollama's directories are not: its own upgrade wipes them, and that is no person's wish.
fn edited(host: &dyn Host, generations: &[Manifest], scope: Scope) -> Result<Vec<Location>> {
    if scope == Scope::Bundle {
        return Ok(Vec::new());
    }
    let mut latest: BTreeMap<&Location, &Step> = BTreeMap::new();
    for manifest in generations.iter().filter(|manifest| manifest.scope == scope) {
        let steps = manifest.changes.iter().map(|change| &change.step);
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

fn named(scope: Scope) -> ScopeName {
    match scope {
        Scope::Service => ScopeName::Service,
        Scope::Bundle => ScopeName::Bundle,
        Scope::System => ScopeName::System,
    }
}
