//! Scope `system`: does ld.so's cache lead every program to our files?

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::{Report, Verdict, same_file};
use crate::discover;
use crate::error::Result;
use crate::facts::{Facts, SHIMS};
use crate::host::Host;

pub(super) fn check(host: &dyn Host, facts: &Facts, report: &mut Report) -> Result<()> {
    if !facts.ld_cache.is_running {
        let what = "this is a foreign root: run ldconfig -X in it before it is used";
        report.add("cache", Verdict::Skipped, what);
        return Ok(());
    }
    let cache = discover::cache(host)?;
    for name in SHIMS {
        let first = cache.entries().iter().find(|entry| entry.name == name.as_bytes());
        let ours = facts.shims.dir.join(name);
        let fault = match first.map(|entry| Path::new(OsStr::from_bytes(&entry.path))) {
            Some(path) if same_file(host, path, &ours)? => continue,
            Some(path) => format!("ld.so's cache leads {name} to {}", path.display()),
            None => format!("ld.so's cache does not know {name}"),
        };
        report.add("cache", Verdict::Fail, fault);
        return Ok(());
    }
    let what = format!("ld.so's cache leads our {} names to {}", SHIMS.len(), facts.shims.dir);
    report.add("cache", Verdict::Ok, what);
    Ok(())
}
