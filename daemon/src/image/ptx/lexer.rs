//! Words, texts and marks of PTX (PTX ISA, "Syntax").

use crate::image::ImageError;

/// One token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    /// A name, number, directive or instruction, with its dots: `ld.global.v2.f32`, `%tid.x`.
    Word(&'a str),
    /// What stands between quotes.
    Quoted(&'a str),
    /// A single character.
    Mark(u8),
    /// Behind the last one.
    End,
}

/// Reads tokens one after the other.
#[derive(Debug, Clone)]
pub(crate) struct Lexer<'a> {
    text: &'a str,
    /// Bytes before the next token or the blanks before it.
    pub at: usize,
}

impl<'a> Lexer<'a> {
    /// Begins at a place of a text.
    pub fn new(text: &'a str, at: usize) -> Self {
        Self { text, at }
    }

    /// Reads the next token.
    pub fn next(&mut self) -> Result<Token<'a>, ImageError> {
        self.at = blanks_end(self.text.as_bytes(), self.at);
        let bytes = self.text.as_bytes();
        let begin = self.at;
        let Some(&first) = bytes.get(begin) else { return Ok(Token::End) };
        if first == b'"' {
            let end = quote_end(bytes, begin).ok_or_else(|| self.error("a text does not end"))?;
            self.at = end;
            return Ok(Token::Quoted(&self.text[begin + 1..end - 1]));
        }
        if !is_word(first) {
            if !first.is_ascii() {
                return Err(self.error("a character that PTX does not have"));
            }
            self.at += 1;
            return Ok(Token::Mark(first));
        }
        self.at = word_end(bytes, begin);
        Ok(Token::Word(&self.text[begin..self.at]))
    }

    /// Reads the next token without moving on.
    pub fn peek(&self) -> Result<Token<'a>, ImageError> {
        self.clone().next()
    }

    /// Moves on if a mark comes next.
    pub fn take(&mut self, mark: u8) -> Result<bool, ImageError> {
        let mut ahead = self.clone();
        let found = ahead.next()? == Token::Mark(mark);
        if found {
            *self = ahead;
        }
        Ok(found)
    }

    /// Reads a mark that has to come next.
    pub fn expect(&mut self, mark: u8) -> Result<(), ImageError> {
        if self.take(mark)? {
            return Ok(());
        }
        Err(self.error(&format!("'{}' is missing", char::from(mark))))
    }

    /// Reads a word that has to come next.
    pub fn word(&mut self) -> Result<&'a str, ImageError> {
        match self.next()? {
            Token::Word(word) => Ok(word),
            _ => Err(self.error("a word is missing")),
        }
    }

    /// Reads a whole number that has to come next.
    pub fn count(&mut self) -> Result<u64, ImageError> {
        let word = self.word()?;
        integer(word).ok_or_else(|| self.error(&format!("{word} is no whole number")))
    }

    /// Reads up to a mark, and that.
    pub fn skip_to(&mut self, mark: u8) -> Result<(), ImageError> {
        loop {
            match self.next()? {
                Token::Mark(found) if found == mark => return Ok(()),
                Token::End => return Err(self.error("the text ends early")),
                _ => {}
            }
        }
    }

    /// Says what is wrong at this place.
    pub fn error(&self, what: &str) -> ImageError {
        let before = self.text.as_bytes().get(..self.at).unwrap_or_default();
        let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
        ImageError::Ptx { what: what.to_owned(), line }
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'%' | b'.')
}

fn word_end(bytes: &[u8], mut at: usize) -> usize {
    loop {
        match bytes.get(at) {
            Some(&byte) if is_word(byte) => at += 1,
            // A qualifier such as `.L2::64B`; one colon ends a label.
            Some(b':') if bytes.get(at + 1) == Some(&b':') => at += 2,
            _ => return at,
        }
    }
}

/// Where the blanks and comments at a place end.
fn blanks_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(&byte) = bytes.get(at) {
        if byte.is_ascii_whitespace() {
            at += 1;
        } else if let Some(end) = comment_end(bytes, at) {
            at = end;
        } else {
            break;
        }
    }
    at
}

/// Where the comment at a place ends, if there is one.
pub(super) fn comment_end(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = bytes.get(at..)?;
    if rest.starts_with(b"//") {
        let length = rest.iter().position(|&byte| byte == b'\n');
        return Some(length.map_or(bytes.len(), |length| at + length + 1));
    }
    if rest.starts_with(b"/*") {
        let length = rest[2..].windows(2).position(|pair| pair == b"*/");
        return Some(length.map_or(bytes.len(), |length| at + length + 4));
    }
    None
}

/// Where the text that begins with the quote at a place ends.
pub(super) fn quote_end(bytes: &[u8], at: usize) -> Option<usize> {
    let mut end = at + 1;
    loop {
        match bytes.get(end)? {
            b'\\' => end += 2,
            b'"' => return Some(end + 1),
            _ => end += 1,
        }
    }
}

/// Reads a whole number: decimal, 0x, 0b or octal, possibly with a U behind it.
pub(crate) fn integer(word: &str) -> Option<u64> {
    let word = word.strip_suffix(['U', 'u']).unwrap_or(word);
    let lower = word.get(..2).unwrap_or_default().to_ascii_lowercase();
    match lower.as_str() {
        "0x" => u64::from_str_radix(&word[2..], 16).ok(),
        "0b" => u64::from_str_radix(&word[2..], 2).ok(),
        _ if word.len() > 1 && word.starts_with('0') => u64::from_str_radix(word, 8).ok(),
        _ => word.parse().ok(),
    }
}

/// A number as it is written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Number {
    /// A whole number.
    Integer(u64),
    /// The bits of a single (`0f3F800000`).
    Single(u32),
    /// The bits of a double (`0d3FF0000000000000`).
    Double(u64),
    /// A decimal fraction.
    Decimal(f64),
}

impl Number {
    /// Reads a number.
    pub fn read(word: &str) -> Option<Self> {
        if !word.starts_with(|first: char| first.is_ascii_digit()) {
            return None;
        }
        let digits = word.get(2..).filter(|digits| digits.bytes().all(|d| d.is_ascii_hexdigit()));
        match (word.get(..2), digits) {
            (Some("0f" | "0F"), Some(digits)) if digits.len() == 8 => {
                u32::from_str_radix(digits, 16).ok().map(Self::Single)
            }
            (Some("0d" | "0D"), Some(digits)) if digits.len() == 16 => {
                u64::from_str_radix(digits, 16).ok().map(Self::Double)
            }
            _ => match integer(word) {
                Some(number) => Some(Self::Integer(number)),
                None => word.parse().ok().map(Self::Decimal),
            },
        }
    }

    /// The number as a double.
    pub fn double(self) -> f64 {
        match self {
            Self::Integer(number) => number as f64,
            Self::Single(bits) => f32::from_bits(bits).into(),
            Self::Double(bits) => f64::from_bits(bits),
            Self::Decimal(number) => number,
        }
    }
}
