//! One section as a script: what each thread says, and what it hears.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::difference::{compare, spell};
use super::{Difference, Entry, Section};

/// A section, with its messages by thread.
#[derive(Debug)]
pub(super) struct Script {
    entries: Vec<Entry>,
    /// The messages of each thread, in their order.
    threads: BTreeMap<u32, Vec<usize>>,
    /// The answer to a message.
    answers: HashMap<usize, usize>,
}

impl Script {
    /// Sorts a section.
    pub fn new(section: Section) -> Self {
        let mut threads: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        let (mut asked, mut answers) = (HashMap::new(), HashMap::new());
        for (at, entry) in section.entries.iter().enumerate() {
            if entry.is_clients() {
                threads.entry(entry.header.thread).or_default().push(at);
                asked.insert(entry.header.sequence, at);
            } else if let Some(question) = asked.remove(&entry.header.sequence) {
                answers.insert(question, at);
            }
        }
        Self { entries: section.entries, threads, answers }
    }

    /// Returns the answer to a message, and its place in the recording.
    pub fn answer(&self, question: usize) -> Option<(usize, &Entry)> {
        self.answers.get(&question).map(|&at| (at, &self.entries[at]))
    }

    /// Counts the client's messages.
    pub fn messages(&self) -> usize {
        self.threads.values().map(Vec::len).sum()
    }
}

/// How far a client has come in a script.
///
/// Threads are matched in any order among each other, each with a recorded one by its first
/// message; what one thread says must come in its recorded order.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    script: Arc<Script>,
    /// The recorded thread that each of the client's is.
    played_by: HashMap<u32, u32>,
    /// How many messages of each recorded thread have come.
    spoken: HashMap<u32, usize>,
    /// Which entries have come.
    come: Vec<bool>,
    /// Before this place, all of the client's messages have come.
    low: usize,
}

impl Reading {
    /// Starts at the beginning.
    pub fn new(script: Arc<Script>) -> Self {
        let come = script.entries.iter().map(|entry| !entry.is_clients()).collect();
        let mut reading =
            Self { script, played_by: HashMap::new(), spoken: HashMap::new(), come, low: 0 };
        reading.rise();
        reading
    }

    /// Returns the script.
    pub fn script(&self) -> &Script {
        &self.script
    }

    /// Counts the client's messages that have come.
    pub fn spoken(&self) -> usize {
        self.spoken.values().sum()
    }

    /// Says whether everything that was said before a place of the recording has been said.
    pub fn has_reached(&self, place: usize) -> bool {
        place <= self.low
    }

    /// Takes the client's next message, and returns its place.
    pub fn hear(&mut self, came: &Entry) -> Result<usize, Difference> {
        let live = came.header.thread;
        let recorded = match self.played_by.get(&live) {
            Some(&recorded) => recorded,
            None => self.cast(came).ok_or_else(|| self.difference(live, 0, None, came))?,
        };
        let at = self.spoken.get(&recorded).copied().unwrap_or(0);
        let lines = &self.script.threads[&recorded];
        let Some(&place) = lines.get(at) else {
            return Err(self.difference(live, at, None, came));
        };
        if let Some(part) = compare(&self.script.entries[place], came) {
            return Err(self.difference(live, at, Some((place, part)), came));
        }
        self.played_by.insert(live, recorded);
        self.spoken.insert(recorded, at + 1);
        self.come[place] = true;
        self.rise();
        Ok(place)
    }

    /// Finds the recorded thread that a new one is: the one of the same number, if its first
    /// message is this; else any whose first message is; else the one of the same number, so
    /// that the difference names what was expected.
    fn cast(&self, came: &Entry) -> Option<u32> {
        let taken: Vec<u32> = self.played_by.values().copied().collect();
        let free = || {
            let threads = self.script.threads.iter();
            threads.filter(|(number, _)| !taken.contains(number))
        };
        let begins = |lines: &[usize]| compare(&self.script.entries[lines[0]], came).is_none();
        let live = came.header.thread;
        free()
            .find(|&(&number, lines)| number == live && begins(lines))
            .or_else(|| free().find(|(_, lines)| begins(lines)))
            .or_else(|| free().find(|&(&number, _)| number == live))
            .or_else(|| free().next())
            .map(|(&number, _)| number)
    }

    fn rise(&mut self) {
        while self.come.get(self.low).copied().unwrap_or(false) {
            self.low += 1;
        }
    }

    fn difference(
        &self,
        thread: u32,
        at: usize,
        recorded: Option<(usize, String)>,
        came: &Entry,
    ) -> Difference {
        let (recorded, part) = match recorded {
            None => (None, "being there at all".into()),
            Some((place, part)) => {
                let entry = &self.script.entries[place];
                (Some(spell(&entry.header, &entry.payload)), part)
            }
        };
        let came = spell(&came.header, &came.payload);
        Difference { thread, message: at + 1, recorded, came, part }
    }
}
