//! Changes of executable graphs (CUDA Driver API, `cuGraphExecUpdate`): what may change, what may
//! not, and what is said then.

use std::collections::BTreeMap;

use vgpu_abi::cuda::{
    CUgraphExecUpdateResult as Outcome, CUgraphInstantiate_flags as Flags,
    CUlaunchAttributeID as Id, CUmemorytype, Error,
};
use vgpu_link::wire::cuda::{NodeCopy, NodeCopyEnd, NodeSet};

use super::Sim;
use super::code::Launch;
use super::exec::{Plan, Step, Task};
use super::operation::Operation;

/// Why an executable graph was not updated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unlike {
    /// The reason.
    pub outcome: Outcome,
    /// The node of the graph that it is about, or 0.
    pub node: u64,
    /// The other end of the edge that it is about, or 0.
    pub from: u64,
}

impl Unlike {
    fn node(outcome: Outcome, node: u64) -> Self {
        Self { outcome, node, from: 0 }
    }
}

impl Sim {
    /// Lets an executable graph do what another graph says, if that differs in what nodes do and
    /// not in how they depend on each other.
    pub(super) fn update_exec(
        &mut self,
        exec: u64,
        graph: u64,
    ) -> Result<Result<(), Unlike>, Error> {
        let old = self.exec(exec)?;
        if self.graphs.find(graph)?.is_capturing {
            return Err(Error::INVALID_VALUE);
        }
        let topology = |node| Unlike::node(Outcome::ERROR_TOPOLOGY_CHANGED, node);
        let new = match Plan::of(&self.graphs, graph) {
            Ok(new) => new,
            Err(unmade) => return Ok(Err(topology(unmade.node))),
        };
        let updated = self.updated(&old.plan, &new, old.flags);
        match updated {
            Ok(plan) => self.exec_mut(exec)?.plan = plan,
            Err(unlike) => return Ok(Err(unlike)),
        }
        Ok(Ok(()))
    }

    /// Makes the plan that does what `new` says, still named by the nodes of `old`.
    fn updated(&self, old: &Plan, new: &Plan, flags: u64) -> Result<Plan, Unlike> {
        let pairs = pair(old, new)?;
        let mut steps = Vec::with_capacity(old.steps.len());
        for step in &old.steps {
            let other = pairs.get(&step.source).and_then(|&at| new.steps.get(at));
            let other = other.ok_or(Unlike::node(Outcome::ERROR_TOPOLOGY_CHANGED, 0))?;
            let task = match (&step.task, &other.task) {
                (Task::Plan(old), Task::Plan(new)) => Task::Plan(self.updated(old, new, flags)?),
                (Task::Operation(old), Task::Operation(new)) => {
                    let same_context = step.context == other.context;
                    self.check_change(old, new, same_context, flags)
                        .map_err(|outcome| Unlike::node(outcome, other.source))?;
                    Task::Operation(new.clone())
                }
                _ => return Err(Unlike::node(Outcome::ERROR_NODE_TYPE_CHANGED, other.source)),
            };
            steps.push(Step { task, ..step.clone() });
        }
        Ok(Plan { steps })
    }

    /// Lets one node of an executable graph do another operation.
    pub(super) fn change_step(
        &mut self,
        exec: u64,
        source: u64,
        operation: Operation,
    ) -> Result<(), Error> {
        self.graphs.node(source)?;
        let flags = self.exec(exec)?.flags;
        let step = self.exec_mut(exec)?.plan.find_mut(source).ok_or(Error::INVALID_VALUE)?;
        let Task::Operation(old) = &step.task else { return Err(Error::INVALID_VALUE) };
        let old = old.clone();
        if let (Operation::Copy(old), Operation::Copy(new)) = (&*old, &operation)
            && ![old, new].iter().all(|copy| copy.height == 1 && copy.depth == 1)
        {
            // `cuGraphExecMemcpyNodeSetParams`: both "must be 1-dimensional".
            return Err(Error::INVALID_VALUE);
        }
        self.check_change(&old, &operation, true, flags).map_err(|_| Error::INVALID_VALUE)?;
        let step = self.exec_mut(exec)?.plan.find_mut(source).ok_or(Error::INVALID_VALUE)?;
        step.task = Task::Operation(operation.into());
        Ok(())
    }

    /// Lets a child graph's node of an executable graph do what another graph says.
    pub(super) fn change_child(
        &mut self,
        exec: u64,
        source: u64,
        graph: u64,
    ) -> Result<Result<(), Unlike>, Error> {
        self.graphs.node(source)?;
        let new = Plan::of(&self.graphs, graph).map_err(|unmade| unmade.error)?;
        let flags = self.exec(exec)?.flags;
        let step = self.exec_mut(exec)?.plan.find_mut(source).ok_or(Error::INVALID_VALUE)?;
        let Task::Plan(old) = &step.task else { return Err(Error::INVALID_VALUE) };
        let old = old.clone();
        let plan = match self.updated(&old, &new, flags) {
            Ok(plan) => plan,
            Err(unlike) => return Ok(Err(unlike)),
        };
        let step = self.exec_mut(exec)?.plan.find_mut(source).ok_or(Error::INVALID_VALUE)?;
        step.task = Task::Plan(plan);
        Ok(Ok(()))
    }

    /// Checks that a node which did one operation may do another.
    fn check_change(
        &self,
        old: &Operation,
        new: &Operation,
        same_context: bool,
        flags: u64,
    ) -> Result<(), Outcome> {
        match (old, new) {
            (Operation::Launch(old), Operation::Launch(new)) => {
                if !same_context {
                    return Err(Outcome::ERROR_UNSUPPORTED_FUNCTION_CHANGE);
                }
                check_attributes(old, new, flags)
            }
            (
                Operation::Launch(_) | Operation::Blas(_),
                Operation::Launch(_) | Operation::Blas(_),
            ) => {
                if same_context {
                    Ok(())
                } else {
                    Err(Outcome::ERROR_UNSUPPORTED_FUNCTION_CHANGE)
                }
            }
            (Operation::Copy(_) | Operation::Set(_), _) if !same_context => {
                Err(Outcome::ERROR_PARAMETERS_CHANGED)
            }
            (Operation::Copy(old), Operation::Copy(new)) => {
                self.check_copy(old, new).ok_or(Outcome::ERROR_PARAMETERS_CHANGED)
            }
            (Operation::Set(old), Operation::Set(new)) => {
                self.check_set(old, new).ok_or(Outcome::ERROR_PARAMETERS_CHANGED)
            }
            (Operation::Empty, Operation::Empty)
            | (Operation::Host(_), Operation::Host(_))
            | (Operation::EventRecord(_), Operation::EventRecord(_))
            | (Operation::EventWait(_), Operation::EventWait(_)) => Ok(()),
            _ => Err(Outcome::ERROR_NODE_TYPE_CHANGED),
        }
    }

    fn check_copy(&self, old: &NodeCopy, new: &NodeCopy) -> Option<()> {
        let kind = |kind| CUmemorytype(kind) == CUmemorytype::ARRAY;
        let is_like = kind(old.from.kind) == kind(new.from.kind)
            && kind(old.to.kind) == kind(new.to.kind)
            && self.is_same_end(&old.from, &new.from)
            && self.is_same_end(&old.to, &new.to);
        is_like.then_some(())
    }

    /// Says whether two ends of copies are both the program's, or as [`Self::is_same_place`].
    fn is_same_end(&self, old: &NodeCopyEnd, new: &NodeCopyEnd) -> bool {
        let is_span = |end: &NodeCopyEnd| CUmemorytype(end.kind) == CUmemorytype::HOST;
        match (is_span(old), is_span(new)) {
            (true, true) => true,
            (false, false) => self.is_same_place(old.address, new.address),
            _ => false,
        }
    }

    fn check_set(&self, old: &NodeSet, new: &NodeSet) -> Option<()> {
        let form = |set: &NodeSet| (set.width, set.height, set.pitch, set.element_bytes);
        let is_row = old.height == 1 && new.height == 1;
        let is_like = (is_row || form(old) == form(new)) && self.is_same_place(old.to, new.to);
        is_like.then_some(())
    }

    /// Says whether two addresses lie on one device, and were allocated in one context. What lay
    /// at the old one may be freed by now.
    fn is_same_place(&self, old: u64, new: u64) -> bool {
        match (self.memory.owner(old), self.memory.owner(new)) {
            (_, Err(_)) => false,
            (Err(_), Ok(_)) => true,
            (Ok(old), Ok(new)) => old == new,
        }
    }
}

fn check_attributes(old: &Launch, new: &Launch, flags: u64) -> Result<(), Outcome> {
    let priority = |launch: &Launch| {
        let mut all = launch.attributes.iter();
        all.find(|(id, _)| *id == Id::PRIORITY.0)
            .map_or([0; 4], |(_, [a, b, c, d, ..])| [*a, *b, *c, *d])
    };
    let keeps_priority = flags & u64::from(Flags::USE_NODE_PRIORITY.0) != 0;
    let is_like = old.is_cooperative == new.is_cooperative
        && (!keeps_priority || priority(old) == priority(new));
    if is_like { Ok(()) } else { Err(Outcome::ERROR_ATTRIBUTES_CHANGED) }
}

/// Pairs the steps of two plans, beginning with those that nothing depends on, each in the order
/// in which it was added, and following the edges in their order. Returns for each node of the
/// old one the place of its like.
fn pair(old: &Plan, new: &Plan) -> Result<BTreeMap<u64, usize>, Unlike> {
    let unlike = |node, from| Unlike { outcome: Outcome::ERROR_TOPOLOGY_CHANGED, node, from };
    if old.steps.len() != new.steps.len() {
        return Err(unlike(0, 0));
    }
    let (olds, news) = (places(old), places(new));
    let (old_ends, new_ends) = (ends(old), ends(new));
    if old_ends.len() != new_ends.len() {
        let extra = new_ends.get(old_ends.len()).or(new_ends.last());
        return Err(unlike(extra.map_or(0, |&at| new.steps[at].source), 0));
    }
    let mut paired = BTreeMap::new();
    let mut back = BTreeMap::new();
    let mut left: Vec<(usize, usize)> = old_ends.into_iter().zip(new_ends).collect();
    for &(one, other) in &left {
        paired.insert(old.steps[one].source, other);
        back.insert(other, old.steps[one].source);
    }
    while let Some((one, other)) = left.pop() {
        let (one, other) = (&old.steps[one], &new.steps[other]);
        if one.dependencies.len() != other.dependencies.len() {
            return Err(unlike(other.source, 0));
        }
        for (before, after) in one.dependencies.iter().zip(&other.dependencies) {
            let (Some(&from), Some(&to)) = (olds.get(&before.node), news.get(&after.node)) else {
                return Err(unlike(other.source, after.node));
            };
            let is_like = before.data == after.data;
            match (paired.get(&before.node), back.get(&to)) {
                (None, None) if is_like => {
                    paired.insert(before.node, to);
                    back.insert(to, before.node);
                    left.push((from, to));
                }
                (Some(&place), Some(_)) if is_like && place == to => {}
                _ => return Err(unlike(other.source, after.node)),
            }
        }
    }
    Ok(paired)
}

/// Where the step of each node stands.
fn places(plan: &Plan) -> BTreeMap<u64, usize> {
    plan.steps.iter().enumerate().map(|(at, step)| (step.source, at)).collect()
}

/// The steps that nothing depends on, in the order in which their nodes were added.
fn ends(plan: &Plan) -> Vec<usize> {
    let mut ends = places(plan);
    for dependency in plan.steps.iter().flat_map(|step| &step.dependencies) {
        ends.remove(&dependency.node);
    }
    ends.into_values().collect()
}
