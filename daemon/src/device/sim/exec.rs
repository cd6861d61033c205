//! Executable graphs: what a graph said when it was instantiated, in the order of its launches.
//!
//! They are named by handles of their own and outlive the graph. Their nodes are still named by
//! those of the graph that they were made from.

use std::collections::BTreeMap;
use std::sync::Arc;

use vgpu_abi::cuda::{CUgraphInstantiate_flags as Flags, CUgraphInstantiateResult as Made, Error};
use vgpu_link::wire::cuda::NodeParams;

use super::Sim;
use super::capture::Entry;
use super::graph::{Dependency, EDGES_MAX, Graphs, Work};
use super::operation::Operation;
use crate::dispatch::Call;

/// All that a graph says, ready to be launched.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Each after what it depends on.
    pub steps: Vec<Step>,
}

/// One node of an executable graph.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    /// The node that it was made from.
    pub source: u64,
    /// The context in which it is done.
    pub context: u64,
    /// What it does.
    pub task: Task,
    /// What must be done before, by the nodes that they were made from.
    pub dependencies: Vec<Dependency>,
    /// Whether it is done at all.
    pub is_enabled: bool,
}

/// What a step does.
#[derive(Debug, Clone)]
pub(crate) enum Task {
    /// One operation.
    Operation(Arc<Operation>),
    /// All of a graph inside the node.
    Plan(Plan),
}

/// An executable graph.
#[derive(Debug)]
pub(crate) struct Exec {
    /// The flags that it was made with (CUgraphInstantiate_flags).
    pub flags: u64,
    /// What a launch does.
    pub plan: Plan,
}

/// Why a graph cannot be instantiated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unmade {
    /// The function's code.
    pub error: Error,
    /// What it says in its own numbers.
    pub result: Made,
    /// The node that it is about, or 0.
    pub node: u64,
}

impl From<Error> for Unmade {
    fn from(error: Error) -> Self {
        Self { error, result: Made::ERROR, node: 0 }
    }
}

impl Plan {
    /// Plans a graph.
    ///
    /// # Errors
    /// INVALID_STRUCTURE with one of its nodes if there is a cycle.
    pub fn of(graphs: &Graphs, graph: u64) -> Result<Self, Unmade> {
        let cycle =
            |node| Unmade { error: Error::INVALID_VALUE, result: Made::INVALID_STRUCTURE, node };
        let order = graphs.in_order(graphs.find(graph)?).map_err(cycle)?;
        let step = |source| {
            let node = graphs.node(source)?;
            let task = match &node.work {
                Work::Operation(operation) => Task::Operation(Arc::clone(operation)),
                Work::Graph(inner) => Task::Plan(Self::of(graphs, *inner)?),
            };
            let (context, dependencies) = (node.context, node.dependencies.clone());
            Ok(Step { source, context, task, dependencies, is_enabled: true })
        };
        Ok(Self { steps: order.into_iter().map(step).collect::<Result<_, Unmade>>()? })
    }

    /// Counts its steps and edges, with those of graphs inside nodes.
    pub fn weight(&self) -> usize {
        let each = self.steps.iter().map(|step| {
            let inner = match &step.task {
                Task::Plan(plan) => plan.weight(),
                Task::Operation(_) => 0,
            };
            1 + step.dependencies.len() + inner
        });
        each.sum()
    }

    /// Finds the step that was made from a node, in graphs inside nodes too.
    pub fn find_mut(&mut self, source: u64) -> Option<&mut Step> {
        if let Some(at) = self.steps.iter().position(|step| step.source == source) {
            return self.steps.get_mut(at);
        }
        self.steps.iter_mut().find_map(|step| match &mut step.task {
            Task::Plan(plan) => plan.find_mut(source),
            Task::Operation(_) => None,
        })
    }

    /// Makes a graph that does the same.
    fn to_graph(&self, graphs: &mut Graphs) -> Result<u64, Error> {
        let graph = graphs.create()?;
        let filled = self.fill(graphs, graph);
        filled.inspect_err(|_| graphs.bury(graph)).map(|()| graph)
    }

    fn fill(&self, graphs: &mut Graphs, graph: u64) -> Result<(), Error> {
        let mut nodes = BTreeMap::new();
        for step in &self.steps {
            let work = match &step.task {
                // One that is disabled counts as an empty one.
                _ if !step.is_enabled => Work::Operation(Arc::new(Operation::Empty)),
                Task::Operation(operation) => Work::Operation(Arc::clone(operation)),
                Task::Plan(plan) => Work::Graph(plan.to_graph(graphs)?),
            };
            // Each step comes after what it depends on.
            let moved = |one: &Dependency| Dependency { node: nodes[&one.node], ..*one };
            let dependencies = step.dependencies.iter().map(moved).collect();
            let node = graphs.add(graph, step.context, work, dependencies)?;
            nodes.insert(step.source, node);
        }
        Ok(())
    }
}

impl Sim {
    /// Checks the context that new parameters of a node name; 0 is the node's own.
    pub(super) fn check_context_of(&self, params: &NodeParams) -> Result<(), Error> {
        if params.context != 0 {
            self.contexts.find(params.context)?;
        }
        Ok(())
    }

    /// Makes an executable graph.
    pub(super) fn instantiate(
        &mut self,
        call: &Call,
        graph: u64,
        flags: u64,
        upload: u64,
    ) -> Result<u64, Unmade> {
        let known = Flags::AUTO_FREE_ON_LAUNCH.0
            | Flags::UPLOAD.0
            | Flags::DEVICE_LAUNCH.0
            | Flags::USE_NODE_PRIORITY.0;
        if flags & !u64::from(known) != 0 {
            return Err(Error::INVALID_VALUE.into());
        }
        if flags & u64::from(Flags::DEVICE_LAUNCH.0) != 0 {
            // No kernel here launches graphs.
            return Err(Error::NOT_SUPPORTED.into());
        }
        if self.graphs.find(graph)?.is_capturing {
            return Err(Error::INVALID_VALUE.into());
        }
        if flags & u64::from(Flags::UPLOAD.0) != 0 {
            self.check_stream(call.context, upload)?;
        }
        let plan = Plan::of(&self.graphs, graph)?;
        let weight = plan.weight();
        if weight > EDGES_MAX - self.execs_weight {
            return Err(Error::OUT_OF_MEMORY.into());
        }
        let exec = self.execs.insert(Exec { flags, plan })?;
        self.execs_weight += weight;
        Ok(exec)
    }

    /// Ends an executable graph. No change of one has changed how many steps and edges it has.
    pub(super) fn destroy_exec(&mut self, exec: u64) -> Result<(), Error> {
        let ended = self.execs.remove(exec).ok_or(Error::INVALID_VALUE)?;
        self.execs_weight -= ended.plan.weight();
        Ok(())
    }

    /// Finds an executable graph.
    pub(super) fn exec(&self, exec: u64) -> Result<&Exec, Error> {
        self.execs.find(exec).ok_or(Error::INVALID_VALUE)
    }

    /// The same, to change it.
    pub(super) fn exec_mut(&mut self, exec: u64) -> Result<&mut Exec, Error> {
        self.execs.find_mut(exec).ok_or(Error::INVALID_VALUE)
    }

    /// Launches an executable graph in a stream; in a capture it becomes a node with all its work
    /// inside.
    pub(super) fn launch_graph(
        &mut self,
        call: &Call,
        exec: u64,
        stream: u64,
    ) -> Result<(), Error> {
        self.exec(exec)?;
        match self.enter(call, stream)? {
            Entry::Captured { context, lane } => {
                let plan = self.exec(exec)?.plan.clone();
                let recorded = plan.to_graph(&mut self.graphs).and_then(|graph| {
                    let recorded = self.record(lane, context, Work::Graph(graph));
                    recorded.inspect_err(|_| self.graphs.bury(graph))
                });
                recorded.inspect_err(|_| self.invalidate(lane))
            }
            Entry::Free { .. } => {
                // Taken out for the moment, so that its operations can change everything else.
                let nothing = Plan { steps: Vec::new() };
                if self.exec(exec)?.plan.calls_functions() {
                    // `run_graph` does.
                    return Err(Error::INVALID_VALUE);
                }
                let plan = std::mem::replace(&mut self.exec_mut(exec)?.plan, nothing);
                let done = self.follow(&plan);
                self.exec_mut(exec)?.plan = plan;
                done
            }
        }
    }

    fn follow(&mut self, plan: &Plan) -> Result<(), Error> {
        for step in plan.steps.iter().filter(|step| step.is_enabled) {
            match &step.task {
                Task::Operation(operation) => self.perform(step.context, operation)?,
                Task::Plan(plan) => self.follow(plan)?,
            }
        }
        Ok(())
    }
}
