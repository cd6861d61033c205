//! Graphs: operations and which of them must be done before which.
//!
//! A graph and its nodes are named by handles of their own, and no edge leads out of a graph. The
//! nodes of a graph inside a node belong to that graph, and it ends with its node.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use vgpu_abi::cuda::Error;

use super::handles::{Kind, Table};
use super::operation::Operation;

/// Most graphs inside one another: they are copied, planned and launched by recursion, and nobody
/// nests them by more than a few.
const DEPTH_MAX: usize = 32;

/// Most edges of all graphs of a client, and most steps with their edges of all its executable
/// graphs: eight million, a thousand times what the largest models have. A clone of many is asked
/// for by a few bytes.
pub(super) const EDGES_MAX: usize = 1 << 23;

/// Edge data (CUgraphEdgeData): two ports and a type, then zeroes.
pub(crate) type EdgeData = [u8; 8];

/// A dependency on another node of the same graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dependency {
    /// The node that must be done before.
    pub node: u64,
    /// What of it, and what for.
    pub data: EdgeData,
}

impl Dependency {
    /// Depends on all of a node.
    pub fn on(node: u64) -> Self {
        Self { node, data: EdgeData::default() }
    }
}

/// What a node does.
#[derive(Debug, Clone)]
pub(crate) enum Work {
    /// One operation. Shared by all clones and executable graphs until one of them changes it.
    Operation(Arc<Operation>),
    /// A whole graph, which belongs to the node.
    Graph(u64),
}

/// One node.
#[derive(Debug)]
pub(crate) struct Node {
    /// The graph that it belongs to.
    pub graph: u64,
    /// The context in which it is done.
    pub context: u64,
    /// What it does.
    pub work: Work,
    /// What must be done before.
    pub dependencies: Vec<Dependency>,
    /// The node that it was cloned from.
    pub origin: Option<u64>,
}

/// One graph.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    /// Its nodes in the order in which they were added.
    pub nodes: Vec<u64>,
    /// The node that it is inside of.
    pub owner: Option<u64>,
    /// Whether a capture adds to it: then it is neither destroyed nor instantiated.
    pub is_capturing: bool,
}

/// All graphs of a client.
#[derive(Debug)]
pub(crate) struct Graphs {
    graphs: Table<Graph>,
    nodes: Table<Node>,
    /// Edges of all graphs.
    edges: usize,
}

impl Graphs {
    /// Starts without any.
    pub fn new() -> Self {
        Self { graphs: Table::new(Kind::Graph), nodes: Table::new(Kind::GraphNode), edges: 0 }
    }

    /// Counts edges that are added.
    fn take_edges(&mut self, count: usize) -> Result<(), Error> {
        if count > EDGES_MAX - self.edges {
            return Err(Error::OUT_OF_MEMORY);
        }
        self.edges += count;
        Ok(())
    }

    /// Makes an empty graph.
    pub fn create(&mut self) -> Result<u64, Error> {
        self.graphs.insert(Graph::default())
    }

    /// Finds a graph.
    pub fn find(&self, graph: u64) -> Result<&Graph, Error> {
        self.graphs.find(graph).ok_or(Error::INVALID_VALUE)
    }

    /// The same, to change it.
    pub fn find_mut(&mut self, graph: u64) -> Result<&mut Graph, Error> {
        self.graphs.find_mut(graph).ok_or(Error::INVALID_VALUE)
    }

    /// Finds a node.
    pub fn node(&self, node: u64) -> Result<&Node, Error> {
        self.nodes.find(node).ok_or(Error::INVALID_VALUE)
    }

    /// The same, to change it.
    pub fn node_mut(&mut self, node: u64) -> Result<&mut Node, Error> {
        self.nodes.find_mut(node).ok_or(Error::INVALID_VALUE)
    }

    /// Adds a node to a graph.
    ///
    /// # Errors
    /// INVALID_VALUE if there is no such graph, or a dependency is none of its nodes or is named
    /// twice; OUT_OF_MEMORY if there are more nodes than anybody has use for.
    pub fn add(
        &mut self,
        graph: u64,
        context: u64,
        work: Work,
        dependencies: Vec<Dependency>,
    ) -> Result<u64, Error> {
        self.check_dependencies(graph, &dependencies)?;
        if let Work::Graph(inner) = work
            && self.depth(graph) + self.height(inner) > DEPTH_MAX
        {
            return Err(Error::OUT_OF_MEMORY);
        }
        let count = dependencies.len();
        self.take_edges(count)?;
        let node = Node { graph, context, work, dependencies, origin: None };
        let node = self.nodes.insert(node).inspect_err(|_| self.edges -= count)?;
        if let Work::Graph(inner) = self.node(node)?.work {
            self.find_mut(inner)?.owner = Some(node);
        }
        self.find_mut(graph)?.nodes.push(node);
        Ok(node)
    }

    /// Checks that dependencies are nodes of a graph, each named once.
    pub fn check_dependencies(&self, graph: u64, dependencies: &[Dependency]) -> Result<(), Error> {
        self.find(graph)?;
        let mut seen = BTreeSet::new();
        for dependency in dependencies {
            if self.node(dependency.node)?.graph != graph || !seen.insert(dependency.node) {
                return Err(Error::INVALID_VALUE);
            }
        }
        Ok(())
    }

    /// Adds edges between nodes of a graph, all of them or none.
    ///
    /// # Errors
    /// INVALID_VALUE if a node is none of the graph's, or would depend on itself or twice on one.
    pub fn add_edges(&mut self, graph: u64, edges: &[(Dependency, u64)]) -> Result<(), Error> {
        self.find(graph)?;
        let mut seen = BTreeSet::new();
        for (from, to) in edges {
            let (before, after) = (self.node(from.node)?, self.node(*to)?);
            let is_there = after.dependencies.iter().any(|one| one.node == from.node);
            let is_inside = before.graph == graph && after.graph == graph;
            if !is_inside || from.node == *to || is_there || !seen.insert((from.node, *to)) {
                return Err(Error::INVALID_VALUE);
            }
        }
        self.take_edges(edges.len())?;
        for (from, to) in edges {
            self.node_mut(*to)?.dependencies.push(*from);
        }
        Ok(())
    }

    /// Removes edges between nodes of a graph, all of them or none.
    ///
    /// # Errors
    /// INVALID_VALUE if one is not there, edge data included.
    pub fn remove_edges(&mut self, graph: u64, edges: &[(Dependency, u64)]) -> Result<(), Error> {
        self.find(graph)?;
        for (from, to) in edges {
            let after = self.node(*to)?;
            if after.graph != graph || !after.dependencies.contains(from) {
                return Err(Error::INVALID_VALUE);
            }
        }
        for (from, to) in edges {
            self.remove_dependencies(*to, |one| one == from)?;
        }
        Ok(())
    }

    fn remove_dependencies(
        &mut self,
        node: u64,
        is_meant: impl Fn(&Dependency) -> bool,
    ) -> Result<(), Error> {
        let dependencies = &mut self.node_mut(node)?.dependencies;
        let before = dependencies.len();
        dependencies.retain(|one| !is_meant(one));
        let removed = before - dependencies.len();
        self.edges -= removed;
        Ok(())
    }

    /// Removes a node with the edges that end there; returns the graph inside it.
    fn remove_node(&mut self, node: u64) -> Option<u64> {
        let node = self.nodes.remove(node)?;
        self.edges -= node.dependencies.len();
        match node.work {
            Work::Graph(inner) => Some(inner),
            Work::Operation(_) => None,
        }
    }

    /// Destroys a graph with its nodes and the graphs inside them.
    ///
    /// # Errors
    /// INVALID_VALUE if there is none, or it is not its own master: a capture's, or a node's.
    pub fn destroy(&mut self, graph: u64) -> Result<(), Error> {
        let found = self.find(graph)?;
        if found.is_capturing || found.owner.is_some() {
            return Err(Error::INVALID_VALUE);
        }
        self.bury(graph);
        Ok(())
    }

    /// Ends a graph whoever's it is, and the graphs inside.
    pub fn bury(&mut self, graph: u64) {
        let mut ending = vec![graph];
        while let Some(graph) = ending.pop() {
            for node in self.graphs.remove(graph).map(|graph| graph.nodes).unwrap_or_default() {
                ending.extend(self.remove_node(node));
            }
        }
    }

    /// Removes a node, and the edges that begin or end there.
    ///
    /// # Errors
    /// INVALID_VALUE if there is no such node, or a capture adds to its graph.
    pub fn destroy_node(&mut self, node: u64) -> Result<(), Error> {
        let graph = self.node(node)?.graph;
        if self.find(graph)?.is_capturing {
            return Err(Error::INVALID_VALUE);
        }
        let left = &mut self.find_mut(graph)?.nodes;
        left.retain(|&other| other != node);
        for other in left.clone() {
            self.remove_dependencies(other, |dependency| dependency.node == node)?;
        }
        if let Some(inner) = self.remove_node(node) {
            self.bury(inner);
        }
        Ok(())
    }

    /// Copies a graph with all in it.
    pub fn copy(&mut self, graph: u64) -> Result<u64, Error> {
        let copy = self.create()?;
        let copied = self.copy_nodes(graph, copy);
        copied.inspect_err(|_| self.bury(copy)).map(|()| copy)
    }

    fn copy_nodes(&mut self, from: u64, to: u64) -> Result<(), Error> {
        let mut copies = BTreeMap::new();
        for node in self.find(from)?.nodes.clone() {
            let Node { context, work, .. } = self.node(node)?;
            let (context, work) = (*context, work.clone());
            let work = match work {
                Work::Graph(inner) => Work::Graph(self.copy(inner)?),
                operation => operation,
            };
            let copy = self.add(to, context, work, Vec::new())?;
            self.node_mut(copy)?.origin = Some(node);
            copies.insert(node, copy);
        }
        // Edges last: a node may have been made to depend on a later one.
        for (&node, &copy) in &copies {
            let dependencies = self.node(node)?.dependencies.clone();
            self.take_edges(dependencies.len())?;
            let moved =
                dependencies.iter().map(|one| Dependency { node: copies[&one.node], ..*one });
            self.node_mut(copy)?.dependencies = moved.collect();
        }
        Ok(())
    }

    /// Finds the copy that a cloned graph has of a node.
    pub fn find_in_copy(&self, node: u64, copy: u64) -> Result<u64, Error> {
        let nodes = &self.find(copy)?.nodes;
        let is_copy = |other: &&u64| self.node(**other).is_ok_and(|one| one.origin == Some(node));
        nodes.iter().find(is_copy).copied().ok_or(Error::INVALID_VALUE)
    }

    /// Lists all nodes that must be done before these, and these.
    pub fn with_ancestors(&self, nodes: impl IntoIterator<Item = u64>) -> BTreeSet<u64> {
        let mut found = BTreeSet::new();
        let mut left: Vec<u64> = nodes.into_iter().collect();
        while let Some(node) = left.pop() {
            if let Ok(here) = self.node(node)
                && found.insert(node)
            {
                left.extend(here.dependencies.iter().map(|dependency| dependency.node));
            }
        }
        found
    }

    /// Lists a graph's nodes so that each comes after what it depends on, and otherwise in the
    /// order in which they were added.
    ///
    /// # Errors
    /// A node of a cycle, if there is one.
    pub fn in_order(&self, graph: &Graph) -> Result<Vec<u64>, u64> {
        let mut dependents: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        let mut waits_for = BTreeMap::new();
        let mut ready = BTreeSet::new();
        for (&handle, node) in
            graph.nodes.iter().filter_map(|node| Some((node, self.node(*node).ok()?)))
        {
            waits_for.insert(handle, node.dependencies.len());
            if node.dependencies.is_empty() {
                ready.insert(handle);
            }
            for dependency in &node.dependencies {
                dependents.entry(dependency.node).or_default().push(handle);
            }
        }
        let mut order = Vec::with_capacity(graph.nodes.len());
        // Handles grow, so the lowest is the one that was added first.
        while let Some(node) = ready.pop_first() {
            order.push(node);
            waits_for.remove(&node);
            for dependent in dependents.remove(&node).unwrap_or_default() {
                let left = waits_for.entry(dependent).or_default();
                *left -= 1;
                if *left == 0 {
                    ready.insert(dependent);
                }
            }
        }
        waits_for.first_key_value().map_or(Ok(order), |(&stuck, _)| Err(stuck))
    }

    /// Counts the graphs inside one another, this one included.
    fn height(&self, graph: u64) -> usize {
        let nodes = self.find(graph).map(|graph| &graph.nodes[..]).unwrap_or_default();
        let inner = nodes.iter().filter_map(|&node| match self.node(node).ok()?.work {
            Work::Graph(inner) => Some(self.height(inner)),
            Work::Operation(_) => None,
        });
        1 + inner.max().unwrap_or(0)
    }

    /// Counts the graphs around one, this one included.
    fn depth(&self, graph: u64) -> usize {
        let mut depth = 1;
        let mut graph = graph;
        while let Some(around) = self
            .find(graph)
            .ok()
            .and_then(|graph| graph.owner)
            .and_then(|owner| self.node(owner).ok())
        {
            graph = around.graph;
            depth += 1;
        }
        depth
    }
}
