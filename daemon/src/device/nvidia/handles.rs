//! Handles of the genuine driver: the guest has numbers, the driver has pointers, and nothing that
//! the guest makes up reaches the driver.

use std::collections::{BTreeMap, HashMap, HashSet};

use vgpu_abi::cuda::Error;

use super::foreign::Pointer;

/// What a handle names. The kind stands in a handle's top byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A context.
    Context = 1,
    /// A stream.
    Stream = 2,
    /// An event.
    Event = 3,
    /// A module.
    Module = 4,
    /// A function of a module, or a kernel in a context.
    Function = 5,
    /// A library.
    Library = 6,
    /// A kernel of a library.
    Kernel = 7,
    /// A link that is being made.
    Linker = 8,
    /// A graph.
    Graph = 9,
    /// A node of a graph.
    Node = 10,
    /// An executable graph.
    Exec = 11,
    /// A memory pool.
    Pool = 12,
    /// An array.
    Array = 13,
    /// A mipmapped array.
    Mipmap = 14,
    /// Physical memory of virtual memory management.
    Memory = 15,
}

impl Kind {
    /// Says whether such a thing ends with the context in which it was made.
    fn is_of_a_context(self) -> bool {
        !matches!(self, Self::Context | Self::Library | Self::Graph | Self::Pool | Self::Memory)
    }
}

/// Bits below the kind.
const NUMBER_BITS: u32 = 56;

/// Most living things of one client: a million, some 100 MiB of a worker. The kernels of the
/// largest backends are 7,000, the nodes of their graphs some thousands.
const LIVING_MAX: usize = 1 << 20;

#[derive(Debug)]
struct Entry {
    pointer: Pointer,
    /// What it ends with; 0 for nothing.
    owner: u64,
}

/// All that one client has of the driver.
#[derive(Debug)]
pub(crate) struct Handles {
    next: u64,
    living: BTreeMap<u64, Entry>,
    numbers: HashMap<(Kind, Pointer), u64>,
    /// What ends with something, for all that has any such.
    owned: HashMap<u64, HashSet<u64>>,
}

impl Handles {
    /// Starts without any.
    pub fn new() -> Self {
        let (living, numbers, owned) = (BTreeMap::new(), HashMap::new(), HashMap::new());
        Self { next: 1, living, numbers, owned }
    }

    /// Takes a number for something that may come to life later, and again and again.
    pub fn take(&mut self, kind: Kind) -> u64 {
        let number = (kind as u64) << NUMBER_BITS | self.next;
        self.next += 1;
        number
    }

    /// Brings something to life under a number that was taken.
    pub fn put(&mut self, kind: Kind, number: u64, pointer: Pointer) {
        self.living.insert(number, Entry { pointer, owner: 0 });
        self.numbers.insert((kind, pointer), number);
    }

    /// Lets a number that was taken for a context live, before the driver has made what it names.
    /// Nothing is changed for one that lives.
    pub fn promise(&mut self, number: u64) {
        self.living.entry(number).or_insert(Entry { pointer: Pointer::default(), owner: 0 });
    }

    /// Says whether a number lives and what it names is still to be made.
    pub fn is_promised(&self, number: u64) -> bool {
        self.living.get(&number).is_some_and(|entry| entry.pointer == Pointer::default())
    }

    /// Names something that the driver gave; the same thing again keeps its number. It ends with
    /// `owner`, if it is of a kind that ends with anything.
    ///
    /// # Errors
    /// OUT_OF_MEMORY if a client has more than it can have use for; UNKNOWN if the driver gave
    /// nothing.
    pub fn keep(&mut self, kind: Kind, pointer: Pointer, owner: u64) -> Result<u64, Error> {
        if pointer == Pointer::default() {
            return Err(Error::UNKNOWN);
        }
        if let Some(&number) = self.numbers.get(&(kind, pointer)) {
            return Ok(number);
        }
        if self.living.len() >= LIVING_MAX {
            return Err(Error::OUT_OF_MEMORY);
        }
        let number = self.take(kind);
        let of_a_context = owner >> NUMBER_BITS == Kind::Context as u64;
        let owner = if of_a_context && !kind.is_of_a_context() { 0 } else { owner };
        self.living.insert(number, Entry { pointer, owner });
        self.numbers.insert((kind, pointer), number);
        if owner != 0 {
            self.owned.entry(owner).or_default().insert(number);
        }
        Ok(number)
    }

    /// Finds what a number names. 0 is NULL, about which the driver has its own rules.
    ///
    /// # Errors
    /// For what never was: INVALID_CONTEXT or INVALID_HANDLE. For a context that was:
    /// CONTEXT_IS_DESTROYED.
    pub fn find(&self, kind: Kind, number: u64) -> Result<Pointer, Error> {
        if number == 0 {
            return Ok(Pointer::default());
        }
        let is_kind = number >> NUMBER_BITS == kind as u64;
        match self.living.get(&number) {
            Some(entry) if is_kind => Ok(entry.pointer),
            _ if kind != Kind::Context => Err(Error::INVALID_HANDLE),
            _ if is_kind && self.was_taken(number) => Err(Error::CONTEXT_IS_DESTROYED),
            _ => Err(Error::INVALID_CONTEXT),
        }
    }

    fn was_taken(&self, number: u64) -> bool {
        (1..self.next).contains(&(number & ((1 << NUMBER_BITS) - 1)))
    }

    /// Tells what something ends with; 0 for nothing.
    pub fn owner(&self, number: u64) -> u64 {
        self.living.get(&number).map_or(0, |entry| entry.owner)
    }

    /// Says whether a number names something.
    pub fn is_alive(&self, number: u64) -> bool {
        self.living.contains_key(&number)
    }

    /// Ends what a number names, and what ends with it.
    pub fn end(&mut self, number: u64) {
        let mut ending = vec![number];
        while let Some(number) = ending.pop() {
            let Some(entry) = self.living.remove(&number) else { continue };
            let Some(kind) = KINDS.into_iter().find(|kind| *kind as u64 == number >> NUMBER_BITS)
            else {
                continue;
            };
            self.numbers.remove(&(kind, entry.pointer));
            ending.extend(self.owned.remove(&number).unwrap_or_default());
            if let Some(others) = self.owned.get_mut(&entry.owner) {
                others.remove(&number);
                if others.is_empty() {
                    self.owned.remove(&entry.owner);
                }
            }
        }
    }
}

/// All kinds.
const KINDS: [Kind; 15] = [
    Kind::Context,
    Kind::Stream,
    Kind::Event,
    Kind::Module,
    Kind::Function,
    Kind::Library,
    Kind::Kernel,
    Kind::Linker,
    Kind::Graph,
    Kind::Node,
    Kind::Exec,
    Kind::Pool,
    Kind::Array,
    Kind::Mipmap,
    Kind::Memory,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_names_one_thing_of_one_kind_and_a_made_up_one_none() {
        let mut handles = Handles::new();
        let context = handles.keep(Kind::Context, Pointer(16), 0).expect("room");
        let event = handles.keep(Kind::Event, Pointer(32), context).expect("room");
        assert_eq!(handles.find(Kind::Event, event), Ok(Pointer(32)));
        assert_eq!(handles.keep(Kind::Event, Pointer(32), context), Ok(event), "the same thing");
        assert_eq!(handles.find(Kind::Stream, event), Err(Error::INVALID_HANDLE));
        for made_up in [1, 32, event + 1, u64::MAX, context] {
            assert_eq!(handles.find(Kind::Event, made_up), Err(Error::INVALID_HANDLE));
        }
        assert_eq!(handles.find(Kind::Context, event), Err(Error::INVALID_CONTEXT));
        assert_eq!(handles.find(Kind::Event, 0), Ok(Pointer(0)));
    }

    #[test]
    fn what_belongs_to_something_ends_with_it() {
        let mut handles = Handles::new();
        let context = handles.keep(Kind::Context, Pointer(16), 0).expect("room");
        let module = handles.keep(Kind::Module, Pointer(32), context).expect("room");
        let function = handles.keep(Kind::Function, Pointer(48), module).expect("room");
        let graph = handles.keep(Kind::Graph, Pointer(64), context).expect("room");
        handles.end(context);
        assert!(!handles.is_alive(module) && !handles.is_alive(function));
        assert!(handles.is_alive(graph), "a graph belongs to no context");
        assert_eq!(handles.find(Kind::Context, context), Err(Error::CONTEXT_IS_DESTROYED));
        let again = handles.keep(Kind::Module, Pointer(32), 0).expect("room");
        assert_ne!(again, module, "the driver's address was free again");
        handles.end(graph);
        handles.end(again);
        assert!(handles.living.is_empty() && handles.numbers.is_empty());
        assert!(handles.owned.is_empty(), "{:?}", handles.owned);
    }

    /// Each node's end once looked through all that lived: minutes for a graph of this size.
    #[test]
    fn a_graph_of_many_nodes_ends_with_them() {
        let mut handles = Handles::new();
        let graph = handles.keep(Kind::Graph, Pointer(16), 0).expect("room");
        let nodes: Vec<u64> = (0..200_000)
            .map(|at| handles.keep(Kind::Node, Pointer(32 + at), graph).expect("room"))
            .collect();
        let child = handles.keep(Kind::Graph, Pointer(17), nodes[7]).expect("room");
        handles.end(nodes[3]);
        assert!(handles.is_alive(graph) && handles.is_alive(child));
        handles.end(graph);
        assert!(handles.living.is_empty() && handles.owned.is_empty());
    }
}
