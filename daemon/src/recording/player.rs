//! Answering a client from a recording.

use std::sync::Arc;

use vgpu_link::wire::{Header, Kind};

use super::script::{Reading, Script};
use super::{Contents, Difference, Entry, Section};

/// One answer for the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Its header, which repeats the client's sequence.
    pub header: Header,
    /// Its payload.
    pub payload: Vec<u8>,
    /// Its memory contents.
    pub bulk: Vec<u8>,
}

/// Most ways of reading the sections that are kept in mind; the unlikeliest are forgotten.
const READINGS_MAX: usize = 256;

/// Plays the host to one client.
///
/// Several clients of one program may have been recorded, and come in another order; and a message
/// may fit in several places: all readings whose messages and answers have been the same so far
/// are kept in mind, the likeliest first.
#[derive(Debug)]
pub(crate) struct Player {
    readings: Vec<Reading>,
    /// Calls that wait, as they came.
    waiting: Vec<Header>,
}

impl Player {
    /// Takes the sections of the client's program; all, if none is of its name.
    pub fn new(sections: Vec<Section>, exe: &str) -> Self {
        let of_program = sections.iter().any(|section| section.exe == exe);
        let scripts = sections.into_iter().filter(|section| !of_program || section.exe == exe);
        let readings =
            scripts.map(|section| Reading::new(Arc::new(Script::new(section)))).collect();
        Self { readings, waiting: Vec::new() }
    }

    /// Takes the client's next message.
    ///
    /// # Errors
    /// [`Difference`] if no reading goes on with it: what the likeliest one has.
    pub fn hear(&mut self, header: &Header, payload: &[u8], bulk: &[u8]) -> Result<(), Difference> {
        let came = Entry::new(header, payload, bulk);
        let (mut first, before) = (None, self.readings.len());
        for reading in std::mem::take(&mut self.readings) {
            match reading.hear(&came) {
                Ok(readings) => self.readings.extend(readings),
                Err(difference) => first = first.or(Some(difference)),
            }
        }
        if self.readings.is_empty() {
            return Err(first.unwrap_or_else(nobody));
        }
        self.forget(before.max(READINGS_MAX));
        if header.kind == Kind::Call {
            self.waiting.push(*header);
        }
        Ok(())
    }

    /// Returns the answers whose time has come: everything that the client said before them when
    /// it was recorded, it has said now.
    pub fn due(&mut self) -> Vec<Answer> {
        let mut answers = Vec::new();
        let mut at = 0;
        while at < self.waiting.len() {
            match self.answer(at) {
                Some(answer) => {
                    self.waiting.remove(at);
                    self.readings.iter_mut().for_each(|reading| reading.answered(at));
                    answers.push(answer);
                }
                None => at += 1,
            }
        }
        answers
    }

    /// Counts the messages of the section that is played, those that came and all.
    pub fn progress(&self) -> (usize, usize) {
        let first = self.readings.first();
        first.map_or((0, 0), |reading| (reading.spoken(), reading.script().messages()))
    }

    /// Returns the answer to a call from the likeliest reading in which it is due, and drops the
    /// readings that have another answer to it.
    fn answer(&mut self, waiting: usize) -> Option<Answer> {
        let asked = self.waiting[waiting];
        let due = self.readings.iter().find(|reading| reading.is_due(waiting))?;
        let recorded = due.answer(waiting)?.clone();
        let same = |answer: &Entry| {
            let status = answer.header.status == recorded.header.status;
            status && answer.payload == recorded.payload && answer.bulk == recorded.bulk
        };
        self.readings.retain(|reading| reading.answer(waiting).is_some_and(same));
        let header = Header { sequence: asked.sequence, thread: asked.thread, ..recorded.header };
        let Contents::Whole(bulk) = recorded.bulk else { return None };
        Some(Answer { header, payload: recorded.payload, bulk })
    }

    /// Forgets readings that go on like a likelier one, and those beyond so many.
    fn forget(&mut self, most: usize) {
        let mut kept: Vec<Reading> = Vec::new();
        for reading in self.readings.drain(..) {
            if kept.len() < most && !kept.iter().any(|one| one.goes_on_like(&reading)) {
                kept.push(reading);
            }
        }
        self.readings = kept;
    }
}

/// Nobody of this name was recorded.
fn nobody() -> Difference {
    Difference {
        thread: 0,
        message: 1,
        recorded: None,
        came: "a client".into(),
        part: "being there at all".into(),
    }
}
