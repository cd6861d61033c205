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
    #[error("describing {function} of {library}: {problem}")]
    Row {
        /// The library.
        library: String,
        /// The function.
        function: String,
        /// What does not fit.
        problem: Problem,
    },
    /// A header is not where it should be.
    #[error("looking for {header} of CUDA {major} below {}", directory.display())]
    NoHeader {
        /// The header.
        header: &'static str,
        /// The major version of CUDA.
        major: u32,
        /// The public Python package that holds it.
        package: &'static str,
        /// Where we looked.
        directory: PathBuf,
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

impl Error {
    /// Says what to do about it, where we know.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoHeader { package, major, .. } => Some(format!(
                "unpack the Python package {package} for CUDA {major} there; `cargo xtask test` \
                 fetches it"
            )),
            Self::Row { library, .. } => {
                Some(format!("shims/api/README.md explains the rows of shims/api/{library}"))
            }
            Self::Tool { tool: "cc", .. } => {
                Some("install a C compiler and its headers (Debian: gcc libc6-dev)".into())
            }
            Self::Tool { tool: "rustfmt", .. } => Some("rustup component add rustfmt".into()),
            _ => None,
        }
    }
}

/// Says what does not fit in a row of a description.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The function is in no header.
    #[error("the headers declare no such function")]
    NoSignature,
    /// The row refers to another function, which has no row.
    #[error("there is no row for {0}, which it refers to")]
    NoRow(String),
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
    /// The connection's own messages have the numbers below 0x100.
    #[error("opcode {0:#x} is one of the connection's own")]
    OpcodeReserved(u32),
    /// Two messages have one number.
    #[error("opcode {opcode:#x} is that of {other}")]
    OpcodeTaken {
        /// The number.
        opcode: u32,
        /// Its owner.
        other: String,
    },
    /// A pattern of names does not end, or tells two types.
    #[error("{0} is no pattern of names: each of its braces ends, and one of them tells the type")]
    BadPattern(String),
    /// Only a body can send a message of our own, and then the function has none of its own.
    #[error("message belongs to class sync or async with a body and without an opcode")]
    MessageUnsent,
    /// The row says that its body sends a message that nothing describes.
    #[error("no message is called {0}")]
    NoMessage(String),
    /// A local function is answered by a body, so the row must say in which module it is.
    #[error("class local needs a body")]
    NoBody,
    /// A parameter that is more than a field of the message needs a body that sends it.
    #[error("parameter {0} needs a body: a wrapper cannot send it by itself")]
    NeedsBody(String),
    /// Nobody waits for a message that is not answered.
    #[error("only a function or message of class sync waits")]
    Waits,
    /// `otherwise` is for functions that do not return a result code, and for all of them.
    #[error("otherwise belongs to functions without a result code")]
    Otherwise,
    /// A driver function is exported in more forms than the headers list versions.
    #[error("no header says since which version it is meant")]
    NoVersion,
    /// Two files describe it.
    #[error("it is described twice")]
    Twice,
    /// A field of a message of our own is not `name: form`.
    #[error("{0} is not `name: form` with a form that shims/api/README.md lists")]
    BadField(String),
    /// No library exports the function.
    #[error("no library exports it")]
    NotExported,
    /// A structure that is passed by value needs a layout.
    #[error("the layout of {0} is not in types.toml")]
    NoLayout(String),
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
