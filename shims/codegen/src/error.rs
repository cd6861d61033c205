//! What can go wrong while describing or generating.

use std::path::PathBuf;

/// Says what the generator was doing when it stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read or written.
    #[error("{verb} {}", path.display())]
    File {
        /// What was being done.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// A description is not the TOML that it should be.
    #[error("reading the description {}", path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A row of a description contradicts its signature or another row.
    #[error("describing {function} in {library}.toml: {problem}")]
    Row {
        /// The library.
        library: String,
        /// The function.
        function: String,
        /// What does not fit.
        problem: Problem,
    },
    /// A tool (rustfmt, cc) refused its input.
    #[error("running {tool} on {what}: {complaint}")]
    Tool {
        /// The program.
        tool: &'static str,
        /// What it was given.
        what: String,
        /// The first line that it complained with.
        complaint: String,
    },
}

/// Says what does not fit in a row of a description.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The function is in no header.
    #[error("the headers declare no such function")]
    NoSignature,
    /// The row names a parameter that the signature does not have.
    #[error("the signature has no parameter {0}")]
    NoParameter(String),
    /// A pointer needs a role: nothing but the documentation says what it points to.
    #[error("parameter {0} is a pointer and needs a role")]
    NoRole(String),
    /// The role asks for a pointer, or for its length parameter.
    #[error("parameter {parameter} cannot have the role {role}")]
    BadRole {
        /// The parameter.
        parameter: String,
        /// The role.
        role: String,
    },
    /// A message needs a number, and a function without a message must have none.
    #[error("class {0} and its opcode do not go together")]
    Opcode(&'static str),
    /// Two messages have one number.
    #[error("opcode {opcode:#x} is that of {other}")]
    OpcodeTaken {
        /// The number.
        opcode: u32,
        /// Its owner.
        other: String,
    },
    /// A local function is answered by a body, so the row must say in which module it is.
    #[error("class local needs a body")]
    NoBody,
    /// A value of this type cannot travel.
    #[error("parameter {parameter} of type {kind} has no form on the wire")]
    NoWireForm {
        /// The parameter.
        parameter: String,
        /// Its type.
        kind: String,
    },
}

/// Shortens `Result` with this crate's error.
pub type Result<T> = std::result::Result<T, Error>;
