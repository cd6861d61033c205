//! When copies of the program's memory travel in a graph that calls the program's functions.
//!
//! What a function is to see is brought before it is called, and what it has written is sent when
//! it has returned. What no function comes before is sent before the launch, and what comes before
//! none is brought behind it.

use std::collections::{HashMap, HashSet};

/// The nodes of a graph that matter here, by what they do.
#[derive(Debug)]
pub(super) struct Nodes<'a> {
    /// They call functions.
    pub functions: &'a [u64],
    /// They read the program's memory.
    pub reads: &'a [u64],
    /// They write it.
    pub writes: &'a [u64],
}

/// When each copy travels, by its node.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Order {
    /// Reads before the launch.
    pub before: Vec<u64>,
    /// Writes behind it.
    pub behind: Vec<u64>,
    /// For each function, in their order: writes before it is called, reads when it has returned.
    pub around: Vec<(Vec<u64>, Vec<u64>)>,
}

/// What lies on one side of each function: nodes that it comes behind, or that come behind it.
struct Side(HashMap<u64, HashSet<u64>>);

impl Side {
    fn new(functions: &[u64], edges: impl Iterator<Item = (u64, u64)>) -> Self {
        let mut next: HashMap<u64, Vec<u64>> = HashMap::new();
        for (from, to) in edges {
            next.entry(from).or_default().push(to);
        }
        let reached = |function: u64| {
            let (mut reached, mut left) = (HashSet::new(), vec![function]);
            while let Some(node) = left.pop() {
                for &other in next.get(&node).into_iter().flatten() {
                    if reached.insert(other) {
                        left.push(other);
                    }
                }
            }
            reached
        };
        Self(functions.iter().map(|&function| (function, reached(function))).collect())
    }

    fn of(&self, function: u64) -> &HashSet<u64> {
        &self.0[&function]
    }

    /// Picks the copies on this side of a function, with no other function in between.
    fn nearest(&self, function: u64, copies: &[u64]) -> Vec<u64> {
        let here = self.of(function);
        let between = |copy: u64| {
            self.0.iter().any(|(other, there)| here.contains(other) && there.contains(&copy))
        };
        copies.iter().copied().filter(|copy| here.contains(copy) && !between(*copy)).collect()
    }

    /// Picks the copies that are on this side of no function.
    fn beyond(&self, copies: &[u64]) -> Vec<u64> {
        let is_beyond = |copy: &u64| !self.0.values().any(|there| there.contains(copy));
        copies.iter().copied().filter(is_beyond).collect()
    }
}

/// Orders the copies of a graph with these edges, each from a node to one that comes behind it.
pub(super) fn order(nodes: &Nodes<'_>, edges: &[(u64, u64)]) -> Order {
    let behind = Side::new(nodes.functions, edges.iter().copied());
    let ahead = Side::new(nodes.functions, edges.iter().map(|&(from, to)| (to, from)));
    let around = |&function: &u64| {
        (ahead.nearest(function, nodes.writes), behind.nearest(function, nodes.reads))
    };
    Order {
        before: behind.beyond(nodes.reads),
        behind: ahead.beyond(nodes.writes),
        around: nodes.functions.iter().map(around).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_travel_next_to_the_functions_that_see_them() {
        // 1 reads, 2 writes, 10 calls, 3 reads, 4 writes, 11 calls, 5 writes; 6 reads beside.
        let edges = [(1, 2), (2, 10), (10, 3), (3, 4), (4, 11), (11, 5)];
        let nodes = Nodes { functions: &[10, 11], reads: &[1, 3, 6], writes: &[2, 4, 5] };
        let expected = Order {
            before: vec![1, 6],
            behind: vec![5],
            around: vec![(vec![2], vec![3]), (vec![4], vec![])],
        };
        assert_eq!(order(&nodes, &edges), expected);
    }

    #[test]
    fn without_functions_all_travels_around_the_launch() {
        let nodes = Nodes { functions: &[], reads: &[1], writes: &[2] };
        let expected = Order { before: vec![1], behind: vec![2], around: vec![] };
        assert_eq!(order(&nodes, &[(1, 2)]), expected);
    }

    #[test]
    fn functions_side_by_side_each_see_what_came_before_both() {
        let nodes = Nodes { functions: &[10, 11], reads: &[3], writes: &[2] };
        let edges = [(2, 10), (2, 11), (10, 3), (11, 3)];
        let expected =
            Order { around: vec![(vec![2], vec![3]), (vec![2], vec![3])], ..Order::default() };
        assert_eq!(order(&nodes, &edges), expected);
    }
}
