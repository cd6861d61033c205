//! Where a guest's host is: `VGPU_LINK`, then `/etc/vgpu/guest.toml`, else every link that may be
//! there. The libraries and the tools beside them read it here, so that they agree.

use std::ffi::OsString;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::tls::Files;

/// Names the configuration file of a guest.
pub const FILE: &str = "/etc/vgpu/guest.toml";

/// Names the environment variable that outranks the file.
pub const VARIABLE: &str = "VGPU_LINK";

/// What is tried, in this order, where nothing is configured; vsock never is (decisions 0045 and
/// 0051).
const AUTOMATIC: [&str; 2] = ["unix:/run/vgpu/vgpud.sock", "pci:auto"];

/// Largest configuration file: 64 KiB, a thousand times what the keys need.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// Which links to try, and who said so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Link URIs, the preferred one first; never empty.
    pub links: Vec<String>,
    /// Where the choice comes from, for messages: a variable, a file, or "the default".
    pub origin: String,
    /// Certificates and key for links over TLS.
    pub tls: Files,
}

/// Says why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is there and cannot be read.
    #[error("reading {path}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The file is no TOML, has an unknown key, or is too long.
    #[error("understanding {path}", path = path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong and where; with line and column.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// The variable holds bytes that are not UTF-8.
    #[error("reading the environment variable {VARIABLE}, which is not UTF-8")]
    Variable,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    link: Option<String>,
    #[serde(default)]
    tls: Files,
}

/// Reads the configuration of a process whose environment has `variable` for [`VARIABLE`].
///
/// A process with raised rights passes none: its environment belongs to a user who must not choose
/// what it talks to.
///
/// # Errors
/// [`ConfigError`] if the variable is no text or the file cannot be read or understood.
pub fn choice(variable: Option<OsString>) -> Result<Choice, ConfigError> {
    let file = Path::new(FILE);
    choose(variable, file, || read(file))
}

/// The same for a file of that text: a door for the fuzzer.
///
/// # Errors
/// As there.
#[cfg(fuzzing)]
pub fn fuzzing(variable: &str, text: &str) -> Result<Choice, ConfigError> {
    choose(Some(variable.into()), Path::new(FILE), || Ok(text.to_owned()))
}

fn choose(
    variable: Option<OsString>,
    file: &Path,
    read: impl FnOnce() -> Result<String, ConfigError>,
) -> Result<Choice, ConfigError> {
    let parse = |text: String| {
        toml::from_str::<File>(&text).map_err(|source| ConfigError::Parse {
            path: file.to_owned(),
            source: Box::new(source),
        })
    };
    if let Some(value) = variable.filter(|value| !value.is_empty() && value != "auto") {
        let link = value.into_string().map_err(|_| ConfigError::Variable)?;
        // Other links need nothing of the file, and work where it is spoilt.
        let tls = if link.starts_with("tls:") { parse(read()?)?.tls } else { Files::default() };
        return Ok(Choice { links: vec![link], origin: VARIABLE.to_owned(), tls });
    }
    let File { link, tls } = parse(read()?)?;
    if let Some(link) = link.filter(|link| !link.is_empty() && link != "auto") {
        return Ok(Choice { links: vec![link], origin: file.display().to_string(), tls });
    }
    let links = AUTOMATIC.map(str::to_owned).to_vec();
    Ok(Choice { links, origin: "the default".to_owned(), tls })
}

/// Reads the file, which is of no text where there is none.
fn read(path: &Path) -> Result<String, ConfigError> {
    let failed = |source| ConfigError::Read { path: path.to_owned(), source };
    let mut text = String::new();
    match std::fs::File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
        // A longer file is cut, and then fails to parse or names what it says in its beginning.
        Ok(file) => {
            file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(variable: Option<OsString>, file: &Path) -> Result<Choice, ConfigError> {
        super::choose(variable, file, || read(file))
    }

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("guest.toml");
        std::fs::write(&path, text).unwrap();
        (directory, path)
    }

    #[test]
    fn the_variable_outranks_the_file_and_the_file_the_default() {
        let (_directory, path) = file("link = \"unix:/from/file\"\n");
        let chosen = choose(Some("unix:/from/env".into()), &path).unwrap();
        assert_eq!(chosen.links, ["unix:/from/env"]);
        assert_eq!(chosen.origin, "VGPU_LINK");
        let chosen = choose(None, &path).unwrap();
        assert_eq!(chosen.links, ["unix:/from/file"]);
        assert_eq!(chosen.origin, path.display().to_string());
        let chosen = choose(None, Path::new("/nonexistent/guest.toml")).unwrap();
        assert_eq!(chosen.links, AUTOMATIC);
    }

    #[test]
    fn auto_and_empty_mean_the_default() {
        let (_directory, path) = file("link = \"auto\"\n");
        for value in ["", "auto"] {
            assert_eq!(choose(Some(value.into()), &path).unwrap().links, AUTOMATIC);
        }
    }

    #[test]
    fn the_files_of_tls_are_those_of_the_file_or_the_usual_ones() {
        let (_directory, path) = file("link = \"tls:a:1\"\n[tls]\nkey = \"/k\"\n");
        let usual = Files::default();
        let named = Files { key: "/k".into(), ..usual.clone() };
        assert_eq!(choose(None, &path).unwrap().tls, named);
        // The variable chooses the host, not who we are.
        assert_eq!(choose(Some("tls:b:2".into()), &path).unwrap().tls, named);
        assert_eq!(choose(Some("unix:/b".into()), &path).unwrap().tls, usual);
        let (_directory, path) = file("[tls]\nkeys = \"/k\"\n");
        assert!(choose(None, &path).is_err());
    }

    #[test]
    fn a_misspelt_key_is_refused_with_its_line() {
        let (_directory, path) = file("# where\nlnik = \"unix:/run/x\"\n");
        let error = choose(None, &path).unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(error.to_string().contains("guest.toml"), "{error}");
        assert!(source.contains("line 2") && source.contains("lnik"), "{source}");
    }
}
