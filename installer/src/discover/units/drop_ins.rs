//! Which drop-ins a unit has, and in what order.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::names::template_of;
use crate::discover::readable;
use crate::error::Result;
use crate::host::Host;

/// Most drop-ins of one unit that are read; a hostile root may have millions.
const FILES_MAX: usize = 1024;

/// Lists a unit's drop-ins in the order in which they are merged.
///
/// Directories are asked in the load path's order; in each, the unit's own comes before its
/// template's and those of its name's prefixes. The unit's aliases come after its name, and
/// `service.d` comes last.
pub(super) fn of(
    host: &dyn Host,
    dirs: &[PathBuf],
    name: &str,
    aliases: &[String],
) -> Result<Vec<PathBuf>> {
    let mut places = Vec::new();
    for name in std::iter::once(name).chain(aliases.iter().map(String::as_str)) {
        let below = directories(name);
        for dir in dirs {
            places.extend(below.iter().map(|below| dir.join(below)));
        }
    }
    places.extend(dirs.iter().map(|dir| dir.join("service.d")));
    conf_files(host, &places)
}

/// The directories for one name: `a-b@i.service.d`, `a-b@.service.d`, `a-.service.d`.
fn directories(name: &str) -> Vec<String> {
    let mut found = vec![format!("{name}.d")];
    if let Some(template) = template_of(name) {
        found.push(format!("{template}.d"));
    }
    let Some((stem, suffix)) = name.rsplit_once('.') else { return found };
    let (mut prefix, at) = match stem.split_once('@') {
        Some((prefix, _)) => (prefix, stem.find('@')),
        None => (stem, None),
    };
    let rest = at.map_or("", |at| &stem[at..]);
    // A dash at the end is the mark of such a directory, not another level.
    while let Some(dash) = prefix.trim_end_matches('-').rfind('-') {
        prefix = &prefix[..=dash];
        found.push(format!("{prefix}{rest}.{suffix}.d"));
        if !rest.is_empty() {
            found.push(format!("{prefix}@.{suffix}.d"));
        }
    }
    found
}

/// Lists `.conf` files by name; of one name the first directory's wins. Hidden ones do not count.
pub(super) fn conf_files(host: &dyn Host, dirs: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut found: BTreeMap<OsString, PathBuf> = BTreeMap::new();
    for dir in dirs {
        for file in readable(host.list(dir))?.unwrap_or_default() {
            let hidden = file.as_encoded_bytes().starts_with(b".");
            let is_conf = Path::new(&file).extension().is_some_and(|end| end == "conf");
            if is_conf && !hidden && found.len() < FILES_MAX {
                let path = dir.join(&file);
                found.entry(file).or_insert(path);
            }
        }
    }
    Ok(found.into_values().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_and_templates_have_directories_of_their_own() {
        assert_eq!(directories("ollama.service"), ["ollama.service.d"]);
        let expected = ["a-b-c.service.d", "a-b-.service.d", "a-.service.d"];
        assert_eq!(directories("a-b-c.service"), expected);
        let expected = ["a-b@i.service.d", "a-b@.service.d", "a-@i.service.d", "a-@.service.d"];
        assert_eq!(directories("a-b@i.service"), expected);
    }
}
