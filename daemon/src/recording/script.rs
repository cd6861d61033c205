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
/// What one recorded thread said must come in its order; threads come in any order among each
/// other. A client's thread goes on as the recorded one that it was before, where that fits; but a
/// program that hands its work to a pool of threads may find another one free next time, so any
/// recorded thread may go on whose next message this is.
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
        let Some((recorded, place)) = self.cast(came) else {
            return Err(self.difference(came));
        };
        self.played_by.insert(live, recorded);
        *self.spoken.entry(recorded).or_default() += 1;
        self.come[place] = true;
        self.rise();
        Ok(place)
    }

    /// Finds the recorded thread whose next message this is: the one that the client's thread was
    /// before, else the one of the same number, else the one that spoke first.
    fn cast(&self, came: &Entry) -> Option<(u32, usize)> {
        let live = came.header.thread;
        let fits =
            |&(_, place): &(u32, usize)| compare(&self.script.entries[place], came).is_none();
        let mut fitting: Vec<(u32, usize)> = self.next_lines().filter(fits).collect();
        let before = self.played_by.get(&live);
        fitting.sort_by_key(|&(thread, place)| (Some(&thread) != before, thread != live, place));
        fitting.first().copied()
    }

    /// The next message of each recorded thread that has not said everything.
    fn next_lines(&self) -> impl Iterator<Item = (u32, usize)> {
        self.script.threads.iter().filter_map(|(&thread, lines)| {
            let at = self.spoken.get(&thread).copied().unwrap_or(0);
            lines.get(at).map(|&place| (thread, place))
        })
    }

    fn rise(&mut self) {
        while self.come.get(self.low).copied().unwrap_or(false) {
            self.low += 1;
        }
    }

    /// Says how a message differs from the next one of the recorded thread that is most likely
    /// meant: that of the client's thread, else the one of the same number, else the earliest.
    fn difference(&self, came: &Entry) -> Difference {
        let live = came.header.thread;
        let meant = self.played_by.get(&live).copied().unwrap_or(live);
        let next = self.next_lines().min_by_key(|&(thread, place)| (thread != meant, place));
        let (recorded, part) = match next {
            None => (None, "being there at all".into()),
            Some((_, place)) => {
                let entry = &self.script.entries[place];
                let part = compare(entry, came).unwrap_or_else(|| "its thread".into());
                (Some(spell(&entry.header, &entry.payload)), part)
            }
        };
        let message = next.map_or(0, |(thread, _)| self.spoken.get(&thread).copied().unwrap_or(0));
        let came = spell(&came.header, &came.payload);
        Difference { thread: live, message: message + 1, recorded, came, part }
    }
}
