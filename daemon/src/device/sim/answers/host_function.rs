//! What the simulated device answers about functions of the client's program.

use vgpu_abi::cuda::Error;
use vgpu_link::wire::cuda::{GraphRun, LaunchHostFunction, StandInRead, StandInWrite};

use super::super::operation::Operation;
use crate::device::Sim;
use crate::dispatch::{Call, HostFunctionCalls, Wait};

impl HostFunctionCalls for Sim {
    fn launch_host_function(&mut self, call: &Call, r: LaunchHostFunction) -> Result<(), Error> {
        self.submit(call, r.stream, Operation::Host(r.ticket))
    }

    fn graph_run(&mut self, call: &Call, r: GraphRun) -> Result<(), Error> {
        self.run_graph(call, r.graph_exec, r.stream, r.ticket)
    }

    fn stand_in_read(
        &mut self,
        call: &Call,
        r: StandInRead,
        bulk: &mut Vec<u8>,
    ) -> Result<Wait<()>, Error> {
        self.check(call)?;
        self.fetch(r.source, r.bytes, bulk).map(Wait::Done)
    }

    fn stand_in_write(
        &mut self,
        call: &Call,
        r: StandInWrite,
        bulk: &[u8],
    ) -> Result<Wait<()>, Error> {
        self.check(call)?;
        self.store(r.target, bulk).map(Wait::Done)
    }
}
