//! Paths as data: they keep their bytes, and are plain text wherever they are text.

use std::borrow::Cow;
use std::ffi::OsString;
use std::fmt;
use std::ops::Deref;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A path in facts, plans, journals and answers.
///
/// Written as a string where it is UTF-8, else as `{"hex": "…"}`, so that no byte is lost.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Location(PathBuf);

impl Location {
    /// Takes a path as it is.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }
}

impl Deref for Location {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl AsRef<Path> for Location {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl From<PathBuf> for Location {
    fn from(path: PathBuf) -> Self {
        Self(path)
    }
}

impl From<&Path> for Location {
    fn from(path: &Path) -> Self {
        Self(path.to_path_buf())
    }
}

impl From<&str> for Location {
    fn from(path: &str) -> Self {
        Self(path.into())
    }
}

/// The path for people: what a terminal would obey, or could not show, is written as in C.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;

        let mut out = String::new();
        for chunk in self.0.as_os_str().as_bytes().utf8_chunks() {
            for character in chunk.valid().chars() {
                match character {
                    '\n' => out.push_str("\\n"),
                    control if control.is_control() => write!(out, "\\x{:02x}", control as u32)?,
                    plain => out.push(plain),
                }
            }
            for byte in chunk.invalid() {
                write!(out, "\\x{byte:02x}")?;
            }
        }
        f.pad(&out)
    }
}

/// A path: text where it is UTF-8, else its bytes in hexadecimal.
#[derive(JsonSchema, Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Text(String),
    Hex { hex: String },
}

impl JsonSchema for Location {
    fn schema_name() -> Cow<'static, str> {
        "Location".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Written::json_schema(generator)
    }
}

impl Serialize for Location {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.to_str() {
            Some(text) => serializer.serialize_str(text),
            None => Written::Hex { hex: hex(self.0.as_os_str().as_bytes()) }.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Location {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Written::deserialize(deserializer)? {
            Written::Text(text) => Ok(Self(text.into())),
            Written::Hex { hex } => unhex(&hex)
                .map(|bytes| Self(OsString::from_vec(bytes).into()))
                .ok_or_else(|| serde::de::Error::custom("a path in hex with a wrong digit")),
        }
    }
}

/// Writes bytes as hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads bytes from hexadecimal digits.
#[must_use]
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> = text.chars().map(|digit| digit.to_digit(16)).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    digits.chunks(2).map(|pair| u8::try_from(pair[0] << 4 | pair[1]).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_shows_no_bytes_that_a_terminal_would_obey() {
        let path = Location::new(OsString::from_vec(b"/a\x1b[2J\n\xff/\xc3\xa9".to_vec()));
        assert_eq!(path.to_string(), "/a\\x1b[2J\\n\\xff/\u{e9}");
    }

    #[test]
    fn a_path_that_is_not_utf_8_survives_json() {
        let path = Location::new(OsString::from_vec(b"/opt/\xff\"x".to_vec()));
        let json = serde_json::to_string(&path).unwrap();
        assert_eq!(json, r#"{"hex":"2f6f70742fff2278"}"#);
        assert_eq!(serde_json::from_str::<Location>(&json).unwrap(), path);
        assert!(serde_json::from_str::<Location>(r#"{"hex":"2g"}"#).is_err());
    }
}
