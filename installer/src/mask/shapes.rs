//! How secrets, addresses and names look in a text.

use regex_lite::{Captures, Regex};

/// Words in a name that say that its value is a secret.
const SECRET: &str = "pass(?:word|wd|phrase)?|pwd|secret|token|api[_-]?key|access[_-]?key|\
                      private[_-]?key|credentials?|authorization|cookie|bearer|auth[_-]?key|\
                      [_-]key";

/// Beginnings of tokens by which those who issue them mark them.
const ISSUERS: &str = "hf_|sk-|gh[pousr]_|github_pat_|glpat-|xox[abprs]-|AKIA|ASIA|AIza|npm_|\
                       dckr_pat_|eyJ";

/// The shapes of what is replaced, each with how it is found.
pub(super) struct Shapes {
    pub(super) pem: Regex,
    pub(super) login: Regex,
    pub(super) double_quoted: Regex,
    pub(super) single_quoted: Regex,
    pub(super) assigned: Regex,
    pub(super) said: Regex,
    pub(super) bearer: Regex,
    pub(super) issued: Regex,
    pub(super) key: Regex,
    pub(super) mail: Regex,
    pub(super) url: Regex,
    pub(super) hardware: Regex,
    pub(super) four: Regex,
    pub(super) six: Regex,
    pub(super) home: Regex,
}

impl Shapes {
    /// Compiles the patterns.
    pub(super) fn new() -> Self {
        #[expect(clippy::expect_used, reason = "the patterns are constants that the tests use")]
        let of = |pattern: &str| Regex::new(pattern).expect("a pattern that tests compile");
        let value = r#"("[^"]*"|'[^']*'|(?:bearer|basic)\s+[^\s"',;]+|[^\s"',;&\]]+)"#;
        let host = "([A-Za-z0-9.-]*[A-Za-z][A-Za-z0-9.-]*)";
        Self {
            pem: of(r"(?s)-----BEGIN [A-Z ]+-----.*?(?:-----END [A-Z ]+-----|$)"),
            login: of(r#"([A-Za-z][A-Za-z0-9+.-]*://)[^/\s@"']+@"#),
            double_quoted: of(r#""([A-Za-z_][A-Za-z0-9_.-]*)=((?:[^"\\]|\\.)*)""#),
            single_quoted: of(r"'([A-Za-z_][A-Za-z0-9_.-]*)=([^']*)'"),
            assigned: of(r#"\b([A-Z][A-Z0-9_]+)=("[^"]*"|'[^']*'|[^\s"',;]+)"#),
            said: of(&format!(
                r#"(?i)\b([a-z0-9_.-]*(?:{SECRET})[a-z0-9_.-]*)(["']?\s*[=:]\s*){value}"#
            )),
            bearer: of(r#"(?i)\b(bearer|basic)\s+([A-Za-z0-9+/=._~-]{6,})"#),
            issued: of(&format!(r"\b(?:{ISSUERS})[A-Za-z0-9_.-]{{8,}}")),
            key: of(r"\bAAAA[A-Za-z0-9+/=]{16,}"),
            mail: of(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+"),
            url: of(&format!(r"\b((?:https?|wss?|tls|tcp|ssh)(?:://|:)(?:<secret-\d+>@)?){host}")),
            hardware: of(r"\b[0-9A-Fa-f]{2}(?:[:-][0-9A-Fa-f]{2}){5,}\b"),
            four: of(r"\b\d{1,3}(?:\.\d{1,3}){3}\b"),
            six: of(r"(?i)[0-9a-f]*:[0-9a-f:]*:[0-9a-f:.]*"),
            home: of(r#"(/home)/([^/\s"':=]+)"#),
        }
    }
}

/// One place in a text where a shape was found.
pub(super) struct Place<'c, 't> {
    pub(super) captures: Captures<'t>,
    pub(super) text: &'c str,
}

impl Place<'_, '_> {
    pub(super) fn whole(&self) -> &str {
        self.part(0)
    }

    pub(super) fn part(&self, number: usize) -> &str {
        self.captures.get(number).map_or("", |found| found.as_str())
    }

    pub(super) fn before(&self) -> &str {
        &self.text[..self.captures.get(0).map_or(0, |found| found.start())]
    }

    pub(super) fn after(&self) -> &str {
        &self.text[self.captures.get(0).map_or(0, |found| found.end())..]
    }
}
