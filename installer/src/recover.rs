//! After a crash: undoes what was not committed, finishes what was.

use crate::apply;
use crate::error::Result;
use crate::host::Host;
use crate::journal::{Journal, Record};
use crate::rollback;
use crate::state;

/// What recovering did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recovered {
    /// Nothing had been interrupted.
    Nothing,
    /// An apply was undone; these paths were changed by others meanwhile and left.
    Undone(Vec<String>),
    /// An apply had been committed and was finished.
    Finished,
    /// A rollback was carried to its end; these paths were changed by others and left.
    RolledBack(Vec<String>),
}

/// Says what was interrupted; none if nothing was.
///
/// # Errors
/// [`crate::Error::Io`] if the machine cannot be looked at.
pub fn interrupted(host: &dyn Host) -> Result<Option<&'static str>> {
    if !host.inspect(crate::journal::PATH.as_ref())?.is_absent() {
        return Ok(Some("its journal is still there"));
    }
    Ok(state::is_half_made(host)?.then_some("the state directory is half made"))
}

/// Undoes or finishes an interrupted transaction; may be called again, also after a crash of its
/// own.
///
/// # Errors
/// [`crate::Error::Record`] if the journal is damaged; [`crate::Error::Io`] if the machine refuses.
pub fn recover(host: &dyn Host) -> Result<Recovered> {
    let Some(mut journal) = Journal::interrupted(host)? else {
        if !state::is_half_made(host)? {
            return Ok(Recovered::Nothing);
        }
        state::mend(host)?;
        return Ok(Recovered::Undone(Vec::new()));
    };
    let committed = journal.records.iter().any(|record| matches!(record, Record::Commit { .. }));
    match journal.records.first() {
        Some(Record::Rollback { .. }) => {
            let done = rollback::resume(host, &mut journal)?;
            Ok(Recovered::RolledBack(done.left))
        }
        Some(Record::Apply { .. }) if committed => {
            apply::finish(host, &journal)?;
            Ok(Recovered::Finished)
        }
        _ => apply::abandon(host, &journal).map(Recovered::Undone),
    }
}
