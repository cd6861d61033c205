//! Lines that did not go: the next one that goes is told how many they were.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::journal::Priority;

/// A line's fields.
type Fields<'a> = [(&'a str, String)];

/// Counts lines that did not go.
#[derive(Debug)]
pub(super) struct Lost {
    /// Those of which no line has told yet.
    untold: AtomicU64,
    all: AtomicU64,
}

impl Lost {
    /// None so far.
    pub const fn none() -> Self {
        Self { untold: AtomicU64::new(0), all: AtomicU64::new(0) }
    }

    /// Counts one.
    pub fn count(&self) {
        self.untold.fetch_add(1, Relaxed);
        self.all.fetch_add(1, Relaxed);
    }

    /// How many there were.
    pub fn total(&self) -> u64 {
        self.all.load(Relaxed)
    }

    /// Writes a line by `tell`, which says whether it went, and before it how many did not.
    pub fn tell(
        &self,
        tell: impl Fn(Priority, &str, &Fields<'_>) -> bool,
        priority: Priority,
        text: &str,
        fields: &Fields<'_>,
    ) {
        if !self.confess(&tell) || !tell(priority, text, fields) {
            self.count();
        }
    }

    /// Tells how many lines did not go, if there are such; false if that does not go either.
    pub fn confess(&self, tell: impl Fn(Priority, &str, &Fields<'_>) -> bool) -> bool {
        let untold = self.untold.swap(0, Relaxed);
        let counted = [("event", "lost-lines".to_owned()), ("count", untold.to_string())];
        let about = format!("lost-lines count={untold}");
        let told = untold == 0 || tell(Priority::Warning, &about, &counted);
        if !told {
            self.untold.fetch_add(untold, Relaxed);
        }
        told
    }
}
