//! Text that cannot be longer than its field.

use crate::codec::{Malformed, Reader, Writer};

/// Holds at most `MAX` bytes of UTF-8, so that a message of it can never be too long to send.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Text<const MAX: usize>(String);

impl<const MAX: usize> Text<MAX> {
    /// Keeps as many whole characters of `text` as fit.
    pub fn cut(text: &str) -> Self {
        Self(text[..text.floor_char_boundary(MAX)].to_owned())
    }

    /// Borrows the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Appends length and bytes.
    pub fn write(&self, writer: &mut Writer<'_>) {
        writer.text(&self.0);
    }

    /// Reads length and bytes.
    ///
    /// # Errors
    /// [`Malformed`] for a text that is longer than `MAX`, cut short, or not UTF-8.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        reader.text(MAX).map(|text| Self(text.to_owned()))
    }
}

impl<const MAX: usize> std::fmt::Display for Text<MAX> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl<const MAX: usize> std::fmt::Debug for Text<MAX> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(&self.0, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(Text::<4>::cut("abcdef").as_str(), "abcd");
        assert_eq!(Text::<4>::cut("abcé").as_str(), "abc");
        assert_eq!(Text::<4>::cut("ab").as_str(), "ab");
    }
}
