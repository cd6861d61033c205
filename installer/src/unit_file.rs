//! systemd's unit files as text: assignments in order, words with quotes and escapes.
//!
//! systemd.syntax(7) and systemd.exec(5) give the rules. Nothing here knows where files lie.

/// One assignment of a unit file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The section it stands in, without brackets.
    pub section: String,
    /// The name before the equals sign.
    pub key: String,
    /// The text after it, lines joined.
    pub value: String,
}

/// Lists the assignments of a unit file in order; what is none of these is skipped, as systemd
/// does with a warning.
#[must_use]
pub fn assignments(text: &str) -> Vec<Assignment> {
    let mut found = Vec::new();
    let mut section = String::new();
    for line in logical_lines(text) {
        let line = line.trim();
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.to_owned();
        } else if let Some((key, value)) = line.split_once('=') {
            let (key, value) = (key.trim().to_owned(), value.trim().to_owned());
            found.push(Assignment { section: section.clone(), key, value });
        }
    }
    found
}

/// Joins continued lines with a space and drops comments, also those between continued lines.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut open: Option<String> = None;
    for line in text.lines() {
        if line.trim_start().starts_with(['#', ';']) {
            continue;
        }
        let (body, continues) = match line.strip_suffix('\\') {
            Some(body) => (body, true),
            None => (line, false),
        };
        let mut whole = open.take().unwrap_or_default();
        whole.push_str(body);
        if continues {
            whole.push(' ');
            open = Some(whole);
        } else {
            lines.push(whole);
        }
    }
    lines.extend(open);
    lines
}

/// Splits a value into words: blanks separate, both quotes group, C escapes are undone.
///
/// Stops at the first word that is not well formed, as systemd ignores the rest then. Bytes that
/// are not text make a word that is not well formed: systemd refuses them in `Environment=`.
#[must_use]
pub fn words(value: &str) -> Vec<String> {
    let mut rest = value.as_bytes();
    let mut found = Vec::new();
    loop {
        rest = rest.trim_ascii_start();
        if rest.is_empty() {
            return found;
        }
        let Some((word, after)) = word(rest) else { return found };
        let Ok(word) = String::from_utf8(word) else { return found };
        found.push(word);
        rest = after;
    }
}

fn word(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut out = Vec::new();
    let mut quote = None;
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        match (byte, quote) {
            (b'\\', _) => {
                let (bytes, after) = escape(tail)?;
                out.extend(bytes);
                rest = after;
                continue;
            }
            (_, Some(open)) if byte == open => quote = None,
            (b'"' | b'\'', None) => quote = Some(byte),
            (b' ' | b'\t' | b'\n' | b'\r', None) => return Some((out, tail)),
            _ => out.push(byte),
        }
        rest = tail;
    }
    quote.is_none().then_some((out, rest))
}

fn escape(tail: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let (&letter, after) = tail.split_first()?;
    let simple = match letter {
        b'a' => 7,
        b'b' => 8,
        b'f' => 12,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 11,
        b's' => b' ',
        b'\\' | b'"' | b'\'' => letter,
        b'x' => return number(after, 2, 16),
        b'u' => return number(after, 4, 16),
        b'U' => return number(after, 8, 16),
        b'0'..=b'7' => return number(tail, 3, 8),
        _ => return None,
    };
    Some((vec![simple], after))
}

fn number(text: &[u8], digits: usize, radix: u32) -> Option<(Vec<u8>, &[u8])> {
    let (number, after) = text.split_at_checked(digits)?;
    let value = u32::from_str_radix(std::str::from_utf8(number).ok()?, radix).ok()?;
    let bytes = if digits >= 4 {
        char::from_u32(value)?.to_string().into_bytes()
    } else {
        vec![u8::try_from(value).ok()?]
    };
    Some((bytes, after))
}

/// Quotes a word so that [`words`] gives it back. Percent signs are left alone: they are the
/// specifiers of systemd.unit(5), and a caller that means the sign itself writes two.
#[must_use]
pub fn quoted(word: &str) -> String {
    let mut out = String::from("\"");
    for letter in word.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            _ => out.push(letter),
        }
    }
    out.push('"');
    out
}

/// Undoes `%%`. Other specifiers stay as they are; [`has_specifier`] finds them.
#[must_use]
pub fn without_percent_pairs(value: &str) -> String {
    value.replace("%%", "%")
}

/// True if a value holds a specifier other than `%%`.
#[must_use]
pub fn has_specifier(value: &str) -> bool {
    value.replace("%%", "").contains('%')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_keys_and_continued_lines_are_read_as_systemd_reads_them() {
        let text =
            "# c\n[Unit]\nAfter=a \\\n; between\n  b\n[Service]\n Environment = X=1 \nplain\n";
        let found = assignments(text);
        let shown: Vec<_> =
            found.iter().map(|a| format!("{}/{}={}", a.section, a.key, a.value)).collect();
        assert_eq!(shown, ["Unit/After=a    b", "Service/Environment=X=1"]);
    }

    #[test]
    fn words_undo_quotes_and_escapes() {
        let cases: &[(&str, &[&str])] = &[
            (r#"A=1 "B=2 3" 'C=4 5'"#, &["A=1", "B=2 3", "C=4 5"]),
            (r#""A=\"x\" \\ \x41\101\s""#, &["A=\"x\" \\ AA "]),
            (r#"PRE="mid dle"post"#, &["PRE=mid dlepost"]),
            (r#"A=1 "unclosed B=2"#, &["A=1"]),
            (r"A=1 B=\q", &["A=1"]),
            ("", &[]),
        ];
        for (text, expected) in cases {
            assert_eq!(words(text), *expected, "{text}");
        }
    }

    #[test]
    fn a_quoted_word_comes_back_unchanged() {
        for word in ["LD_PRELOAD=/a b:/c", r#"X="\"#, "tab\tnew\nline", "%h%%", "ü"] {
            assert_eq!(words(&quoted(word)), [word], "{word:?}");
        }
    }
}
