//! Splits preprocessed C into tokens, keeping only what comes from the headers asked for.

/// One token of C.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// A name or a keyword.
    Name(String),
    /// A number, text or character: nothing that a declaration's shape depends on.
    Literal(String),
    /// One character of punctuation.
    Mark(char),
}

impl Token {
    /// Says whether this is the name or keyword `name`.
    pub(super) fn is_name(&self, name: &str) -> bool {
        matches!(self, Self::Name(own) if own == name)
    }

    /// Returns the name.
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::Name(name) => Some(name),
            _ => None,
        }
    }
}

/// Returns the tokens of the lines that come from files below `directory`.
///
/// The preprocessor marks each change of file with a line `# number "file"`.
pub(super) fn tokens(preprocessed: &str, directory: &str) -> Vec<Token> {
    let mut ours = false;
    let mut tokens = Vec::new();
    for line in preprocessed.lines() {
        if let Some(marker) = line.strip_prefix("# ") {
            ours = marker.split('"').nth(1).is_some_and(|file| file.starts_with(directory));
        } else if ours {
            split(line, &mut tokens);
        }
    }
    tokens
}

fn split(line: &str, tokens: &mut Vec<Token>) {
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        let word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '.';
        let length = if first == '"' || first == '\'' {
            rest[1..].find(first).map_or(rest.len(), |end| end + 2)
        } else if word(first) {
            rest.find(|letter| !word(letter)).unwrap_or(rest.len())
        } else {
            first.len_utf8()
        };
        let (text, after) = rest.split_at(length);
        tokens.push(if first.is_ascii_alphabetic() || first == '_' {
            Token::Name(text.into())
        } else if word(first) || first == '"' || first == '\'' {
            Token::Literal(text.into())
        } else {
            Token::Mark(first)
        });
        rest = after.trim_start();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_of_the_asked_directory_become_tokens() {
        let text = "# 1 \"/usr/include/x.h\"\nint other;\n# 1 \"/h/cuda.h\"\nint a[2];\n";
        let names: Vec<_> =
            tokens(text, "/h").iter().filter_map(Token::name).map(String::from).collect();
        assert_eq!(names, ["int", "a"]);
    }
}
