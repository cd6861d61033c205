//! Accesses to memory (PTX ISA, "Data Movement and Conversion Instructions").

use super::arithmetic::{atomic, no_function};
use super::{Builder, Decoded, Kind, Name, unknown};
use crate::device::sim::ptx::code::{
    Access, F1, F3, LOCAL_WINDOW, Op, RANK_SHIFT, SHARED_WINDOW, Slot, Space, WINDOW_BYTES,
};
use crate::device::sim::ptx::kind::Value as _;
use crate::device::sim::ptx::parse::Operand;
use crate::device::sim::ptx::scope::Named;
use crate::device::sim::ptx::special::Special;

/// Blocks of the largest cluster.
const CLUSTER_BLOCKS_MAX: u64 = 16;

/// How memory is ordered, cached and shared makes no difference where one thread runs at a time.
const ORDERS: [&str; 25] = [
    "weak", "volatile", "relaxed", "acquire", "release", "acq_rel", "mmio", "cta", "cluster",
    "gpu", "sys", "nc", "ca", "cg", "cs", "lu", "cv", "wb", "wt", "noftz", "L1", "L2", "level",
    "unified", "aligned",
];

impl<'m> Builder<'m> {
    pub(super) fn memory(&mut self, name: &mut Name<'m>, operands: &[Operand<'m>]) -> Decoded<()> {
        match name.operation() {
            "ld" | "ldu" => self.load(name, operands),
            "st" => self.store(name, operands),
            "atom" | "red" => self.atom(name, operands),
            "cp" => self.copy(name, operands),
            "cvta" => self.cvta(name, operands),
            "isspacep" => self.lies_in(name, operands),
            "mapa" | "getctarank" => self.of_cluster(name, operands),
            "createpolicy" => {
                name.rest();
                let [d, ..] = operands else { return unknown("") };
                let (d, a) = (self.target(d)?, self.number(0));
                self.emit(Op::Move { d, a })
            }
            // What only asks for data to be near, or no longer to be.
            _ => {
                name.rest();
                self.emit(Op::Nothing)
            }
        }
    }

    fn load(&mut self, name: &mut Name<'m>, operands: &[Operand<'m>]) -> Decoded<()> {
        let (space, count) = (space(name)?, count(name));
        let kind = name.kind()?;
        let [d, at, ..] = operands else { return unknown("") };
        let access = self.access(at, space, kind)?;
        match d {
            Operand::Vector(parts) if parts.len() == usize::from(count) => {
                let slots: Vec<Slot> =
                    parts.iter().map(|part| self.target(part)).collect::<Decoded<_>>()?;
                let list = self.list(&slots);
                self.emit(Op::Load { access, list, count })
            }
            d if count == 1 => {
                let d = self.target(d)?;
                self.emit(Op::Load1 { access, d })
            }
            _ => unknown(""),
        }
    }

    fn store(&mut self, name: &mut Name<'m>, operands: &[Operand<'m>]) -> Decoded<()> {
        let (space, count) = (space(name)?, count(name));
        let kind = name.kind()?;
        let [at, a, ..] = operands else { return unknown("") };
        let access = self.access(at, space, kind)?;
        match a {
            Operand::Vector(parts) if parts.len() == usize::from(count) => {
                let slots: Vec<Slot> =
                    parts.iter().map(|part| self.source(part, kind)).collect::<Decoded<_>>()?;
                let list = self.list(&slots);
                self.emit(Op::Store { access, list, count })
            }
            a if count == 1 => {
                let a = self.source(a, kind)?;
                self.emit(Op::Store1 { access, a })
            }
            _ => unknown(""),
        }
    }

    fn atom(&mut self, name: &mut Name<'m>, operands: &[Operand<'m>]) -> Decoded<()> {
        let space = space(name)?;
        let operations = ["and", "or", "xor", "exch", "cas", "add", "inc", "dec", "min", "max"];
        let Some(operation) = name.take_of(&operations) else { return unknown("") };
        let kind = name.kind()?;
        let (d, rest) = match (name.operation(), operands) {
            ("red", rest) => (self.sink, rest),
            (_, [d, rest @ ..]) => (self.target(d)?, rest),
            _ => return unknown(""),
        };
        let [at, a, rest @ ..] = rest else { return unknown("") };
        let access = self.access(at, space, kind)?;
        let a = self.source(a, kind)?;
        if operation == "cas" {
            let [b, ..] = rest else { return unknown("") };
            let b = self.source(b, kind)?;
            let list = self.list(&[a, b]);
            return self.emit(Op::CompareAndSwap { access, d, list });
        }
        let f = atomic(operation, kind).ok_or_else(no_function)?;
        self.emit(Op::Atomic { access, f, d, a })
    }

    /// Asynchronous copies to shared memory; waiting for them is nothing, since they are done.
    fn copy(&mut self, name: &mut Name<'m>, operands: &[Operand<'m>]) -> Decoded<()> {
        if !name.take("async") {
            return unknown("");
        }
        if name.take_of(&["commit_group", "wait_group", "wait_all"]).is_some() {
            return self.emit(Op::Nothing);
        }
        if name.take_of(&["shared", "shared::cta"]).is_none() || !name.take("global") {
            return unknown("");
        }
        let has_policy = name.take("L2::cache_hint");
        order(name);
        let [to, from, bytes, rest @ ..] = operands else { return unknown("") };
        // How to cache what is read makes no difference here.
        let rest = match rest {
            [rest @ .., _policy] if has_policy => rest,
            rest => rest,
        };
        let Operand::Word(bytes) = bytes else { return unknown("") };
        let Some(bytes) = bytes.parse().ok().filter(|bytes| [4_u8, 8, 16].contains(bytes)) else {
            return unknown("");
        };
        // Fewer bytes may be read than are written; the rest is zero.
        let read = match rest {
            [count] => self.count_to_read(count, bytes)?,
            [_, _, ..] => return unknown(""),
            [] => self.number(u64::from(bytes)),
        };
        let from = self.access(from, Space::Global, Kind::B8)?;
        let access = self.access(to, Space::Shared, Kind::B8)?;
        let offset = self.number(from.offset as u64);
        let list = self.list(&[from.base, offset, read]);
        self.emit(Op::Copy { access, bytes, list })
    }

    /// How many bytes of a copy are read: a number, or a predicate that says whether none is.
    fn count_to_read(&mut self, count: &Operand<'m>, bytes: u8) -> Decoded<Slot> {
        let name = match count {
            Operand::Word(name) | Operand::Not(name) => self.scopes.find(name),
            _ => None,
        };
        if !matches!(name, Some(Named::Register { kind: Kind::Pred, .. })) {
            return self.source(count, Kind::U32);
        }
        let (ignored, b, d) = (self.source(count, Kind::Pred)?, bytes.into(), self.registers(1)?);
        let (b, zero) = (self.number(b), self.number(0));
        let f: F3 = |none, all, ignored| if ignored != 0 { none } else { all };
        self.emit(Op::Three { f, d, a: zero, b, c: ignored })?;
        Ok(d)
    }

    fn cvta(&mut self, name: &mut Name<'m>, operands: &[Operand<'m>]) -> Decoded<()> {
        let to = name.take("to");
        let space = name.take_of(&[
            "global",
            "shared",
            "shared::cta",
            "shared::cluster",
            "local",
            "const",
            "param",
            "param::entry",
        ]);
        let kind = name.kind()?;
        let f: F1 = match (space, to) {
            // Constants and parameters have no addresses but generic ones here.
            (Some("global" | "const" | "param" | "param::entry"), _) => |a| a,
            (Some("local"), false) => |a| LOCAL_WINDOW + u64::from(a as u32),
            (Some("local"), true) => |a| a.wrapping_sub(LOCAL_WINDOW),
            (Some(_), false) => |a| SHARED_WINDOW + u64::from(a as u32),
            (Some(_), true) => |a| a.wrapping_sub(SHARED_WINDOW),
            _ => return unknown(""),
        };
        self.one(operands, kind, f)
    }

    fn lies_in(&mut self, name: &mut Name<'m>, operands: &[Operand<'m>]) -> Decoded<()> {
        fn within(a: u64, window: u64) -> bool {
            a.wrapping_sub(window) < WINDOW_BYTES
        }
        let spaces = ["global", "shared", "shared::cta", "shared::cluster", "local"];
        let f: F1 = match name.take_of(&spaces) {
            Some("shared" | "shared::cta") => {
                let [d, a] = operands else { return unknown("") };
                let (a, b) = (self.source(a, Kind::U64)?, self.special(Special::RankInCluster));
                let d = self.target(d)?;
                let f = |a, rank| (within(a, SHARED_WINDOW) && rank_of(a, rank) == rank).slot();
                return self.emit(Op::Two { f, d, a, b });
            }
            Some("shared::cluster") => |a| within(a, SHARED_WINDOW).slot(),
            Some("local") => |a| within(a, LOCAL_WINDOW).slot(),
            Some(_) => |a| (!within(a, SHARED_WINDOW) && !within(a, LOCAL_WINDOW)).slot(),
            None => return unknown(""),
        };
        self.one(operands, Kind::U64, f)
    }

    /// Addresses in the shared memory of another block of the cluster, and whose they are.
    fn of_cluster(&mut self, name: &mut Name<'m>, operands: &[Operand<'m>]) -> Decoded<()> {
        name.ignore(&["shared::cluster"]);
        let kind = name.kind()?;
        match (name.operation(), operands) {
            ("mapa", operands) => self.two(operands, [kind, Kind::U32], at_rank),
            (_, [d, a]) => {
                let (a, b) = (self.source(a, kind)?, self.special(Special::RankInCluster));
                let d = self.target(d)?;
                self.emit(Op::Two { f: rank_of, d, a, b })
            }
            _ => unknown(""),
        }
    }

    /// Reads an address in a space.
    pub(super) fn access(
        &mut self,
        operand: &Operand<'m>,
        mut space: Space,
        kind: Kind,
    ) -> Decoded<Access> {
        let (Operand::Address(base, offset), true) = (operand, kind != Kind::Pred) else {
            return unknown("");
        };
        let named = self.scopes.find(base);
        match (space, named) {
            (Space::Generic, Some(Named::Shared(_))) => space = Space::Shared,
            (Space::Generic, Some(Named::Local(_))) => space = Space::Local,
            _ => {}
        }
        let Ok(offset) = i32::try_from(*offset) else { return unknown("") };
        let base = self.word(base, Kind::U64)?;
        Ok(Access { space, kind, base, offset })
    }
}

/// The address in the block of a rank that an address within any block's shared memory is there.
fn at_rank(address: u64, rank: u64) -> u64 {
    let within = address & ((1 << RANK_SHIFT) - 1);
    // Beyond any cluster every rank is as wrong as the first.
    let rank = rank.min(CLUSTER_BLOCKS_MAX) + 1;
    address & !(WINDOW_BYTES - 1) | rank << RANK_SHIFT | within
}

/// The rank of the block in whose shared memory an address lies, seen from one of a rank.
fn rank_of(address: u64, own: u64) -> u64 {
    let rank = u64::from(address as u32 >> RANK_SHIFT);
    rank.checked_sub(1).unwrap_or(own)
}

/// Takes the space of an access; parameters and constants have generic addresses.
fn space(name: &mut Name<'_>) -> Decoded<Space> {
    order(name);
    let known = [
        "global",
        "const",
        "shared",
        "shared::cta",
        "shared::cluster",
        "local",
        "param",
        "param::entry",
        "param::func",
    ];
    Ok(match name.take_of(&known) {
        Some("global" | "const") => Space::Global,
        Some("shared" | "shared::cta") => Space::Shared,
        Some("shared::cluster") => Space::Cluster,
        Some("local") => Space::Local,
        _ => Space::Generic,
    })
}

pub(super) fn order(name: &mut Name<'_>) {
    name.ignore(&ORDERS);
    name.ignore_prefixed("L1::");
    name.ignore_prefixed("L2::");
}

fn count(name: &mut Name<'_>) -> u8 {
    match name.take_of(&["v2", "v4", "v8"]) {
        Some("v2") => 2,
        Some("v4") => 4,
        Some(_) => 8,
        None => 1,
    }
}
