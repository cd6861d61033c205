//! What the host process can say of itself: for Prometheus, for `vgpud smi`, and as JSON for
//! whoever asks at the status socket (docs/host.md, "Who uses what").

use serde::{Deserialize, Serialize};

use crate::counts::Counts;

/// The version of the JSON document's form.
pub(crate) const SCHEMA_VERSION: u32 = 1;

/// Everything, as of one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Version of the program.
    pub version: String,
    /// The device that is served, as `--device` calls it.
    pub device: String,
    /// Seconds since the start.
    pub seconds: u64,
    /// Clients that are served.
    pub clients: usize,
    /// Most that may be.
    pub clients_max: usize,
    /// Workers that wait for one.
    pub waiting_workers: usize,
    /// Whether no more clients are taken.
    pub draining: bool,
    /// Whether messages are counted: only where `metrics` are configured.
    pub counting: bool,
    /// Until when the host's certificate is valid, in seconds since 1970; none without one.
    pub certificate_not_after_seconds: Option<u64>,
    /// The GPUs, by ordinal.
    pub gpus: Vec<GpuFigures>,
    /// What was counted since the start.
    pub totals: Totals,
    /// The tenants that are configured, and those that are no more but still have clients.
    pub tenants: Vec<TenantFigures>,
    /// The clients that are served, the oldest first.
    pub sessions: Vec<SessionFigures>,
}

/// One GPU of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GpuFigures {
    /// Its name.
    pub name: String,
    /// Its UUID, as NVML writes it.
    pub uuid: String,
    /// Bytes of its memory.
    pub memory_bytes: u64,
    /// Those that clients hold.
    pub memory_used_bytes: u64,
}

/// Everything that the host process counts from its start on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Totals {
    /// Connections that came.
    pub connections: u64,
    /// Those of them that were refused.
    pub refused: Refused,
    /// Workers of clients that ended badly.
    pub failed_workers: u64,
    /// Readings of the configuration that were refused.
    pub failed_reloads: u64,
    /// Lines of the host process that the log lacks.
    #[serde(default)]
    pub lost_lines: u64,
}

/// Connections that were refused, by the reason.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refused {
    /// As many as allowed are served.
    pub full: u64,
    /// The daemon ends.
    pub stopping: u64,
    /// No worker could be had.
    pub no_worker: u64,
    /// They are of no tenant.
    pub stranger: u64,
}

/// One tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TenantFigures {
    /// Its name.
    pub name: String,
    /// Its clients.
    pub clients: usize,
    /// Most that it may have.
    pub clients_max: Option<usize>,
    /// Most messages in a second.
    pub messages_per_second: Option<u32>,
    /// What it may have of each of its GPUs, and has.
    pub memory: Vec<Memory>,
    /// Bytes of this machine's memory that it may have; none where it is not limited.
    pub host_memory_bytes: Option<u64>,
    /// Bytes that its clients have pinned, and that their workers have for themselves.
    pub host_memory_used_bytes: u64,
    /// What passed between its clients and their workers, those that are gone included.
    pub counts: Counts,
}

/// Memory of one GPU.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// The GPU's ordinal on the host.
    pub gpu: u32,
    /// Bytes that a tenant may have; of a client, its tenant's.
    pub share_bytes: u64,
    /// Bytes that it has.
    pub used_bytes: u64,
}

/// One client.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SessionFigures {
    /// Number of its connection, as the log has it.
    pub session: u64,
    /// Who is at the other end.
    pub peer: String,
    /// Its tenant's name, once that is known.
    pub tenant: Option<String>,
    /// Its process id, as the guest says; 0 before it has.
    pub pid: u32,
    /// File name of its program, as the guest says.
    pub program: String,
    /// Process id of its worker.
    pub worker: u32,
    /// Seconds since it came.
    pub seconds: u64,
    /// What it holds of each GPU of its tenant's.
    pub memory: Vec<Memory>,
    /// Bytes of this machine's memory that it has pinned, and that its worker has for itself.
    pub host_memory_used_bytes: u64,
    /// What passed between it and its worker.
    pub counts: Counts,
}
