//! Files of variables as systemd reads them for `EnvironmentFile=`.
//!
//! systemd.exec(5) gives the rules. They are neither the shell's nor those of unit files: nothing
//! is replaced in a value, and quotes count only where a value begins.

/// One variable and its value, as it reaches the service.
pub type Pair = (String, String);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    BeforeName,
    Name,
    BeforeValue,
    Value,
    ValueEscape,
    Single,
    Double,
    DoubleEscape,
    Comment,
    CommentEscape,
}

/// Reads the variables of a file, in order. None if systemd refuses the file as a whole, because
/// it is not UTF-8. A name that cannot be a variable's is left out.
#[must_use]
pub fn pairs(content: &[u8]) -> Option<Vec<Pair>> {
    let text = std::str::from_utf8(content).ok()?;
    let mut reader = Reader::default();
    for letter in text.chars() {
        reader.take(letter);
    }
    if !matches!(
        reader.state,
        State::BeforeName | State::Name | State::Comment | State::CommentEscape
    ) {
        reader.end();
    }
    Some(reader.pairs)
}

/// True for what can be a variable's name.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(is_letter)
}

struct Reader {
    state: State,
    name: String,
    value: String,
    /// The length of the value without the blanks at its end, where those do not count.
    kept: usize,
    pairs: Vec<Pair>,
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            state: State::BeforeName,
            name: String::new(),
            value: String::new(),
            kept: 0,
            pairs: Vec::new(),
        }
    }
}

impl Reader {
    fn take(&mut self, letter: char) {
        let ends = matches!(letter, '\n' | '\r');
        let is_blank = matches!(letter, ' ' | '\t') || ends;
        self.state = match self.state {
            State::BeforeName if matches!(letter, '#' | ';') => State::Comment,
            State::BeforeName if is_blank => State::BeforeName,
            State::BeforeName => {
                self.name = letter.into();
                State::Name
            }
            State::Name if ends => State::BeforeName,
            State::Name if letter == '=' => {
                self.value.clear();
                self.kept = 0;
                State::BeforeValue
            }
            State::Name => {
                self.name.push(letter);
                State::Name
            }
            State::BeforeValue | State::Value if ends => {
                self.end();
                State::BeforeName
            }
            State::BeforeValue => match letter {
                '\'' => State::Single,
                '"' => State::Double,
                '\\' => State::ValueEscape,
                _ if is_blank => State::BeforeValue,
                _ => self.keep(letter, State::Value),
            },
            // Blanks before a backslash count.
            State::Value if letter == '\\' => self.whole(State::ValueEscape),
            State::Value if is_blank => {
                self.value.push(letter);
                State::Value
            }
            State::Value => self.keep(letter, State::Value),
            // A line that ends in a backslash goes on in the next one.
            State::ValueEscape if ends => State::Value,
            State::ValueEscape => self.keep(letter, State::Value),
            State::Single if letter == '\'' => State::BeforeValue,
            State::Single => self.keep(letter, State::Single),
            State::Double if letter == '"' => State::BeforeValue,
            State::Double if letter == '\\' => State::DoubleEscape,
            State::Double => self.keep(letter, State::Double),
            State::DoubleEscape if matches!(letter, '"' | '\\' | '`' | '$') => {
                self.keep(letter, State::Double)
            }
            State::DoubleEscape if letter == '\n' => State::Double,
            State::DoubleEscape => {
                self.value.push('\\');
                self.keep(letter, State::Double)
            }
            State::Comment if letter == '\\' => State::CommentEscape,
            State::Comment if ends => State::BeforeName,
            State::Comment | State::CommentEscape => State::Comment,
        };
    }

    fn keep(&mut self, letter: char, next: State) -> State {
        self.value.push(letter);
        self.whole(next)
    }

    fn whole(&mut self, next: State) -> State {
        self.kept = self.value.len();
        next
    }

    fn end(&mut self) {
        self.value.truncate(self.kept);
        let name = self.name.trim_end_matches([' ', '\t']).to_owned();
        if is_name(&name) {
            self.pairs.push((name, std::mem::take(&mut self.value)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_by_systemds_own_rules() {
        let cases = [
            ("A=1", "A=1"),
            ("A = 1 2 \n", "A=1 2"),
            ("A=\"x\" y\n", "A=xy"),
            ("A=x\"y\"\n", "A=x\"y\""),
            ("A='a\\nb'\"c\\n\\$\"\n", "A=a\\nbc\\n$"),
            ("A=1\\\n2\nB=3", "A=12|B=3"),
            ("A=%h $B ${C}\n", "A=%h $B ${C}"),
            ("# A=1\n; B=2\n C=3 # no comment\n", "C=3 # no comment"),
            ("export A=1\nB\n1C=2\nD=\n", "D="),
            ("A=\"two\nlines\"\n", "A=two\nlines"),
            ("A=\"open", "A=open"),
            ("A=x\\ \n", "A=x "),
            ("A=x \\\n \n", "A=x "),
        ];
        for (text, expected) in cases {
            let found = pairs(text.as_bytes()).unwrap();
            let shown: Vec<_> =
                found.iter().map(|(name, value)| format!("{name}={value}")).collect();
            assert_eq!(shown.join("|"), expected, "{text:?}");
        }
        assert_eq!(pairs(b"A=\xff\n"), None);
    }
}
