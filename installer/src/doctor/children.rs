//! What the doctor's own children saw, as the service's user and with the environment of Ollama's
//! children. Each is started once, however many checks ask.

mod listing;

use std::cell::OnceCell;
use std::ffi::OsString;
use std::time::Duration;

use serde::de::DeserializeOwned;

pub(in crate::doctor) use listing::Listing;

use super::{Finding, Scene};
use crate::account;
use crate::error::Result;
use crate::facts::{Bundle, Ollama, Unit};
use crate::host::{Host, Outcome, Program, User};
use crate::plan::Scope;
use crate::probe::api::ApiSeen;
use crate::probe::link::LinkSeen;
use crate::verify::{self, Child};

/// How long a look at the link may take: a second for each handshake, ten for the answers.
const LINK_DEADLINE: Duration = Duration::from_secs(20);
/// How long a look at the API may take: 64 MiB go both ways three times, over any link.
const API_DEADLINE: Duration = Duration::from_secs(60);

/// What one child saw, or why it saw nothing.
pub(in crate::doctor) struct Seen<T> {
    /// Who looked, for people.
    pub(in crate::doctor) place: String,
    /// The unit whose user and environment it had.
    pub(in crate::doctor) unit: Option<Unit>,
    /// What it saw, or what looking needs.
    pub(in crate::doctor) found: std::result::Result<T, String>,
    /// What it, or a library in it, said on standard error.
    pub(in crate::doctor) said: String,
}

/// Everything that children saw.
#[derive(Default)]
pub struct Children {
    link: OnceCell<Vec<Seen<LinkSeen>>>,
    api: OnceCell<Vec<Seen<ApiSeen>>>,
    listings: OnceCell<Vec<Seen<Listing>>>,
}

/// Why no child is started on this host.
pub(in crate::doctor) fn refused(scene: &Scene<'_>) -> Option<Finding> {
    let foreign = "needs the running machine: no child is started for a foreign root";
    (!scene.host.is_running()).then(|| Finding::skipped(foreign))
}

/// What each unit's user sees of the way to the host; without a unit, what this user sees.
pub(in crate::doctor) fn link<'s>(scene: &'s Scene<'_>) -> Result<&'s [Seen<LinkSeen>]> {
    if let Some(known) = scene.children.link.get() {
        return Ok(known);
    }
    let mut seen: Vec<Seen<LinkSeen>> = Vec::new();
    for child in listed(scene)? {
        let name = |unit: Option<&Unit>| unit.map(|unit| unit.command(""));
        if seen.iter().any(|known| name(known.unit.as_ref()) == name(child.unit)) {
            continue;
        }
        let arguments = ["examine", "link"].map(OsString::from);
        seen.push(look(scene, Some(&child), arguments.into(), LINK_DEADLINE)?);
    }
    if seen.is_empty() {
        let arguments = ["examine", "link"].map(OsString::from);
        seen.push(look(scene, None, arguments.into(), LINK_DEADLINE)?);
    }
    Ok(scene.children.link.get_or_init(|| seen))
}

/// What each unit's user sees of the API, by the libraries that each bundle leads to.
pub(in crate::doctor) fn api<'s>(scene: &'s Scene<'_>) -> Result<&'s [Seen<ApiSeen>]> {
    if let Some(known) = scene.children.api.get() {
        return Ok(known);
    }
    let mut seen = Vec::new();
    for child in listed(scene)? {
        let major = child.bundle.cuda_major.unwrap_or_default().to_string();
        let arguments = ["examine", "api", "--major", &major].map(OsString::from);
        seen.push(look(scene, Some(&child), arguments.into(), API_DEADLINE)?);
    }
    Ok(scene.children.api.get_or_init(|| seen))
}

/// What Ollama's own children say: its discovery, without the server.
pub(in crate::doctor) fn listings<'s>(scene: &'s Scene<'_>) -> Result<&'s [Seen<Listing>]> {
    if let Some(known) = scene.children.listings.get() {
        return Ok(known);
    }
    let mut seen = Vec::new();
    for child in listed(scene)? {
        seen.push(listing::of(scene.host, &child)?);
    }
    Ok(scene.children.listings.get_or_init(|| seen))
}

fn listed<'s>(scene: &'s Scene<'_>) -> Result<Vec<Child<'s>>> {
    if !scene.host.is_running() {
        return Ok(Vec::new());
    }
    verify::children(scene.host, scene.facts, Scope::Bundle)
}

fn place(unit: Option<&Unit>, of: Option<(&Ollama, &Bundle)>) -> String {
    let who = match unit {
        Some(unit) => {
            let user = unit.runs_as();
            format!("a child of the doctor, as {user} with the environment of {}", unit.name)
        }
        None => "a child of the doctor, as this user".to_owned(),
    };
    of.map_or(who.clone(), |(_, bundle)| format!("{who} and {}", bundle.dir))
}

/// The user of a child; none is this one. In the inner error what becoming it needs.
fn user(
    host: &dyn Host,
    child: Option<&Child<'_>>,
) -> Result<std::result::Result<Option<User>, String>> {
    let Some((child, unit)) = child.and_then(|child| Some((child, child.unit?))) else {
        return Ok(Ok(None));
    };
    Ok(account::of(host, unit, &child.groups)?
        .map_err(|name| format!("needs {name}, which is in no account file")))
}

fn look<T: DeserializeOwned>(
    scene: &Scene<'_>,
    child: Option<&Child<'_>>,
    arguments: Vec<OsString>,
    deadline: Duration,
) -> Result<Seen<T>> {
    let unit = child.and_then(|child| child.unit);
    let place = place(unit, child.map(|child| (child.ollama, child.bundle)));
    let mut environment = child.map(|child| child.environment.clone()).unwrap_or_default();
    if let (None, Some(link)) = (child, &scene.options.link) {
        environment.push(("VGPU_LINK".into(), link.into()));
    }
    // The libraries then print, at the end of the child, which of their functions are missing.
    environment.push(("VGPU_STATS".into(), "1".into()));
    let unit = unit.cloned();
    let user = match user(scene.host, child)? {
        Ok(user) => user,
        Err(needs) => return Ok(Seen { place, unit, found: Err(needs), said: String::new() }),
    };
    let program = Program { path: "/".into(), arguments, environment, deadline };
    let outcome = scene.host.run_self(user.as_ref(), &program)?;
    let said = String::from_utf8_lossy(&outcome.stderr).into_owned();
    let found = match serde_json::from_slice(&outcome.stdout) {
        Ok(found) if outcome.status == Some(0) => Ok(found),
        _ => Err(ended(&outcome, deadline)),
    };
    Ok(Seen { place, unit, found, said })
}

/// How a child ended that gave no answer.
fn ended(outcome: &Outcome, deadline: Duration) -> String {
    let said = String::from_utf8_lossy(&outcome.stderr);
    let last = said.trim().lines().last().unwrap_or("nothing");
    if said.contains("changing to the service's user") {
        return format!("needs root, to become the service's user: {last}");
    }
    match (outcome.timed_out, outcome.signal) {
        (true, _) => format!("needs an answer of its child within {} s", deadline.as_secs()),
        (_, Some(signal)) => format!("signal {signal} ended the child, which said: {last}"),
        _ => format!("the child ended with {:?} and said: {last}", outcome.status),
    }
}
