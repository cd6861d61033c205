//! What every check is given: the machine, its facts, and what several checks would ask again.

use super::children::Children;
use crate::cli::Options;
use crate::facts::Facts;
use crate::host::Host;

/// One machine under examination.
pub struct Scene<'a> {
    /// The machine.
    pub host: &'a dyn Host,
    /// Its facts.
    pub facts: &'a Facts,
    /// The command's options.
    pub options: &'a Options,
    /// What children of the doctor saw.
    pub(in crate::doctor) children: Children,
}

impl<'a> Scene<'a> {
    /// A scene in which nothing was asked yet.
    #[must_use]
    pub fn new(host: &'a dyn Host, facts: &'a Facts, options: &'a Options) -> Self {
        Self { host, facts, options, children: Children::default() }
    }
}
