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

/// What separates words and surrounds values.
const BLANKS: [char; 4] = [' ', '\t', '\n', '\r'];

/// Lists the assignments of a unit file in order; what is none of these is skipped, as systemd
/// does with a warning.
#[must_use]
pub fn assignments(text: &str) -> Vec<Assignment> {
    assignments_of(text.as_bytes())
}

/// Lists the assignments of a unit file's bytes, as [`assignments`] does. A line that is not UTF-8
/// ends the file, and so does a section's name without its closing bracket.
#[must_use]
pub fn assignments_of(content: &[u8]) -> Vec<Assignment> {
    let mut found = Vec::new();
    let mut section = String::new();
    for line in logical_lines(content) {
        let Ok(line) = String::from_utf8(line) else { break };
        let line = line.trim_matches(BLANKS);
        if let Some(rest) = line.strip_prefix('[') {
            let Some(name) = rest.strip_suffix(']') else { break };
            section = name.to_owned();
        } else if let Some((key, value)) = line.split_once('=') {
            let (key, value) = (key.trim_matches(BLANKS), value.trim_matches(BLANKS));
            let (key, value) = (key.to_owned(), value.to_owned());
            found.push(Assignment { section: section.clone(), key, value });
        }
    }
    found
}

/// Joins continued lines with a space and drops comments, also those between continued lines.
fn logical_lines(content: &[u8]) -> Vec<Vec<u8>> {
    const MARK: &[u8] = "\u{feff}".as_bytes();
    let mut lines = Vec::new();
    let mut open: Option<Vec<u8>> = None;
    let mut mark_seen = false;
    // A carriage return or a null byte ends a line for systemd as well.
    for mut line in content.split(|byte| matches!(byte, b'\n' | b'\r' | 0)) {
        if let Some(rest) = line.strip_prefix(MARK).filter(|_| !mark_seen) {
            (line, mark_seen) = (rest, true);
        }
        if line.trim_ascii_start().starts_with(b"#") || line.trim_ascii_start().starts_with(b";") {
            continue;
        }
        let mut whole = open.take().unwrap_or_default();
        whole.extend_from_slice(line);
        // An even number of backslashes is that many pairs, each of which means one.
        let continues = whole.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1;
        if continues {
            whole.pop();
            whole.push(b' ');
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
    let number = std::str::from_utf8(number).ok().filter(|text| !text.starts_with('+'))?;
    let value = u32::from_str_radix(number, radix).ok().filter(|value| *value != 0)?;
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
