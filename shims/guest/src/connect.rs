//! Finds the host: the configured link, or each of the automatic ones.

use std::time::Instant;

use vgpu_link::LinkError;
use vgpu_link::config::{self, Choice, ConfigError};
use vgpu_link::tls::Files;
use vgpu_link::wire::Text;
use vgpu_link::wire::control::{Hello, Role};

use crate::conversation::Conversation;
use crate::{log, process};

/// Says why no host was reached.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// The configuration does not say where to look.
    #[error("reading where the GPU host is")]
    Config {
        #[source]
        source: ConfigError,
    },
    /// No link led to a host. The source is the failure that tells most.
    #[error("reaching the GPU host ({origin} says {links})", links = links.join(", "))]
    Unreachable {
        origin: String,
        links: Vec<String>,
        #[source]
        source: Box<LinkError>,
    },
}

impl ConnectError {
    /// Puts what, because and try into the one line that a user gets to see.
    pub(crate) fn line(&self) -> String {
        let mut line = format!("no GPU: {self}");
        let mut cause = std::error::Error::source(self);
        let mut separator = " failed because: ";
        while let Some(error) = cause {
            line.push_str(separator);
            // A cause of several lines, such as TOML's with its excerpt, still makes one line.
            line.push_str(&error.to_string().split_whitespace().collect::<Vec<_>>().join(" "));
            separator = ": ";
            cause = error.source();
        }
        line.push_str("; try: ");
        line.push_str(self.hint());
        line
    }

    fn hint(&self) -> &str {
        match self {
            Self::Config { .. } => {
                "Mend the link in /etc/vgpu/guest.toml or VGPU_LINK (docs/install.md, Links)."
            }
            Self::Unreachable { source, .. } => {
                source.hint().unwrap_or("Look at the log of vgpud on the host, and start it again.")
            }
        }
    }
}

/// Tries the links in their order, all before `limit`.
pub(crate) fn connect(limit: Instant) -> Result<Conversation, ConnectError> {
    let variable =
        (!process::runs_with_raised_rights()).then(|| std::env::var_os(config::VARIABLE));
    let choice =
        config::choice(variable.flatten()).map_err(|source| ConnectError::Config { source })?;
    let Choice { links, origin, tls } = choice;
    let mut failure = None;
    for link in &links {
        match try_link(link, &tls, limit) {
            Ok(conversation) => return Ok(conversation),
            Err(error) => {
                log::debug(format_args!("{link}: {error}"));
                if tells_more(&error, failure.as_ref()) {
                    failure = Some(error);
                }
            }
        }
    }
    let source = Box::new(failure.unwrap_or(LinkError::TimedOut));
    Err(ConnectError::Unreachable { origin, links, source })
}

/// Says whether an error is to be told in place of an earlier link's: of one that is there, rather
/// than of one that is not.
fn tells_more(error: &LinkError, earlier: Option<&LinkError>) -> bool {
    earlier.is_none_or(|earlier| earlier.is_absent() && !error.is_absent())
}

fn try_link(link: &str, files: &Files, limit: Instant) -> Result<Conversation, LinkError> {
    let uri = link.parse()?;
    let left = limit.saturating_duration_since(Instant::now());
    let (link, welcome) = vgpu_link::connect(&uri, files, &hello(), left)?;
    log::info(format_args!(
        "connected to {uri}: vgpud {}, session {}",
        welcome.host_version, welcome.session
    ));
    Conversation::begin(link, limit)
}

fn hello() -> Hello {
    let path = std::env::current_exe().unwrap_or_default();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Hello { role: Role::Guest, pid: std::process::id(), exe: Text::cut(&name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_links_one_that_is_there_is_told_of_and_else_the_first() {
        let socket = |kind: std::io::ErrorKind| LinkError::Connect {
            uri: "unix:/run/x.sock".to_owned(),
            source: kind.into(),
        };
        let gone = socket(std::io::ErrorKind::NotFound);
        let shut = socket(std::io::ErrorKind::PermissionDenied);
        assert!(tells_more(&gone, None));
        assert!(tells_more(&shut, Some(&gone)));
        assert!(!tells_more(&gone, Some(&shut)) && !tells_more(&LinkError::TimedOut, Some(&shut)));
        let no_bus =
            vgpu_link::pci::connect(std::path::Path::new("/nonexistent"), None, Instant::now());
        assert!(!tells_more(&no_bus.err().expect("no bus"), Some(&gone)));
    }

    #[test]
    fn the_line_for_the_user_says_what_because_and_try() {
        let source = Box::new(LinkError::Connect {
            uri: "unix:/run/x.sock".to_owned(),
            source: std::io::ErrorKind::NotFound.into(),
        });
        let links = vec!["unix:/run/x.sock".to_owned()];
        let line = ConnectError::Unreachable { origin: "VGPU_LINK".into(), links, source }.line();
        assert_eq!(
            line,
            "no GPU: reaching the GPU host (VGPU_LINK says unix:/run/x.sock) failed because: \
             connecting to unix:/run/x.sock: entity not found; try: Start vgpud on the host, and \
             check the address in /etc/vgpu/guest.toml."
        );
    }
}
