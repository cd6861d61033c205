//! A function of the program that nodes of graphs call.

use std::sync::{Arc, OnceLock};

use vgpu_abi::cuda::Error;
use vgpu_guest::session;

use super::HostCopy;
use crate::api::host_function;
use crate::callback::HostFunction;

/// The copies next to a function in its graph.
#[derive(Debug, Default)]
pub(super) struct Around {
    /// They bring what it is to see.
    pub fetched: Vec<Arc<HostCopy>>,
    /// They send what it has written.
    pub sent: Vec<Arc<HostCopy>>,
}

impl Around {
    fn is_like(&self, other: &Self) -> bool {
        let is_same = |ours: &[Arc<HostCopy>], others: &[Arc<HostCopy>]| {
            let places = |copies: &[Arc<HostCopy>]| -> Vec<u64> {
                copies.iter().map(|copy| copy.stand_in).collect()
            };
            places(ours) == places(others)
        };
        is_same(&self.fetched, &other.fetched) && is_same(&self.sent, &other.sent)
    }
}

/// A function that nodes call, as long as any graph, executable graph or launch has it.
#[derive(Debug)]
pub(crate) struct NodeFunction {
    /// What the host calls it.
    pub ticket: u64,
    function: HostFunction,
    around: OnceLock<Around>,
}

impl NodeFunction {
    /// Takes up a function that a node is to call.
    pub(crate) fn new(function: HostFunction) -> Result<Arc<Self>, Error> {
        host_function::insert_node(|ticket| Self { ticket, function, around: OnceLock::new() })
    }

    /// A function that no host knows of, and that nobody calls.
    #[cfg(test)]
    pub(super) fn unknown() -> Arc<Self> {
        let nowhere = std::ptr::without_provenance(1);
        let function = HostFunction::new(nowhere, std::ptr::null_mut()).expect("it is not NULL");
        Arc::new(Self { ticket: 0, function, around: OnceLock::new() })
    }

    /// What the program gave.
    pub(crate) fn function(&self) -> HostFunction {
        self.function
    }

    /// Takes up which copies are next to it.
    ///
    /// # Errors
    /// NOT_SUPPORTED if others are in an executable graph of the same node.
    pub(super) fn place(&self, around: Around) -> Result<(), Error> {
        match self.around.get() {
            Some(placed) if placed.is_like(&around) => Ok(()),
            Some(_) => Err(Error::NOT_SUPPORTED),
            // Another thread may be faster, and does the same then, or makes no sense.
            None => {
                let _ = self.around.set(around);
                Ok(())
            }
        }
    }

    /// Calls it, when the graph has come to it.
    ///
    /// # Errors
    /// What a copy meets with: the connection or the context is gone then.
    pub(crate) fn run(&self, status: u32) -> Result<(), Error> {
        let nothing = Around::default();
        let around = self.around.get().unwrap_or(&nothing);
        for copy in &around.fetched {
            copy.fetch_beside()?;
        }
        // It may look at what the copies before it brought.
        session::collect()?;
        self.function.run(status);
        around.sent.iter().try_for_each(|copy| copy.send_beside())
    }
}

impl Drop for NodeFunction {
    fn drop(&mut self) {
        host_function::forget_node(self.ticket);
    }
}
