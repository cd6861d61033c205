//! Decoded kernels: instructions over slots.
//!
//! Each thread has a file of 64-bit slots: first constants (numbers in the text, addresses of
//! variables, special registers, all set before the thread starts), then its registers. So every
//! operand is a slot, and no instruction asks what its operands are.

use super::kind::Kind;
use super::special::Special;

/// The number of a slot.
pub(super) type Slot = u32;

/// No slot: where a result is not wanted (`_`), or an instruction has no guard.
pub(super) const NONE: Slot = Slot::MAX;

pub(super) type F1 = fn(u64) -> u64;
pub(super) type F2 = fn(u64, u64) -> u64;
pub(super) type F3 = fn(u64, u64, u64) -> u64;
pub(super) type F4 = fn(u64, u64, u64, u64) -> u64;

/// First addresses of the windows in which generic addresses name memory that is not global.
/// Global addresses of the simulated devices end below 0x5500_0000_0000.
pub(super) const SHARED_WINDOW: u64 = 0x7e00_0000_0000;
pub(super) const LOCAL_WINDOW: u64 = 0x7d00_0000_0000;
pub(super) const PARAMETER_WINDOW: u64 = 0x7c00_0000_0000;
/// Size of each window.
pub(super) const WINDOW_BYTES: u64 = 1 << 32;

/// Where an address in a cluster's shared memory has its block: above as many bits as an address
/// within a block's needs, the rank plus one; 0 is the block's own.
pub(super) const RANK_SHIFT: u32 = 18;

/// A decoded kernel.
pub(super) struct Code {
    pub instructions: Vec<Instruction>,
    /// Values of the first slots; those of symbols and special registers are filled in later.
    pub constants: Vec<u64>,
    pub symbols: Vec<Symbol>,
    pub specials: Vec<(Slot, Special)>,
    /// Slots of a thread, constants included.
    pub slots: u32,
    /// Bytes of shared memory that it declares.
    pub shared_bytes: u32,
    /// Where the shared memory that the launch brings begins.
    pub launched_at: u32,
    /// Bytes of local memory of a thread.
    pub local_bytes: u32,
    /// Bytes of its packed parameters.
    pub parameter_bytes: u32,
    /// Lists of slots, for the few instructions that have many.
    pub lists: Vec<Slot>,
}

/// A constant that is the address of a variable of the module.
pub(super) struct Symbol {
    pub slot: Slot,
    pub name: String,
    pub addend: u64,
}

/// An instruction.
#[derive(Clone, Copy)]
pub(super) struct Instruction {
    /// It is done only if this predicate is true, or false where `negated`.
    pub guard: Slot,
    pub negated: bool,
    pub op: Op,
}

/// Where memory is accessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Space {
    /// Global or constant memory.
    Global,
    Shared,
    /// Shared memory of any block of the cluster.
    Cluster,
    Local,
    /// Whichever the address lies in.
    Generic,
}

/// An access to memory: `base` holds the address but for `offset`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Access {
    pub space: Space,
    pub kind: Kind,
    pub base: Slot,
    pub offset: i32,
}

/// What an instruction does.
#[derive(Clone, Copy)]
pub(super) enum Op {
    Nothing,
    Move {
        d: Slot,
        a: Slot,
    },
    One {
        f: F1,
        d: Slot,
        a: Slot,
    },
    Two {
        f: F2,
        d: Slot,
        a: Slot,
        b: Slot,
    },
    Three {
        f: F3,
        d: Slot,
        a: Slot,
        b: Slot,
        c: Slot,
    },
    Four {
        f: F4,
        d: Slot,
        list: u32,
    },
    /// A comparison with two results, of which the second is the contrary: each combined with `c`.
    Compare {
        f: F2,
        list: u32,
        combine: Combine,
    },
    /// As many values as it has destinations, from a list of slots.
    Load {
        access: Access,
        list: u32,
        count: u8,
    },
    Load1 {
        access: Access,
        d: Slot,
    },
    Store {
        access: Access,
        list: u32,
        count: u8,
    },
    Store1 {
        access: Access,
        a: Slot,
    },
    /// Reads, combines with `a` and writes back; `d` gets what was read.
    Atomic {
        access: Access,
        f: F2,
        d: Slot,
        a: Slot,
    },
    /// Writes `a` if what is there equals `b`; `d` gets what was read.
    CompareAndSwap {
        access: Access,
        d: Slot,
        list: u32,
    },
    /// Copies bytes from global to shared memory: at once, which is early enough.
    Copy {
        access: Access,
        bytes: u8,
        list: u32,
    },
    Branch {
        to: u32,
    },
    /// To the instruction that the list names at the index `a`.
    BranchTable {
        a: Slot,
        list: u32,
        count: u32,
    },
    /// What a clock counts: instructions of this launch.
    Clock {
        d: Slot,
    },
    Exit,
    Trap,
    Assert,
    Barrier(Barrier),
    /// Says that the thread has come to the cluster's barrier.
    ClusterArrive,
    /// Waits until all threads of the cluster have.
    ClusterWait,
    Warp(Warp),
}

/// Combines a comparison with a predicate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Combine {
    And,
    Or,
    Xor,
}

/// Waits for threads of the block.
#[derive(Debug, Clone, Copy)]
pub(super) struct Barrier {
    /// Which of the block's 16 barriers.
    pub id: Slot,
    /// How many threads; all of them where there is no slot.
    pub count: Slot,
    /// Whether the thread goes on at once.
    pub arrives_only: bool,
    /// What is made of the predicates `a` of all threads, into `d`.
    pub reduce: Option<Reduce>,
    pub a: Slot,
    pub d: Slot,
}

/// What a barrier makes of predicates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reduce {
    And,
    Or,
    Count,
}

/// Something that the threads of a warp do together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Warp {
    pub act: Act,
    /// Holds the mask of the lanes that take part; all lanes where there is no slot.
    pub mask: Slot,
    /// Where its operands stand in the lists.
    pub list: u32,
}

/// What threads of a warp do together. The operands are given as in the lists.
#[derive(Debug, Clone, Copy)]
pub(super) enum Act {
    /// Only waits.
    Sync,
    /// `d`, predicate, `a`, `b`, `c`.
    Shuffle(Shuffle),
    /// `d`, predicate.
    Vote(Vote),
    /// `d`, predicate, `a`.
    Match { all: bool, wide: bool },
    /// `d`, `a`.
    Reduce { f: F2 },
    /// `d`: the lanes that run together.
    Active,
    /// `d`, predicate.
    Elect,
    /// The destinations, then the address.
    LoadMatrix { matrices: u8, transposed: bool, offset: i32, space: Space },
    /// The sources, then the address.
    StoreMatrix { matrices: u8, transposed: bool, offset: i32, space: Space },
    /// `d`, `a`: transposes an 8 by 8 matrix of 16-bit elements.
    MoveMatrix,
    /// Destinations, fragments of A, B and C.
    Multiply(Multiply),
    /// The destinations, then the address and the stride.
    LoadFragment { fragment: Fragment, by_columns: bool, offset: i32, space: Space },
    /// The sources, then the address and the stride.
    StoreFragment { fragment: Fragment, by_columns: bool, offset: i32, space: Space },
    /// Destinations, fragments of A, B and C.
    Product(Product),
}

/// From which lane a value comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shuffle {
    Up,
    Down,
    Butterfly,
    Index,
}

/// What a vote makes of predicates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Vote {
    All,
    Any,
    Uniform,
    Ballot,
}

/// A matrix multiplication of a warp: 16 by 8 results, `k` products each.
#[derive(Debug, Clone, Copy)]
pub(super) struct Multiply {
    pub k: u8,
    pub a: Element,
    pub b: Element,
    pub c: Element,
    pub saturate: bool,
}

/// A matrix that is spread over a warp in a way that only the device knows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fragment {
    pub rows: u8,
    pub columns: u8,
    pub element: Element,
    /// Registers of each lane.
    pub slots: u8,
}

/// A product of such matrices.
#[derive(Debug, Clone, Copy)]
pub(super) struct Product {
    pub d: Fragment,
    pub a: Fragment,
    pub b: Fragment,
    pub c: Fragment,
    pub saturate: bool,
}

/// What the elements of a matrix are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Element {
    F16,
    Bf16,
    Tf32,
    F32,
    S8,
    U8,
    S32,
}
