//! Decoded kernels: instructions over slots.
//!
//! Each thread has a file of 64-bit slots: first constants (numbers in the text, addresses of
//! variables, special registers, all set before the thread starts), then its registers. So every
//! operand is a slot, and no instruction asks what its operands are.

use super::kind::Kind;

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

/// A register that the device fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Special {
    Thread(usize),
    Threads(usize),
    Block(usize),
    Blocks(usize),
    Cluster(usize),
    Clusters(usize),
    BlockOfCluster(usize),
    BlocksOfCluster(usize),
    RankInCluster,
    RanksOfCluster,
    Lane,
    Warp,
    Warps,
    LaneMask(LaneMask),
    SharedTotal,
    SharedDynamic,
    /// The same on every thread.
    Fixed(u32),
}

/// Which lanes, seen from one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LaneMask {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Special {
    /// Reads the name of a special register; clocks are none, since they do not stand still.
    pub fn read(name: &str) -> Option<Self> {
        let (base, axis) = match name.split_once('.') {
            Some((base, "x")) => (base, 0),
            Some((base, "y")) => (base, 1),
            Some((base, "z")) => (base, 2),
            Some(_) => return None,
            None => (name, 0),
        };
        Some(match base {
            "%tid" => Self::Thread(axis),
            "%ntid" => Self::Threads(axis),
            "%ctaid" => Self::Block(axis),
            "%nctaid" => Self::Blocks(axis),
            "%clusterid" => Self::Cluster(axis),
            "%nclusterid" => Self::Clusters(axis),
            "%cluster_ctaid" => Self::BlockOfCluster(axis),
            "%cluster_nctaid" => Self::BlocksOfCluster(axis),
            "%cluster_ctarank" => Self::RankInCluster,
            "%cluster_nctarank" => Self::RanksOfCluster,
            "%laneid" => Self::Lane,
            "%warpid" => Self::Warp,
            "%nwarpid" => Self::Warps,
            "%lanemask_eq" => Self::LaneMask(LaneMask::Equal),
            "%lanemask_lt" => Self::LaneMask(LaneMask::Less),
            "%lanemask_le" => Self::LaneMask(LaneMask::LessOrEqual),
            "%lanemask_gt" => Self::LaneMask(LaneMask::Greater),
            "%lanemask_ge" => Self::LaneMask(LaneMask::GreaterOrEqual),
            "%total_smem_size" => Self::SharedTotal,
            "%dynamic_smem_size" => Self::SharedDynamic,
            "%smid" | "%gridid" => Self::Fixed(0),
            // What the driver may tell a kernel; on the simulated device that is nothing.
            "%envreg1" | "%envreg2" => Self::Fixed(0),
            // That of an H100.
            "%nsmid" => Self::Fixed(132),
            _ => return None,
        })
    }
}
