//! What names mean in a body: registers, variables and labels, in nested scopes.

use std::collections::HashMap;

use super::code::Slot;
use super::kind::Kind;

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Named {
    Register {
        slot: Slot,
        kind: Kind,
    },
    /// A variable in shared memory, by its address there.
    Shared(u32),
    /// A variable in local memory, by its address there.
    Local(u32),
    /// A parameter, by its generic address.
    Parameter(u64),
}

/// Names declared between two braces.
#[derive(Debug, Default)]
struct Scope<'a> {
    outer: Option<usize>,
    names: HashMap<String, Named>,
    /// Registers that share a name and differ in a number: name, first slot, how many, kind.
    families: Vec<(&'a str, Slot, u32, Kind)>,
    labels: HashMap<&'a str, u32>,
    targets: HashMap<&'a str, Vec<&'a str>>,
}

/// All scopes of a kernel and what it calls.
#[derive(Debug)]
pub(super) struct Scopes<'a> {
    all: Vec<Scope<'a>>,
    current: usize,
}

impl<'a> Scopes<'a> {
    /// Begins with the outermost scope, that of the module.
    pub fn new() -> Self {
        Self { all: vec![Scope::default()], current: 0 }
    }

    /// The number of the innermost scope.
    pub fn current(&self) -> usize {
        self.current
    }

    /// Opens a scope in the innermost one.
    pub fn open(&mut self) {
        self.open_in(self.current);
    }

    /// Opens a scope for a function, which sees the module's names only; returns where to return.
    pub fn open_function(&mut self) -> usize {
        let before = self.current;
        self.open_in(0);
        before
    }

    fn open_in(&mut self, outer: usize) {
        self.all.push(Scope { outer: Some(outer), ..Scope::default() });
        self.current = self.all.len() - 1;
    }

    /// Closes the innermost scope; says whether there was one to close.
    pub fn close(&mut self) -> bool {
        let outer = self.all[self.current].outer;
        self.current = outer.unwrap_or(0);
        outer.is_some()
    }

    /// Goes back to a scope.
    pub fn return_to(&mut self, scope: usize) {
        self.current = scope;
    }

    /// Declares a name in the innermost scope.
    pub fn declare(&mut self, name: &str, named: Named) {
        self.all[self.current].names.insert(name.to_owned(), named);
    }

    /// Declares registers that share a name.
    pub fn declare_family(&mut self, name: &'a str, first: Slot, count: u32, kind: Kind) {
        self.all[self.current].families.push((name, first, count, kind));
    }

    /// Declares a label that stands before an instruction.
    pub fn label(&mut self, name: &'a str, at: u32) {
        self.all[self.current].labels.insert(name, at);
    }

    /// Declares a list of labels.
    pub fn targets(&mut self, name: &'a str, labels: Vec<&'a str>) {
        self.all[self.current].targets.insert(name, labels);
    }

    fn outwards(&self, from: usize) -> impl Iterator<Item = &Scope<'a>> {
        let mut next = Some(from);
        std::iter::from_fn(move || {
            let scope = &self.all[next?];
            next = scope.outer;
            Some(scope)
        })
    }

    /// Finds what a name means in the innermost scope.
    pub fn find(&self, name: &str) -> Option<Named> {
        self.outwards(self.current).find_map(|scope| scope.find(name))
    }

    /// Finds a label as seen from a scope.
    pub fn find_label(&self, from: usize, name: &str) -> Option<u32> {
        self.outwards(from).find_map(|scope| scope.labels.get(name).copied())
    }

    /// Finds a list of labels as seen from a scope.
    pub fn find_targets(&self, from: usize, name: &str) -> Option<Vec<&'a str>> {
        self.outwards(from).find_map(|scope| scope.targets.get(name).cloned())
    }
}

impl Scope<'_> {
    fn find(&self, name: &str) -> Option<Named> {
        if let Some(&named) = self.names.get(name) {
            return Some(named);
        }
        self.families.iter().find_map(|&(family, first, count, kind)| {
            let digits = name.strip_prefix(family)?;
            // A leading zero would be another name.
            let plain = digits.len() == 1 || !digits.starts_with('0');
            let number: u32 = digits.parse().ok().filter(|&number| plain && number < count)?;
            Some(Named::Register { slot: first + number, kind })
        })
    }
}
