//! One section as a script: what each thread says, and what it hears.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use vgpu_link::wire::Kind;

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
    fn answer(&self, question: usize) -> Option<(usize, &Entry)> {
        self.answers.get(&question).map(|&at| (at, &self.entries[at]))
    }

    /// Counts the client's messages.
    pub fn messages(&self) -> usize {
        self.threads.values().map(Vec::len).sum()
    }
}

/// How far a client has come in a script, as one way of reading it.
///
/// What one recorded thread said must come in its order; threads come in any order among each
/// other. A client's thread goes on as the recorded one that it was before, where that fits; but a
/// program that hands its work to a pool of threads may find another one free next time, so any
/// recorded thread may go on whose next message this is. Where several may, for a program that
/// says the same again and again, only what comes later tells which it was: each is a reading.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    script: Arc<Script>,
    /// The recorded thread that each of the client's is.
    played_by: HashMap<u32, u32>,
    /// How many messages of each recorded thread have come.
    spoken: BTreeMap<u32, usize>,
    /// Which entries have come.
    come: Vec<bool>,
    /// Before this place, all of the client's messages have come.
    low: usize,
    /// The places of the calls that wait for their answers, as they came.
    waiting: Vec<usize>,
}

impl Reading {
    /// Starts at the beginning.
    pub fn new(script: Arc<Script>) -> Self {
        let come = script.entries.iter().map(|entry| !entry.is_clients()).collect();
        let mut reading = Self {
            script,
            played_by: HashMap::new(),
            spoken: BTreeMap::new(),
            come,
            low: 0,
            waiting: Vec::new(),
        };
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

    /// Returns the recorded answer to one of the calls that wait.
    pub fn answer(&self, waiting: usize) -> Option<&Entry> {
        self.script.answer(self.waiting[waiting]).map(|(_, answer)| answer)
    }

    /// Says whether everything that was said before the answer to a call has been said.
    pub fn is_due(&self, waiting: usize) -> bool {
        self.script.answer(self.waiting[waiting]).is_some_and(|(place, _)| place <= self.low)
    }

    /// Notes that one of the calls that wait is answered.
    pub fn answered(&mut self, waiting: usize) {
        self.waiting.remove(waiting);
    }

    /// Says whether everything that may come now is the same in another reading.
    pub fn goes_on_like(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.script, &other.script)
            && self.spoken == other.spoken
            && self.waiting == other.waiting
    }

    /// Takes the client's next message: how the script may be read then, the likeliest way first.
    pub fn hear(self, came: &Entry) -> Result<Vec<Self>, Difference> {
        let lines = self.fitting(came);
        let Some((&first, others)) = lines.split_first() else {
            return Err(self.difference(came));
        };
        let others: Vec<Self> =
            others.iter().map(|&line| self.clone().going_on(came, line)).collect();
        Ok(std::iter::once(self.going_on(came, first)).chain(others).collect())
    }

    fn going_on(mut self, came: &Entry, (recorded, place): (u32, usize)) -> Self {
        self.played_by.insert(came.header.thread, recorded);
        *self.spoken.entry(recorded).or_default() += 1;
        self.come[place] = true;
        self.rise();
        if came.header.kind == Kind::Call {
            self.waiting.push(place);
        }
        self
    }

    /// Finds the recorded threads whose next message this is: first the one that the client's
    /// thread was before, then the one of the same number, then those that spoke first.
    fn fitting(&self, came: &Entry) -> Vec<(u32, usize)> {
        let live = came.header.thread;
        let fits =
            |&(_, place): &(u32, usize)| compare(&self.script.entries[place], came).is_none();
        let mut fitting: Vec<(u32, usize)> = self.next_lines().filter(fits).collect();
        let before = self.played_by.get(&live);
        fitting.sort_by_key(|&(thread, place)| (Some(&thread) != before, thread != live, place));
        fitting
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
