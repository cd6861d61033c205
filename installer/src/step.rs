//! The steps that a plan is made of: a closed list, each with its words for doing and undoing.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::facts::NVIDIA_SMI;
use crate::location::Location;
use crate::object::{Content, Object};

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Step {
    /// Makes a directory where nothing is.
    MakeDir {
        /// Where.
        path: Location,
        /// Permission bits.
        mode: u32,
    },
    /// Writes a file where nothing is.
    WriteFile {
        /// Where.
        path: Location,
        /// Permission bits.
        mode: u32,
        /// The whole content.
        text: String,
    },
    /// Makes a link where nothing is.
    MakeLink {
        /// Where.
        path: Location,
        /// Its text.
        target: Location,
    },
    /// Exchanges what is there for something of ours, and keeps it beside, under a hidden name.
    Replace {
        /// Where.
        path: Location,
        /// What the plan was made for.
        before: Object,
        /// What is put there.
        content: Content,
    },
    /// Removes a file or link; it is kept beside, under a hidden name.
    RemoveFile {
        /// Where.
        path: Location,
        /// What the plan was made for.
        before: Object,
    },
    /// Lets a systemd read its units again.
    DaemonReload {
        /// The user whose own manager it is; none for the system's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<String>,
    },
    /// Makes ld.so's cache anew from what is there.
    Ldconfig,
    /// Restarts a unit if it is running.
    Restart {
        /// Its name.
        unit: String,
        /// The user whose own manager runs it; none for the system's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<String>,
    },
}

impl Step {
    /// Where among the steps without a path it belongs: what a service is started from comes
    /// before its start.
    #[must_use]
    pub fn order(&self) -> u8 {
        match self {
            Self::DaemonReload { .. } => 1,
            Self::Ldconfig => 2,
            Self::Restart { .. } => 3,
            _ => 0,
        }
    }

    /// The path that the step changes; none for steps that are programs.
    #[must_use]
    pub fn path(&self) -> Option<&Location> {
        match self {
            Self::MakeDir { path, .. }
            | Self::WriteFile { path, .. }
            | Self::MakeLink { path, .. }
            | Self::RemoveFile { path, .. }
            | Self::Replace { path, .. } => Some(path),
            Self::DaemonReload { .. } | Self::Ldconfig | Self::Restart { .. } => None,
        }
    }

    /// The step's name in answers.
    #[must_use]
    pub fn op(&self) -> &'static str {
        match self {
            Self::MakeDir { .. } => "make_dir",
            Self::WriteFile { .. } => "write_file",
            Self::MakeLink { .. } => "make_link",
            Self::Replace { .. } => "replace",
            Self::RemoveFile { .. } => "remove_file",
            Self::DaemonReload { .. } => "daemon_reload",
            Self::Ldconfig => "ldconfig",
            Self::Restart { .. } => "restart",
        }
    }

    /// What the step puts at its path; none for directories and the service manager.
    #[must_use]
    pub fn content(&self) -> Option<Content> {
        match self {
            Self::WriteFile { mode, text, .. } => {
                Some(Content::File { mode: *mode, text: text.clone() })
            }
            Self::MakeLink { target, .. } => Some(Content::Link { target: target.clone() }),
            Self::Replace { content, .. } => Some(content.clone()),
            _ => None,
        }
    }

    /// What must lie at the path before the step.
    #[must_use]
    pub fn before(&self) -> Object {
        match self {
            Self::Replace { before, .. } | Self::RemoveFile { before, .. } => before.clone(),
            _ => Object::Absent,
        }
    }

    /// Says in a sentence what the step does.
    #[must_use]
    pub fn doing(&self) -> String {
        match self {
            Self::MakeDir { path, .. } => format!("make the directory {path}"),
            Self::WriteFile { path, text, .. } => format!("write {path} ({} bytes)", text.len()),
            Self::MakeLink { path, target } => format!("link {path} to {target}"),
            Self::Replace { path, before, content } => {
                format!("replace {path}, {}, by {}", before.describe(), content.describe())
            }
            Self::RemoveFile { path, before } => format!("remove {path}, {}", before.describe()),
            Self::DaemonReload { user: None } => "let systemd read its units again".into(),
            Self::DaemonReload { user: Some(user) } => {
                format!("let the systemd of {user} read its units again")
            }
            Self::Ldconfig => "let ldconfig make /etc/ld.so.cache anew, no link changed".into(),
            Self::Restart { unit, user: None } => format!("restart {unit} if it is running"),
            Self::Restart { unit, user: Some(user) } => {
                format!("restart {unit} of {user} if it is running")
            }
        }
    }

    /// Says in a sentence what undoing the step does.
    #[must_use]
    pub fn undoing(&self) -> String {
        match self {
            Self::MakeDir { path, .. } => format!("remove the directory {path}"),
            Self::WriteFile { path, .. } | Self::MakeLink { path, .. } => format!("remove {path}"),
            Self::Replace { path, before, .. } | Self::RemoveFile { path, before } => {
                format!("put back {path}, {}", before.describe())
            }
            Self::DaemonReload { .. } | Self::Ldconfig | Self::Restart { .. } => self.doing(),
        }
    }

    /// Why the step is there.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        let is_cache = |path: &Location| path.starts_with(crate::ld_conf::DIR);
        let is_smi = |path: &Location| path.as_ref() == Path::new(NVIDIA_SMI);
        match self {
            Self::MakeLink { path, .. } if is_smi(path) => {
                "people and Ollama's install script look for a GPU by this name"
            }
            Self::RemoveFile { path, .. } if is_smi(path) => {
                "another nvidia-smi is there now, and ours would hide it"
            }
            Self::MakeDir { path, .. } if is_cache(path) => "ldconfig reads our line from there",
            Self::MakeDir { path, .. } if path.starts_with("/etc") => "the drop-in goes there",
            Self::MakeDir { .. } => "the name nvidia-smi goes there",
            Self::WriteFile { path, .. } if is_cache(path) => {
                "every program must find our libraries before others of their names"
            }
            Self::WriteFile { .. } => "the service must find our libraries first",
            Self::MakeLink { .. } => "the backend finds this name in its own directory first",
            Self::Replace { path, .. } if is_cache(path) => "the file there says something else",
            Self::Replace { content: Content::File { .. }, .. } => {
                "the drop-in there says something else"
            }
            Self::Replace { .. } => "the backend would find the bundled copy before ours",
            Self::RemoveFile { .. } => "it is a link of ours that no backend there asks for now",
            Self::DaemonReload { .. } => "systemd reads drop-ins only when it is told to",
            Self::Ldconfig => "ld.so looks into its cache, not into the directories behind it",
            Self::Restart { .. } => "Ollama looks for GPUs once, when it starts",
        }
    }
}
