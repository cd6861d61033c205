//! The name of an instruction with its modifiers. Each modifier has to be understood by somebody:
//! one that is not makes the instruction unknown.

use super::{Decoded, Kind, unknown};

/// A name, and which of its parts were understood.
pub(super) struct Name<'a> {
    whole: &'a str,
    parts: Vec<&'a str>,
    understood: u64,
}

impl<'a> Name<'a> {
    /// Takes a name apart.
    pub fn read(name: &'a str) -> Self {
        Self { whole: name, parts: name.split('.').take(64).collect(), understood: 1 }
    }

    /// What stands before the first dot.
    pub fn operation(&self) -> &'a str {
        self.parts[0]
    }

    /// The whole name, to be read once more.
    pub fn whole(&self) -> &'a str {
        self.whole
    }

    /// Takes a modifier; says whether it is there.
    pub fn take(&mut self, modifier: &str) -> bool {
        self.take_of(&[modifier]).is_some()
    }

    /// Takes the first of some modifiers that is there.
    pub fn take_of(&mut self, modifiers: &[&str]) -> Option<&'a str> {
        let at = (1..self.parts.len())
            .find(|&at| self.understood >> at & 1 == 0 && modifiers.contains(&self.parts[at]))?;
        self.understood |= 1 << at;
        Some(self.parts[at])
    }

    /// Takes modifiers that make no difference here.
    pub fn ignore(&mut self, modifiers: &[&str]) {
        while self.take_of(modifiers).is_some() {}
    }

    /// Takes modifiers that begin so and make no difference here.
    pub fn ignore_prefixed(&mut self, prefix: &str) {
        for at in 1..self.parts.len() {
            if self.parts[at].starts_with(prefix) {
                self.understood |= 1 << at;
            }
        }
    }

    /// Takes the next type.
    pub fn kind(&mut self) -> Decoded<Kind> {
        for at in 1..self.parts.len() {
            if self.understood >> at & 1 == 0
                && let Some(kind) = Kind::read(self.parts[at])
            {
                self.understood |= 1 << at;
                return Ok(kind);
            }
        }
        unknown("")
    }

    /// Takes all parts that are not understood yet.
    pub fn rest(&mut self) -> Vec<&'a str> {
        let left = (1..self.parts.len()).filter(|at| self.understood >> at & 1 == 0);
        let left = left.map(|at| self.parts[at]).collect();
        self.understood = u64::MAX;
        left
    }

    /// Makes sure that every part was understood.
    pub fn finish(&self) -> Decoded<()> {
        match (1..self.parts.len()).all(|at| self.understood >> at & 1 == 1) {
            true => Ok(()),
            false => unknown(""),
        }
    }
}
