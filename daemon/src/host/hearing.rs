//! What workers say, and what is left when one has ended.

use super::workers::{END_LIMIT, Gone};
use super::{Host, admission};
use crate::counts::Counts;
use crate::desk::{Ask, Tell};
use crate::log;

impl Host {
    /// Hears one message of a worker, or its end.
    pub(super) fn hear(&mut self, pid: u32) {
        let full = self.workers.full();
        let Some(worker) = self.workers.of(pid).filter(|worker| !worker.is_ending()) else {
            return;
        };
        let (mut counted, mut opened) = (None, None);
        let heard = worker.desk.receive::<Ask>().and_then(|heard| match (heard, worker.session) {
            (None, _) => Ok(false),
            (Some((Ask::Count(counts), _)), Some(session)) => {
                counted = Some((session, counts));
                Ok(true)
            }
            (Some((ask, _)), Some(session)) => {
                let introduces = matches!(ask, Ask::Introduce { .. });
                if introduces {
                    // It waits for our answer, so it has the connection.
                    worker.held = None;
                }
                let (refused, full) =
                    (&mut self.totals.refused, full.filter(|_| worker.is_strangers));
                let told = (session, self.lines.tells(session));
                let (ledger, tenants) = (&mut self.ledger, &self.tenants);
                let tell = admission::answer(ledger, tenants, refused, told, ask, full);
                if introduces && matches!(tell, Some((Tell::Admitted(_), _))) {
                    worker.is_strangers = false;
                    self.strangers.is_known(session);
                }
                let sent = tell.map(|(tell, handed)| worker.desk.send(&tell, handed));
                sent.transpose().map(|_| true)
            }
            (Some((Ask::Open, sheet)), None) => {
                opened = Some(sheet);
                Ok(true)
            }
            // A worker without a client has nothing to ask.
            (Some(_), None) => Ok(false),
        });
        let heard = heard.and_then(|heard| opened.map_or(Ok(heard), |sheet| self.opened(sheet)));
        if let Err(error) = &heard {
            log::event("worker-failed", &[("worker", &pid), ("because", &log::chain(error))]);
        }
        if !heard.unwrap_or(false) {
            self.workers.of(pid).into_iter().for_each(|worker| worker.expect_end(END_LIMIT));
        }
        if let Some((session, counts)) = counted {
            self.count(pid, session, &counts);
        }
    }

    /// Adds what a worker reports to what its client's tenant has done.
    fn count(&mut self, pid: u32, session: u64, counts: &Counts) {
        self.workers.count(pid, counts);
        // One that is of no tenant was refused, and did nothing.
        let Some(tenant) = self.ledger.tenant(session) else { return };
        if self.counts.len() <= tenant {
            self.counts.resize(tenant + 1, Counts::default());
        }
        self.counts[tenant].add(counts);
    }

    /// Collects the workers that ended and gives back what their clients held.
    pub(super) fn collect(&mut self) {
        for gone in self.workers.collect() {
            self.bury(gone);
        }
    }

    fn bury(&mut self, gone: Gone) {
        gone.held.into_iter().for_each(|connection| self.closing.close(connection));
        let (pid, ended) = (&gone.pid, &gone.ended);
        self.failed += usize::from(!gone.well && gone.session.is_some());
        self.totals.failed_workers = self.failed as u64;
        if let Some(session) = gone.session {
            let freed = self.ledger.close(session);
            self.machines.ended(session);
            let fields: [(&str, &dyn std::fmt::Display); 4] =
                [("session", &session), ("worker", pid), ("freed", &freed), ("ended", ended)];
            if self.lines.end(session) {
                log::event("gone", &fields);
            }
        } else if gone.is_replaced {
            log::event("idle-worker-replaced", &[("worker", pid)]);
        } else {
            log::event("idle-worker-gone", &[("worker", pid), ("ended", ended)]);
            // One that cannot even wait for a client will not fare better if it is replaced at
            // once, over and over.
            self.rest();
        }
    }
}
