//! Text from templates: the drop-in of Ollama's unit, and our line for ldconfig.

use std::path::Path;

use tera::{Context, Tera};

use crate::error::{Error, Result};
use crate::facts::{Facts, SHIMS, Unit};
use crate::location::Location;
use crate::plan::sandbox::Passage;
use crate::unit_file::quoted;

const DROP_IN: &str =
    include_str!("../../templates/etc/systemd/system/ollama.service.d/50-vgpu.conf.tera");
const DROP_IN_NAME: &str = "50-vgpu.conf";
const LD_CONF: &str = include_str!("../../templates/etc/ld.so.conf.d/00-vgpu.conf.tera");
const LD_CONF_NAME: &str = "00-vgpu.conf";

/// The runtime libraries that go by `LD_PRELOAD`: Ollama bundles copies of these.
fn preloaded() -> impl Iterator<Item = &'static str> {
    SHIMS.into_iter().filter(|name| name.contains("cudart") || name.contains("cublas"))
}

/// Renders the drop-in of a unit. Values that the unit has by now are kept behind ours.
///
/// # Errors
/// [`Error::Record`] if the template cannot be rendered.
pub fn drop_in(
    facts: &Facts,
    unit: &Unit,
    link: Option<&str>,
    passage: &Passage,
) -> Result<String> {
    let shims: &Path = &facts.shims.dir;
    let ours: Vec<String> =
        preloaded().map(|name| percent_pairs(&shims.join(name).to_string_lossy())).collect();
    let directory = percent_pairs(&shims.to_string_lossy());
    let assignment = |name: &str, value: &str| quoted(&format!("{name}={value}"));
    let mut context = Context::new();
    let library_path = merged(&[directory], &value(unit, "LD_LIBRARY_PATH"), &[':', ';']);
    context.insert("library_path", &assignment("LD_LIBRARY_PATH", &library_path));
    let preload = merged(&ours, &value(unit, "LD_PRELOAD"), &[':', ' ']);
    context.insert("preload", &assignment("LD_PRELOAD", &preload));
    let link = link.or(passage.link.as_deref());
    let link = link.map(|link| assignment("VGPU_LINK", &percent_pairs(link)));
    context.insert("link", &link);
    // A user's own systemd knows nothing of the system's units.
    let is_users = unit.manager != crate::facts::Manager::System;
    context.insert("guest_unit", &facts.guest_unit.as_ref().filter(|_| !is_users));
    context.insert("sandbox", &passage.lines);
    rendered(DROP_IN_NAME, DROP_IN, &context)
}

/// Renders our file for `/etc/ld.so.conf.d`.
///
/// # Errors
/// [`Error::Record`] if the template cannot be rendered.
pub fn ld_conf(shims: &Path) -> Result<String> {
    let mut context = Context::new();
    context.insert("directory", &shims.to_string_lossy());
    rendered(LD_CONF_NAME, LD_CONF, &context)
}

fn rendered(name: &str, template: &str, context: &Context) -> Result<String> {
    let wrong =
        |error: tera::Error| Error::Record { path: Location::from(name), what: error.to_string() };
    let mut tera = Tera::default();
    tera.add_raw_template(name, template).map_err(wrong)?;
    tera.render(name, context).map_err(wrong)
}

/// Ours first, then what was there, each entry once.
fn merged(ours: &[String], theirs: &str, separators: &[char]) -> String {
    let mut list = ours.to_vec();
    for entry in theirs.split(separators).filter(|entry| !entry.is_empty()) {
        if !list.iter().any(|known| known == entry) {
            list.push(entry.to_owned());
        }
    }
    list.join(":")
}

fn value(unit: &Unit, name: &str) -> String {
    let known = unit.environment.iter().find(|variable| variable.name == name);
    known.map_or_else(String::new, |variable| variable.value.clone())
}

fn percent_pairs(text: &str) -> String {
    text.replace('%', "%%")
}
