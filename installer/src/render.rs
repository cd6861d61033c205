//! Text from templates: the drop-in of Ollama's unit.

use std::path::Path;

use tera::{Context, Tera};

use crate::error::{Error, Result};
use crate::facts::{SHIMS, Unit};
use crate::location::Location;
use crate::unit_file::quoted;

const DROP_IN: &str =
    include_str!("../../templates/etc/systemd/system/ollama.service.d/50-vgpu.conf.tera");
const DROP_IN_NAME: &str = "50-vgpu.conf";

/// The runtime libraries that go by `LD_PRELOAD`: Ollama bundles copies of these.
fn preloaded() -> impl Iterator<Item = &'static str> {
    SHIMS.into_iter().filter(|name| name.contains("cudart") || name.contains("cublas"))
}

/// Renders the drop-in of a unit. Values that the unit has by now are kept behind ours.
///
/// # Errors
/// [`Error::Record`] if the template cannot be rendered.
pub fn drop_in(
    unit: &Unit,
    shims: &Path,
    link: Option<&str>,
    guest_unit: Option<&str>,
) -> Result<String> {
    let ours: Vec<String> =
        preloaded().map(|name| percent_pairs(&shims.join(name).to_string_lossy())).collect();
    let directory = percent_pairs(&shims.to_string_lossy());
    let assignment = |name: &str, value: &str| quoted(&format!("{name}={value}"));
    let mut context = Context::new();
    let library_path = merged(&[directory], &value(unit, "LD_LIBRARY_PATH"), &[':', ';']);
    context.insert("library_path", &assignment("LD_LIBRARY_PATH", &library_path));
    let preload = merged(&ours, &value(unit, "LD_PRELOAD"), &[':', ' ']);
    context.insert("preload", &assignment("LD_PRELOAD", &preload));
    let link = link.map(|link| assignment("VGPU_LINK", &percent_pairs(link)));
    context.insert("link", &link);
    context.insert("guest_unit", &guest_unit);
    let mut tera = Tera::default();
    let wrong = |error: tera::Error| Error::Record {
        path: Location::from(DROP_IN_NAME),
        what: error.to_string(),
    };
    tera.add_raw_template(DROP_IN_NAME, DROP_IN).map_err(wrong)?;
    tera.render(DROP_IN_NAME, &context).map_err(wrong)
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
