//! Users and groups of this machine, by number or by name.

use std::fmt;

use serde::Deserialize;

/// Where users are named: passwd(5).
pub(super) const USERS: &str = "/etc/passwd";

/// Where groups are named: group(5).
pub(super) const GROUPS: &str = "/etc/group";

/// A user or a group.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "a number, or a name in quotes")]
pub(super) enum Account {
    Number(u32),
    Name(String),
}

/// An account that this machine does not have.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{file} has no {account}")]
pub(crate) struct NoAccount {
    /// Where it was looked for.
    pub file: &'static str,
    /// The account as written.
    pub account: String,
}

impl NoAccount {
    /// Gives the remedy, as one whole sentence.
    pub fn hint(&self) -> &'static str {
        "Create the account, correct its name, or write its number."
    }
}

impl Account {
    /// Finds the number of an account in a file; a number stands for itself, also where it has no
    /// name.
    pub fn number(&self, file: &'static str) -> Result<u32, NoAccount> {
        match self {
            Self::Number(number) => Ok(*number),
            Self::Name(name) => {
                find(file, name).ok_or_else(|| NoAccount { file, account: self.to_string() })
            }
        }
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Name(name) => write!(f, "\"{name}\""),
        }
    }
}

/// Finds the number of a name.
pub(super) fn find(file: &str, name: &str) -> Option<u32> {
    let named = |(known, number): (&str, u32)| (known == name).then_some(number);
    // A file that cannot be read names nobody, and the message says which file it was.
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().filter_map(entry).find_map(named)
}

/// Writes a user as a configuration names it: in quotes, or as a number where it has no name.
pub(crate) fn written(user: u32) -> String {
    let named = |(name, number): (&str, u32)| {
        (number == user).then(|| Account::Name(name.to_owned()).to_string())
    };
    let text = std::fs::read_to_string(USERS).unwrap_or_default();
    text.lines().filter_map(entry).find_map(named).unwrap_or_else(|| user.to_string())
}

/// Reads name and number of one line.
fn entry(line: &str) -> Option<(&str, u32)> {
    let mut fields = line.split(':');
    Some((fields.next()?, fields.nth(1)?.parse().ok()?))
}
