//! `$ORIGIN`, `$LIB` and `$PLATFORM` in paths (ld.so(8), "Dynamic string tokens").

/// What the tokens stand for.
#[derive(Clone, Copy)]
pub(crate) struct Tokens<'a> {
    pub(crate) origin: Option<&'a [u8]>,
    pub(crate) lib: &'a [u8],
    pub(crate) platform: &'a [u8],
    /// In secure execution `$ORIGIN` counts only as the first part of a path.
    pub(crate) secure: bool,
}

impl Tokens<'_> {
    /// Replaces every token. None where one has no value: the loader then drops the whole path.
    pub(crate) fn expand(&self, text: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(text.len());
        let mut at = 0;
        while let Some(&byte) = text.get(at) {
            let rest = &text[at + 1..];
            let token = if byte == b'$' { self.token(rest, at == 0) } else { None };
            if let Some((value, length)) = token {
                out.extend_from_slice(value?);
                at += 1 + length;
            } else {
                out.push(byte);
                at += 1;
            }
        }
        Some(out)
    }

    /// True if a text holds a token at all.
    pub(crate) fn is_in(&self, text: &[u8]) -> bool {
        let after = |at: usize| self.token(&text[at + 1..], at == 0).is_some();
        text.iter().enumerate().any(|(at, byte)| *byte == b'$' && after(at))
    }

    /// The value of the token after a `$`, and its length; none if it is no token.
    fn token(&self, rest: &[u8], is_first: bool) -> Option<(Option<&[u8]>, usize)> {
        if let Some(length) = length_of(rest, b"ORIGIN") {
            let whole_part = matches!(rest.get(length), None | Some(b'/'));
            let allowed = !self.secure || (is_first && whole_part);
            return Some((self.origin.filter(|_| allowed), length));
        }
        let known = [(&b"PLATFORM"[..], self.platform), (&b"LIB"[..], self.lib)];
        known.into_iter().find_map(|(name, value)| {
            length_of(rest, name).map(|length| (Some(value).filter(|v| !v.is_empty()), length))
        })
    }
}

/// The length of `NAME` or `{NAME}` at the start of a text, where the name ends there.
fn length_of(text: &[u8], name: &[u8]) -> Option<usize> {
    let curly = text.first() == Some(&b'{');
    let body = text.get(usize::from(curly)..)?.strip_prefix(name)?;
    match body.first() {
        Some(b'}') if curly => Some(name.len() + 2),
        _ if curly => None,
        Some(byte) if byte.is_ascii_alphanumeric() || *byte == b'_' => None,
        _ => Some(name.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(secure: bool, text: &str, expected: Option<&str>) {
        let tokens = Tokens { origin: Some(b"/o"), lib: b"lib64", platform: b"", secure };
        let expanded = tokens.expand(text.as_bytes());
        assert_eq!(expanded.map(|t| String::from_utf8(t).unwrap()).as_deref(), expected, "{text}");
    }

    #[test]
    fn tokens_are_whole_words_with_or_without_braces() {
        for (text, expected) in [
            ("$ORIGIN/../$LIB", "/o/../lib64"),
            ("${ORIGIN}x/${LIB}y", "/ox/lib64y"),
            ("$ORIGINx/$ORIGIN_/$LIB2", "$ORIGINx/$ORIGIN_/$LIB2"),
            ("${ORIGIN", "${ORIGIN"),
            ("$$LIB$", "$lib64$"),
            ("$OTHER", "$OTHER"),
        ] {
            check(false, text, Some(expected));
        }
    }

    #[test]
    fn a_token_without_a_value_drops_the_path() {
        check(false, "/a/$PLATFORM", None);
        let tokens = Tokens { origin: None, lib: b"l", platform: b"p", secure: false };
        assert_eq!(tokens.expand(b"$ORIGIN"), None);
    }

    #[test]
    fn secure_execution_takes_origin_only_as_the_first_part() {
        check(true, "$ORIGIN/x", Some("/o/x"));
        check(true, "${ORIGIN}", Some("/o"));
        check(true, "/a$ORIGIN", None);
        check(true, "${ORIGIN}x", None);
    }
}
