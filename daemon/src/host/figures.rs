//! Puts together what the host process says of itself. The loop does it when somebody asks, in
//! microseconds.

use vgpu_link::wire::control::DeviceFacts;

use super::Host;
use super::ledger::Account;
use super::workers::Worker;
use crate::figures::{
    Figures, GpuFigures, Memory, SCHEMA_VERSION, SessionFigures, TenantFigures, Totals,
};
use crate::log;

impl Host {
    /// Answers whoever asks: Prometheus, the operator. A server that has ended is not watched any
    /// more, as its end would wake the loop over and over.
    pub(super) fn answer(&mut self, asks: [bool; 2]) {
        self.measure();
        let figures = self.figures();
        let servers = [("metrics", &mut self.metrics), ("status", &mut self.status)];
        for ((key, server), _) in servers.into_iter().zip(asks).filter(|(_, asks)| *asks) {
            if server.as_ref().is_some_and(|server| !server.answer(figures.clone())) {
                *server = None;
                let remedy = "systemctl reload vgpud starts it again";
                log::event("no-answers", &[("key", &key), ("try", &remedy)]);
            }
        }
    }

    /// Says how things are.
    pub(super) fn figures(&self) -> Figures {
        let waiting = self.workers.waiting();
        let mut sessions: Vec<SessionFigures> =
            self.workers.all().iter().filter_map(|worker| self.session(worker)).collect();
        sessions.sort_by_key(|session| session.session);
        let tenants = 0..self.tenants.count();
        Figures {
            schema_version: SCHEMA_VERSION,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            device: self.config.device.name().to_owned(),
            seconds: self.began.elapsed().as_secs(),
            clients: self.workers.serving(),
            clients_max: self.config.clients_max,
            waiting_workers: waiting,
            draining: self.drain.is_some(),
            counting: self.config.metrics.is_some(),
            gpus: self.gpus(),
            totals: Totals { lost_lines: log::lost(), ..self.totals.clone() },
            certificate_not_after_seconds: self.sockets.certified_until(),
            tenants: tenants.filter_map(|tenant| self.tenant(tenant)).collect(),
            sessions,
        }
    }

    fn gpus(&self) -> Vec<GpuFigures> {
        let gpu = |(ordinal, found): (usize, &DeviceFacts)| {
            let (memory_bytes, memory_used_bytes) = self.ledger.device(ordinal as u32);
            let (name, uuid) = (found.name.to_string(), uuid(&found.uuid));
            GpuFigures { name, uuid, memory_bytes, memory_used_bytes }
        };
        let found = self.found.iter().flat_map(|found| &found.devices);
        found.enumerate().map(gpu).collect()
    }

    /// One tenant; none if it was taken out of the configuration and has no client left.
    fn tenant(&self, tenant: usize) -> Option<TenantFigures> {
        let clients = self.ledger.clients(tenant);
        if clients == 0 && !self.tenants.is_configured(tenant) {
            return None;
        }
        let limits = self.tenants.limits_of(tenant);
        let memory = |gpu: &crate::desk::Gpu| Memory {
            gpu: gpu.ordinal,
            share_bytes: gpu.bytes,
            used_bytes: self.ledger.used(gpu.ordinal, Some(tenant)),
        };
        Some(TenantFigures {
            name: self.tenants.name(tenant).to_owned(),
            clients,
            clients_max: limits.clients,
            messages_per_second: limits.messages_per_second,
            memory: self.ledger.gpus(tenant).iter().map(memory).collect(),
            host_memory_bytes: limits.host_memory,
            host_memory_used_bytes: self.ledger.host_used(tenant),
            counts: self.counts.get(tenant).cloned().unwrap_or_default(),
        })
    }

    fn session(&self, worker: &Worker) -> Option<SessionFigures> {
        let session = worker.session?;
        let account = self.ledger.account(session);
        let memory = |gpu: &crate::desk::Gpu| Memory {
            gpu: gpu.ordinal,
            share_bytes: gpu.bytes,
            used_bytes: account.map_or(0, |account| account.held(gpu.ordinal)),
        };
        let shares = account.map(|account| self.ledger.gpus(account.tenant)).unwrap_or_default();
        Some(SessionFigures {
            session,
            peer: worker.peer.clone(),
            tenant: account.map(|account| self.tenants.name(account.tenant).to_owned()),
            pid: account.map_or(0, |account| account.pid),
            program: account.map(|account| account.name.to_string()).unwrap_or_default(),
            worker: worker.pid(),
            seconds: worker.since.elapsed().as_secs(),
            memory: shares.iter().map(memory).collect(),
            host_memory_used_bytes: account.map_or(0, Account::host),
            counts: worker.counts.clone(),
        })
    }
}

/// A UUID as NVML writes it.
fn uuid(bytes: &[u8; 16]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    format!("GPU-{}", parts.join("-"))
}
