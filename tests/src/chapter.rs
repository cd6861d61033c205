//! docs/operate.md as the tests read it: its fenced blocks, by the heading that they stand under.

use std::fs;

use crate::stage::repository;

/// What stands between two fences.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// What the first fence names; empty for commands and options.
    pub language: String,
    /// The lines between, without the indent of the list that they stand in.
    pub text: String,
}

impl Block {
    /// Says whether a shell can run it: it names no language, and is not made of QEMU's options
    /// or of command lines that are cut short.
    pub fn is_shell(&self) -> bool {
        self.language.is_empty() && !self.text.starts_with('-') && !self.text.contains('…')
    }
}

/// The whole chapter.
///
/// # Panics
/// If it is not there.
pub fn page() -> String {
    let path = repository().join("docs/operate.md");
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Its headings, as they are written.
pub fn headings() -> Vec<String> {
    parts().into_iter().map(|(heading, _)| heading).collect()
}

/// The fenced blocks below a heading, up to the next one of any level.
///
/// # Panics
/// If there is no such heading.
#[track_caller]
pub fn blocks(heading: &str) -> Vec<Block> {
    let part = parts().into_iter().find(|(found, _)| found == heading);
    part.unwrap_or_else(|| panic!("docs/operate.md has no {heading:?}")).1
}

fn parts() -> Vec<(String, Vec<Block>)> {
    let (page, mut parts) = (page(), Vec::<(String, Vec<Block>)>::new());
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if line.starts_with('#') {
            parts.push((line.to_owned(), Vec::new()));
        }
        let Some(language) = line.trim_start().strip_prefix("```") else { continue };
        let indent = line.len() - line.trim_start().len();
        let inside = lines.by_ref().take_while(|line| line.trim() != "```");
        let text: Vec<&str> = inside.map(|line| line.get(indent..).unwrap_or("")).collect();
        let block = Block { language: language.to_owned(), text: text.join("\n") };
        if let Some((_, blocks)) = parts.last_mut() {
            blocks.push(block);
        }
    }
    parts
}
