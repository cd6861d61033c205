//! Branches, calls, barriers and ends (PTX ISA, "Control Flow Instructions", "Parallel
//! Synchronization and Communication Instructions").

use super::{Builder, DEPTH_MAX, Decoded, Kind, Name, place, unknown};
use crate::device::sim::ptx::code::{
    Access, Act, Barrier, LOCAL_WINDOW, NONE, Op, Reduce, Space, Warp,
};
use crate::device::sim::ptx::parse::Operand;
use crate::device::sim::ptx::scope::Named;
use crate::image::ptx::{Declared, Function};

impl<'m> Builder<'m> {
    pub(super) fn control(&mut self, name: &mut Name<'m>, operands: &[Operand<'m>]) -> Decoded<()> {
        match name.operation() {
            "bra" => {
                name.ignore(&["uni"]);
                let [Operand::Word(label)] = operands else { return unknown("") };
                self.branches.push((self.code.instructions.len(), self.scopes.current(), label));
                self.emit(Op::Nothing)
            }
            "brx" => self.branch_by_index(name, operands),
            "call" => self.call(name, operands),
            "ret" => {
                name.ignore(&["uni"]);
                if self.calls.len() > 1 {
                    self.returns.push(self.code.instructions.len());
                    return self.emit(Op::Nothing);
                }
                self.emit(Op::Exit)
            }
            "exit" => self.emit(Op::Exit),
            "trap" => self.emit(Op::Trap),
            "bar" | "barrier" => self.barrier(name, operands),
            // One thread runs at a time and sees all that was written; nothing has to be waited
            // for, and no thread has a say in its own pace.
            _ => {
                name.rest();
                self.emit(Op::Nothing)
            }
        }
    }

    fn branch_by_index(&mut self, name: &mut Name<'m>, operands: &[Operand<'m>]) -> Decoded<()> {
        name.ignore(&["idx", "uni"]);
        let [a, Operand::Word(targets)] = operands else { return unknown("") };
        let scope = self.scopes.current();
        let Some(labels) = self.scopes.find_targets(scope, targets) else {
            return unknown("brx.idx before its targets");
        };
        let a = self.source(a, Kind::U32)?;
        let list = self.list(&vec![0; labels.len()]);
        for (at, label) in labels.iter().enumerate() {
            self.tables.push((list as usize + at, scope, label));
        }
        self.emit(Op::BranchTable { a, list, count: labels.len() as u32 })
    }

    fn call(&mut self, name: &mut Name<'m>, operands: &[Operand<'m>]) -> Decoded<()> {
        name.ignore(&["uni"]);
        let (results, operands) = match operands {
            [Operand::List(results), rest @ ..] => (results.as_slice(), rest),
            rest => (&[][..], rest),
        };
        let (callee, arguments) = match operands {
            [Operand::Word(callee)] => (*callee, &[][..]),
            [Operand::Word(callee), Operand::List(arguments)] => (*callee, arguments.as_slice()),
            _ => return unknown("an indirect call"),
        };
        let Some(function) = self.functions.get(callee).copied() else {
            return unknown(format!("a call of {callee}"));
        };
        match (function.body.is_some(), callee) {
            (true, _) => {}
            (false, "__assertfail") => return self.emit(Op::Assert),
            (false, "vprintf") => return self.nothing_printed(results),
            _ => return unknown(format!("a call of {callee}")),
        }
        if self.calls.contains(&callee) || self.calls.len() >= DEPTH_MAX {
            return unknown(format!("{callee} calls itself"));
        }
        self.inline(function, results, arguments)
    }

    /// `vprintf` returns how many values it printed; negative means that it could not.
    fn nothing_printed(&mut self, results: &[Operand<'m>]) -> Decoded<()> {
        let [Operand::Word(result)] = results else { return self.emit(Op::Nothing) };
        let a = self.number(u64::from(u32::MAX));
        match self.scopes.find(result) {
            Some(Named::Parameter(address)) => {
                let base = self.number(address);
                let access = Access { space: Space::Generic, kind: Kind::B32, base, offset: 0 };
                self.emit(Op::Store1 { access, a })
            }
            Some(Named::Register { slot, .. }) => self.emit(Op::Move { d: slot, a }),
            _ => unknown(""),
        }
    }

    /// Decodes a function in the place of its call. Its parameters are the caller's own variables:
    /// a function does not write to its parameters, and the caller does not read results before it
    /// returns.
    fn inline(
        &mut self,
        function: &'m Function,
        results: &[Operand<'m>],
        arguments: &[Operand<'m>],
    ) -> Decoded<()> {
        if results.len() != function.returns.len() || arguments.len() != function.parameters.len() {
            return unknown(format!("a call of {} with other parameters", function.name));
        }
        // A call that is not made for all threads is jumped over by the others.
        let guard = std::mem::replace(&mut self.guard, (NONE, false));
        let over = self.code.instructions.len();
        if guard.0 != NONE {
            self.guard = (guard.0, !guard.1);
            self.emit(Op::Nothing)?;
            self.guard = (NONE, false);
        }
        let mut names = Vec::new();
        for (parameter, argument) in function.parameters.iter().zip(arguments) {
            names.push((parameter, self.argument(parameter, argument)?));
        }
        let mut loads = Vec::new();
        for (result, target) in function.returns.iter().zip(results) {
            let Operand::Word(target) = target else { return unknown("") };
            let named = match self.scopes.find(target) {
                Some(Named::Register { slot, .. }) if !result.is_register => {
                    let (access, named) = self.passed(result)?;
                    loads.push(Op::Load1 { access, d: slot });
                    named
                }
                Some(named) => named,
                None => return unknown(""),
            };
            names.push((result, named));
        }
        let before = self.scopes.open_function();
        for (declared, named) in names {
            self.scopes.declare(&declared.name, named);
        }
        let outer_returns = std::mem::take(&mut self.returns);
        self.body(function)?;
        let end = self.here();
        for at in std::mem::replace(&mut self.returns, outer_returns) {
            self.code.instructions[at].op = Op::Branch { to: end };
        }
        for load in loads {
            self.emit(load)?;
        }
        if guard.0 != NONE {
            self.code.instructions[over].op = Op::Branch { to: self.here() };
        }
        self.scopes.return_to(before);
        Ok(())
    }

    fn argument(&mut self, parameter: &Declared, argument: &Operand<'m>) -> Decoded<Named> {
        if let Operand::Word(word) = argument
            && let Some(named @ Named::Parameter(_)) = self.scopes.find(word)
        {
            return Ok(named);
        }
        let kind = parameter.kind.strip_prefix('.').and_then(Kind::read);
        let Some(kind) = kind else { return unknown("") };
        let a = self.source(argument, kind)?;
        if !parameter.is_register {
            let (access, named) = self.passed(parameter)?;
            self.emit(Op::Store1 { access, a })?;
            return Ok(named);
        }
        let slot = self.registers(1)?;
        self.emit(Op::Move { d: slot, a })?;
        Ok(Named::Register { slot, kind })
    }

    /// Makes a place for what is passed in a register and taken from memory.
    fn passed(&mut self, declared: &Declared) -> Decoded<(Access, Named)> {
        let kind = declared.kind.strip_prefix('.').and_then(Kind::read);
        let kind = kind.filter(|kind| u64::from(kind.bytes()) == declared.bytes);
        let Some(kind) = kind else { return unknown("") };
        let at = place(&mut self.code.local_bytes, declared)?;
        let address = LOCAL_WINDOW + u64::from(at);
        let base = self.number(address);
        let access = Access { space: Space::Generic, kind, base, offset: 0 };
        Ok((access, Named::Parameter(address)))
    }

    fn barrier(&mut self, name: &mut Name<'m>, operands: &[Operand<'m>]) -> Decoded<()> {
        if name.take("warp") {
            name.ignore(&["sync"]);
            let [mask] = operands else { return unknown("") };
            let mask = self.source(mask, Kind::B32)?;
            return self.emit(Op::Warp(Warp { act: Act::Sync, mask, list: 0 }));
        }
        if name.take("cluster") {
            return self.cluster_barrier(name, operands);
        }
        name.ignore(&["cta", "aligned"]);
        let (operands, d, a, reduce) = match name.take_of(&["sync", "arrive", "red"]) {
            Some("red") => {
                let reduce = match name.take_of(&["and", "or", "popc"]) {
                    Some("and") => Reduce::And,
                    Some("or") => Reduce::Or,
                    Some(_) => Reduce::Count,
                    None => return unknown(""),
                };
                name.kind()?;
                let [d, middle @ .., a] = operands else { return unknown("") };
                (middle, self.target(d)?, self.source(a, Kind::Pred)?, Some(reduce))
            }
            Some(kind) => {
                let arrives = kind == "arrive";
                return self.plain_barrier(operands, arrives);
            }
            None => return unknown(""),
        };
        let (id, count) = self.barrier_operands(operands)?;
        self.emit(Op::Barrier(Barrier { id, count, arrives_only: false, reduce, a, d }))
    }

    fn cluster_barrier(&mut self, name: &mut Name<'m>, operands: &[Operand<'m>]) -> Decoded<()> {
        name.ignore(&["release", "relaxed", "acquire", "aligned"]);
        match (name.take_of(&["arrive", "wait"]), operands) {
            (Some("arrive"), []) => self.emit(Op::ClusterArrive),
            (Some(_), []) => self.emit(Op::ClusterWait),
            _ => unknown(""),
        }
    }

    fn plain_barrier(&mut self, operands: &[Operand<'m>], arrives_only: bool) -> Decoded<()> {
        let (id, count) = self.barrier_operands(operands)?;
        let (a, d) = (self.sink, self.sink);
        self.emit(Op::Barrier(Barrier { id, count, arrives_only, reduce: None, a, d }))
    }

    fn barrier_operands(&mut self, operands: &[Operand<'m>]) -> Decoded<(u32, u32)> {
        match operands {
            [id] => Ok((self.source(id, Kind::U32)?, NONE)),
            [id, count] => Ok((self.source(id, Kind::U32)?, self.source(count, Kind::U32)?)),
            _ => unknown(""),
        }
    }
}
