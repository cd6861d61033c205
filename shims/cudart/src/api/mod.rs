//! The bodies of the runtime API, one module per noun; names are the C names in snake case.

/// Writes bodies that hand their arguments, in the same order, to the driver's function of the same
/// name, with a context current to the thread.
macro_rules! forwarded {
    ($($(#[$doc:meta])* $name:ident($($argument:ident: $kind:ty),*);)*) => { $(
        $(#[$doc])*
        #[allow(clippy::too_many_arguments)] // the API's own argument lists
        pub fn $name($($argument: $kind),*) -> Result<()> {
            primary::current()?.$name($($argument.into()),*)
        }
    )* };
}

pub mod array;
pub mod capture;
pub mod context;
pub mod copy;
pub mod device;
pub mod entry_point;
pub mod error;
pub mod event;
pub mod function;
pub mod graph;
pub mod graph_kernel;
pub mod graph_memory;
pub mod graph_node;
pub mod host_function;
pub mod host_memory;
pub mod ipc;
pub mod kernel;
pub mod launch;
pub mod library;
pub mod managed;
pub mod memory;
pub mod occupancy;
pub mod peer;
pub mod pointer;
pub mod pool;
pub mod properties;
pub mod registration;
pub mod set;
pub mod stream;
pub mod stub;
pub mod symbol;
pub mod version;
pub mod volume;
