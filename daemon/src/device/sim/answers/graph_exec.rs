//! What the simulated device answers about executable graphs.

use vgpu_abi::cuda::{
    CUgraphExecUpdateResult as Outcome, CUgraphInstantiateResult as Made, CUgraphNodeType as Type,
    Error,
};
use vgpu_link::wire::cuda::{
    GraphExecDestroy, GraphExecGetFlags, GraphExecGetFlagsReply, GraphExecNodeChange,
    GraphExecUpdate, GraphExecUpdateReply, GraphInstantiate, GraphInstantiateReply, GraphLaunch,
    GraphNodeGetEnabled, GraphNodeGetEnabledReply, GraphNodeSetEnabled, GraphUpload,
};

use super::super::exec::{Step, Task};
use super::super::operation::Operation;
use super::graph::{keep_attributes, operation};
use crate::device::Sim;
use crate::dispatch::{Call, GraphExecCalls};

impl GraphExecCalls for Sim {
    fn graph_instantiate(
        &mut self,
        call: &Call,
        r: GraphInstantiate,
    ) -> Result<GraphInstantiateReply, Error> {
        Ok(match self.instantiate(call, r.graph, r.flags, r.upload) {
            Ok(exec) => {
                GraphInstantiateReply { code: 0, result: Made::SUCCESS.0, error_node: 0, exec }
            }
            Err(unmade) => GraphInstantiateReply {
                code: unmade.error.code(),
                result: unmade.result.0,
                error_node: unmade.node,
                exec: 0,
            },
        })
    }

    fn graph_launch(&mut self, call: &Call, r: GraphLaunch) -> Result<(), Error> {
        self.launch_graph(call, r.graph_exec, r.stream)
    }

    fn graph_upload(&mut self, call: &Call, r: GraphUpload) -> Result<(), Error> {
        // Whatever a launch needs is here already.
        self.exec(r.graph_exec)?;
        self.check_not_captured(call, r.stream)
    }

    fn graph_exec_destroy(&mut self, _: &Call, r: GraphExecDestroy) -> Result<(), Error> {
        self.destroy_exec(r.graph_exec)
    }

    fn graph_exec_update(
        &mut self,
        _: &Call,
        r: GraphExecUpdate,
    ) -> Result<GraphExecUpdateReply, Error> {
        let (mut error_node, mut error_from_node) = (0, 0);
        let (code, result) = match self.update_exec(r.exec, r.graph) {
            Ok(Ok(())) => (0, Outcome::SUCCESS),
            Ok(Err(unlike)) => {
                (error_node, error_from_node) = (unlike.node, unlike.from);
                (Error::GRAPH_EXEC_UPDATE_FAILURE.code(), unlike.outcome)
            }
            Err(error) => (error.code(), Outcome::ERROR),
        };
        Ok(GraphExecUpdateReply { code, result: result.0, error_node, error_from_node })
    }

    fn graph_exec_node_change(&mut self, _: &Call, r: GraphExecNodeChange) -> Result<(), Error> {
        if Type(r.params.kind) == Type::GRAPH {
            let changed = self.change_child(r.exec, r.node, r.params.handle)?;
            return changed.map_err(|_| Error::GRAPH_EXEC_UPDATE_FAILURE);
        }
        self.check_context_of(&r.params)?;
        let mut new = operation(r.params)?;
        let step = self.step_mut(r.exec, r.node)?;
        let context = step.context;
        if let Task::Operation(old) = &step.task {
            keep_attributes(&mut new, old);
        }
        self.examine(context, &new)?;
        self.change_step(r.exec, r.node, new)
    }

    fn graph_exec_get_flags(
        &mut self,
        _: &Call,
        r: GraphExecGetFlags,
    ) -> Result<GraphExecGetFlagsReply, Error> {
        Ok(GraphExecGetFlagsReply { flags: self.exec(r.graph_exec)?.flags })
    }

    fn graph_node_set_enabled(&mut self, _: &Call, r: GraphNodeSetEnabled) -> Result<(), Error> {
        let step = self.step_mut(r.graph_exec, r.node)?;
        check_can_rest(step)?;
        step.is_enabled = r.is_enabled != 0;
        Ok(())
    }

    fn graph_node_get_enabled(
        &mut self,
        _: &Call,
        r: GraphNodeGetEnabled,
    ) -> Result<GraphNodeGetEnabledReply, Error> {
        let step = self.step_mut(r.graph_exec, r.node)?;
        check_can_rest(step)?;
        Ok(GraphNodeGetEnabledReply { is_enabled: step.is_enabled.into() })
    }
}

impl Sim {
    fn step_mut(&mut self, exec: u64, node: u64) -> Result<&mut Step, Error> {
        self.graphs.node(node)?;
        self.exec_mut(exec)?.plan.find_mut(node).ok_or(Error::INVALID_VALUE)
    }
}

/// Checks that a node is of a kind that can be disabled (CUDA Driver API,
/// `cuGraphNodeSetEnabled`: kernels, sets and copies).
fn check_can_rest(step: &Step) -> Result<(), Error> {
    match &step.task {
        Task::Operation(operation) => match &**operation {
            Operation::Launch(_) | Operation::Blas(_) | Operation::Copy(_) | Operation::Set(_) => {
                Ok(())
            }
            _ => Err(Error::INVALID_VALUE),
        },
        Task::Plan(_) => Err(Error::INVALID_VALUE),
    }
}
