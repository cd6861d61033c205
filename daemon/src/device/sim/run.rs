//! Runs of executable graphs that call functions of the client's program.
//!
//! A run stops at such a node, and goes on when the function has returned. Meanwhile the worker
//! holds what is behind the run in its stream. At its end the client is told by a function of its
//! own. The runs of one executable graph follow one another, wherever they were launched.

use std::collections::VecDeque;
use std::sync::Arc;

use vgpu_abi::cuda::Error;

use super::Sim;
use super::capture::Entry;
use super::exec::{Plan, Task};
use super::operation::Operation;
use crate::device::Holds;
use crate::dispatch::Call;

/// What a context is to do.
type Step = (u64, Arc<Operation>);

/// A run that has not come to its end.
#[derive(Debug)]
pub(super) struct Run {
    exec: u64,
    context: u64,
    /// What is left to do.
    steps: VecDeque<Step>,
    /// The function that tells the client.
    ticket: u64,
    /// The function that it waits for; none before it begins.
    waits_for: Option<u64>,
}

/// Lists all that a launch does, in its order.
fn flat(plan: &Plan, steps: &mut VecDeque<Step>) {
    for step in plan.steps.iter().filter(|step| step.is_enabled) {
        match &step.task {
            Task::Operation(operation) => steps.push_back((step.context, Arc::clone(operation))),
            Task::Plan(plan) => flat(plan, steps),
        }
    }
}

impl Sim {
    /// Launches an executable graph that calls functions, and comes to `ticket` at its end or if
    /// it fails.
    pub(super) fn run_graph(
        &mut self,
        call: &Call,
        exec: u64,
        stream: u64,
        ticket: u64,
    ) -> Result<(), Error> {
        self.functions.launch(ticket, Holds::Run)?;
        let added = self.add_run(call, exec, stream, ticket);
        added.inspect_err(|error| self.functions.come_to(ticket, error.code()))?;
        match self.next_to_begin() {
            Some(at) => self.follow_run(at).map_err(|(_, error)| error),
            None => Ok(()),
        }
    }

    fn add_run(&mut self, call: &Call, exec: u64, stream: u64, ticket: u64) -> Result<(), Error> {
        let mut steps = VecDeque::new();
        flat(&self.exec(exec)?.plan, &mut steps);
        let Entry::Free { context } = self.enter(call, stream)? else {
            // In a capture the client launches nothing.
            return Err(Error::INVALID_VALUE);
        };
        self.runs.push(Run { exec, context, steps, ticket, waits_for: None });
        Ok(())
    }

    /// Goes on with the run that waits for a function, which has returned.
    pub(super) fn resume(&mut self, function: u64) -> Result<(), (u64, Error)> {
        let is_its = |run: &Run| run.waits_for == Some(function);
        let Some(at) = self.runs.iter().position(is_its) else { return Ok(()) };
        // No other has begun and waits for nothing, so it is the next one.
        self.runs[at].waits_for = None;
        if self.runs.iter().any(is_its) {
            // Another run came to it, too, and its turn is now. Those that come to it from here on
            // wait for theirs.
            self.functions.come_to(function, 0);
        }
        self.follow_run(at)
    }

    /// Does a run's work as far as its next function, or to its end. What a run behind it meets
    /// with is told as its own.
    fn follow_run(&mut self, at: usize) -> Result<(), (u64, Error)> {
        let mut failed = Ok(());
        let mut at = Some(at);
        while let Some(here) = at {
            let context = self.runs[here].context;
            match self.advance(here) {
                Ok(false) => return failed,
                Ok(true) => self.end_run(here, 0),
                Err(error) => {
                    failed = failed.and(Err((context, error)));
                    self.end_run(here, error.code());
                }
            }
            at = self.next_to_begin();
        }
        failed
    }

    /// Finds a run that has not begun, and is the first of its executable graph.
    fn next_to_begin(&self) -> Option<usize> {
        let is_first = |at: usize| {
            let exec = self.runs[at].exec;
            self.runs[..at].iter().all(|run| run.exec != exec)
        };
        (0..self.runs.len()).find(|&at| self.runs[at].waits_for.is_none() && is_first(at))
    }

    fn end_run(&mut self, at: usize, status: u32) {
        let run = self.runs.remove(at);
        self.functions.come_to(run.ticket, status);
    }

    /// Does a run's work; says whether it has come to its end.
    fn advance(&mut self, at: usize) -> Result<bool, Error> {
        while let Some((context, operation)) = self.runs[at].steps.pop_front() {
            let Operation::Host(function) = &*operation else {
                self.perform(context, &operation)?;
                continue;
            };
            let is_called = self.runs.iter().any(|run| run.waits_for == Some(*function));
            self.runs[at].waits_for = Some(*function);
            if !is_called {
                self.functions.come_to(*function, 0);
            }
            return Ok(false);
        }
        Ok(true)
    }

    /// Says whether a run will yet record an event.
    pub(super) fn will_record(&self, event: u64) -> bool {
        let records = |(_, step): &Step| **step == Operation::EventRecord(event);
        self.runs.iter().any(|run| run.steps.iter().any(records))
    }
}

impl Plan {
    /// Says whether it calls functions of the client's program.
    pub(super) fn calls_functions(&self) -> bool {
        self.steps.iter().any(|step| match &step.task {
            Task::Operation(operation) => matches!(**operation, Operation::Host(_)),
            Task::Plan(plan) => plan.calls_functions(),
        })
    }
}
