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

/// Plays the host to one client.
///
/// Several clients of one program may have been recorded, and come in another order: all sections
/// whose messages and answers have been the same so far are kept in mind.
#[derive(Debug)]
pub(crate) struct Player {
    readings: Vec<Reading>,
    /// Calls that wait, as they came, with their places in each reading.
    waiting: Vec<(Header, Vec<usize>)>,
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
    /// [`Difference`] if no section goes on with it: what the first one that was left has.
    pub fn hear(&mut self, header: &Header, payload: &[u8], bulk: &[u8]) -> Result<(), Difference> {
        let came = Entry::new(header, payload, bulk);
        let heard: Vec<_> = self.readings.iter_mut().map(|reading| reading.hear(&came)).collect();
        if let Some(difference) = first_if_all_failed(&heard) {
            return Err(difference);
        }
        let stays: Vec<bool> = heard.iter().map(Result::is_ok).collect();
        self.retain(&stays);
        if header.kind == Kind::Call {
            self.waiting.push((*header, heard.into_iter().filter_map(Result::ok).collect()));
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
                    self.agree(at);
                    self.waiting.remove(at);
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

    fn answer(&self, waiting: usize) -> Option<Answer> {
        let (asked, places) = &self.waiting[waiting];
        let reading = self.readings.first()?;
        let (at, recorded) = reading.script().answer(*places.first()?)?;
        if !reading.has_reached(at) {
            return None;
        }
        let header = Header { sequence: asked.sequence, thread: asked.thread, ..recorded.header };
        let Contents::Whole(bulk) = &recorded.bulk else { return None };
        Some(Answer { header, payload: recorded.payload.clone(), bulk: bulk.clone() })
    }

    /// Drops the readings that have another answer to a call than the one that is given.
    fn agree(&mut self, waiting: usize) {
        let places = &self.waiting[waiting].1;
        let given = |reading: &Reading, place: usize| {
            let answer = reading.script().answer(place).map(|(_, entry)| entry);
            answer.map(|entry| (entry.header.status, entry.payload.clone(), entry.bulk.clone()))
        };
        let first = given(&self.readings[0], places[0]);
        let agrees = |(reading, &place): (&Reading, &usize)| given(reading, place) == first;
        let stays: Vec<bool> = self.readings.iter().zip(places).map(agrees).collect();
        self.retain(&stays);
    }

    fn retain(&mut self, stays: &[bool]) {
        fn keep<T>(list: &mut Vec<T>, stays: &[bool]) {
            let mut stays = stays.iter();
            list.retain(|_| stays.next().copied().unwrap_or(false));
        }
        keep(&mut self.readings, stays);
        self.waiting.iter_mut().for_each(|(_, places)| keep(places, stays));
    }
}

fn first_if_all_failed(heard: &[Result<usize, Difference>]) -> Option<Difference> {
    if heard.is_empty() {
        return Some(Difference {
            thread: 0,
            message: 1,
            recorded: None,
            came: "a client".into(),
            part: "being there at all".into(),
        });
    }
    let mut failed = heard.iter().filter_map(|one| one.as_ref().err());
    let first = failed.next()?;
    (failed.count() + 1 == heard.len()).then(|| first.clone())
}
