//! From text to instructions.

mod arithmetic;
mod compare;
mod control;
mod convert;
mod float;
mod half;
mod integer;
mod memory;
mod name;
mod operand;
mod warp;
mod wmma;

use std::collections::{HashMap, HashSet};

use super::NotExecutable;
use super::code::{Code, Instruction, LOCAL_WINDOW, NONE, Op, PARAMETER_WINDOW, Slot};
use super::kind::Kind;
use super::parse::{Operand, Raw, Statement, Statements};
use super::scope::{Named, Scopes};
use crate::image::ptx::{Declared, Function, Module, layout};
use name::Name;

/// Most instructions of a kernel with all that it calls: ten times the largest of the ggml
/// backends.
const INSTRUCTIONS_MAX: usize = 1 << 20;

/// Most statements of a kernel with all that it calls: not each becomes an instruction, and a
/// function that does nothing can be called very often by few lines.
const STATEMENTS_MAX: usize = 4 * INSTRUCTIONS_MAX;

/// Most bytes of shared or local memory that a kernel declares, as devices have it.
const MEMORY_BYTES_MAX: u64 = 1 << 20;

/// Functions that call each other, at most.
const DEPTH_MAX: usize = 64;

/// The result of decoding something; the line is filled in by whoever knows it.
type Decoded<T> = Result<T, NotExecutable>;

fn unknown<T>(what: impl Into<String>) -> Decoded<T> {
    Err(NotExecutable { what: what.into(), line: 0 })
}

/// Decodes a kernel of a module.
pub(super) fn kernel(module: &Module, name: &str) -> Decoded<Code> {
    let function = module.functions.iter().find(|function| function.name == name);
    let Some(function) = function else { return unknown(format!("there is no kernel {name}")) };
    // Registers lie behind the constants, of which only the first pass knows how many there are.
    let constants = Builder::new(module, 0).run(function)?.constants.len();
    Builder::new(module, constants as u32).run(function)
}

/// A kernel on its way from text to instructions.
struct Builder<'m> {
    module: &'m Module,
    /// The module's functions and variables by name.
    functions: HashMap<&'m str, &'m Function>,
    variables: HashSet<&'m str>,
    scopes: Scopes<'m>,
    code: Code,
    /// Shared variables that were met, and where they are.
    shared: HashMap<String, u32>,
    /// Slots of numbers.
    numbers: HashMap<u64, Slot>,
    /// Where the next register goes.
    next: Slot,
    /// The register for what nobody wants.
    sink: Slot,
    /// The register of the carry flag.
    carry: Slot,
    /// Guard of the instruction that is being decoded.
    guard: (Slot, bool),
    /// Branches whose label was not yet seen: instruction, scope, label.
    branches: Vec<(usize, usize, &'m str)>,
    /// Entries of tables of labels: place in the lists, scope, label.
    tables: Vec<(usize, usize, &'m str)>,
    /// Functions that are being decoded.
    calls: Vec<&'m str>,
    /// Branches to the end of the innermost function that was called.
    returns: Vec<usize>,
    /// Statements that were decoded.
    statements: usize,
}

impl<'m> Builder<'m> {
    fn new(module: &'m Module, first_register: Slot) -> Self {
        let code = Code {
            instructions: Vec::new(),
            constants: Vec::new(),
            symbols: Vec::new(),
            specials: Vec::new(),
            slots: 0,
            shared_bytes: 0,
            launched_at: 0,
            local_bytes: 0,
            parameter_bytes: 0,
            lists: Vec::new(),
        };
        Self {
            module,
            functions: module.functions.iter().map(|one| (one.name.as_str(), one)).collect(),
            variables: module.variables.iter().map(|one| one.name.as_str()).collect(),
            scopes: Scopes::new(),
            code,
            shared: HashMap::new(),
            numbers: HashMap::new(),
            next: first_register + 2,
            sink: first_register,
            carry: first_register + 1,
            guard: (NONE, false),
            branches: Vec::new(),
            tables: Vec::new(),
            calls: Vec::new(),
            returns: Vec::new(),
            statements: 0,
        }
    }

    fn run(mut self, kernel: &'m Function) -> Decoded<Code> {
        let mut launched = Vec::new();
        for shared in &self.module.shared {
            if shared.bytes == 0 {
                launched.push(shared);
            } else {
                let at = place(&mut self.code.shared_bytes, shared)?;
                self.scopes.declare(&shared.name, Named::Shared(at));
            }
        }
        let (places, bytes) = layout(&kernel.parameters);
        self.code.parameter_bytes = bytes;
        let before = self.scopes.open_function();
        for (parameter, place) in kernel.parameters.iter().zip(places) {
            let address = PARAMETER_WINDOW + u64::from(place.offset);
            self.scopes.declare(&parameter.name, Named::Parameter(address));
        }
        self.dynamic(&launched, kernel)?;
        self.body(kernel)?;
        self.scopes.return_to(before);
        self.emit(Op::Exit)?;
        self.resolve()?;
        self.code.slots = self.next;
        self.code.launched_at = self.code.launched_at.max(self.code.shared_bytes);
        Ok(self.code)
    }

    /// Places the memory that the launch brings behind what the kernel and its functions declare.
    fn dynamic(&mut self, launched: &[&'m Declared], kernel: &'m Function) -> Decoded<()> {
        if launched.is_empty() {
            return Ok(());
        }
        // Functions may declare more when they are decoded, so all of theirs is counted before.
        let functions = self.module.functions.iter();
        let of = functions.filter(|function| !function.is_kernel || function.name == kernel.name);
        let mut end = u64::from(self.code.shared_bytes);
        for (shared, declared) in of.flat_map(|function| &function.memory) {
            if *shared {
                end = end.next_multiple_of(declared.alignment) + declared.bytes;
            }
        }
        for shared in launched {
            let at = end.next_multiple_of(shared.alignment.max(16));
            let at = u32::try_from(at).ok().filter(|&at| u64::from(at) <= MEMORY_BYTES_MAX);
            let Some(at) = at else { return unknown("too much shared memory") };
            self.scopes.declare(&shared.name, Named::Shared(at));
            self.code.launched_at = self.code.launched_at.max(at);
        }
        Ok(())
    }

    fn body(&mut self, function: &'m Function) -> Decoded<()> {
        let Some(body) = function.body.clone() else {
            return unknown(format!("{} has no body", function.name));
        };
        self.calls.push(&function.name);
        let mut statements = Statements::new(&self.module.source, body);
        loop {
            let statement = match statements.next() {
                Ok(Some(statement)) => statement,
                Ok(None) => break,
                Err(error) => return Err(error.into()),
            };
            self.statement(statement).map_err(|mut error| {
                if error.line == 0 {
                    error.line = statements.line();
                }
                error
            })?;
        }
        self.calls.pop();
        Ok(())
    }

    fn statement(&mut self, statement: Statement<'m>) -> Decoded<()> {
        self.statements += 1;
        if self.statements > STATEMENTS_MAX {
            return unknown("the kernel is too long");
        }
        match statement {
            Statement::Open => self.scopes.open(),
            Statement::Close if self.scopes.close() => {}
            Statement::Close => return unknown("a brace closes nothing"),
            Statement::Label(name) => self.scopes.label(name, self.here()),
            Statement::Targets { name, labels } => self.scopes.targets(name, labels),
            Statement::Registers { kind, names } => {
                let Some(kind) = Kind::read(kind) else {
                    return unknown(format!("registers of type {kind}"));
                };
                for (name, count) in names {
                    let first = self.registers(count.unwrap_or(1))?;
                    match count {
                        Some(count) => self.scopes.declare_family(name, first, count, kind),
                        None => self.scopes.declare(name, Named::Register { slot: first, kind }),
                    }
                }
            }
            Statement::Variable { space, declared } => self.variable(space, &declared)?,
            Statement::Instruction(raw) => self.instruction(&raw)?,
        }
        Ok(())
    }

    /// Makes new registers; returns the first.
    fn registers(&mut self, count: u32) -> Decoded<Slot> {
        let first = self.next;
        match self.next.checked_add(count).filter(|&next| next < 1 << 18) {
            Some(next) => self.next = next,
            None => return unknown("too many registers"),
        }
        Ok(first)
    }

    fn variable(&mut self, space: &str, declared: &Declared) -> Decoded<()> {
        let named = match space {
            // A function has its shared variables once, however often it is called.
            ".shared" => match self.shared.get(&declared.name) {
                Some(&at) => Named::Shared(at),
                None => {
                    let at = place(&mut self.code.shared_bytes, declared)?;
                    self.shared.insert(declared.name.clone(), at);
                    Named::Shared(at)
                }
            },
            ".local" => Named::Local(place(&mut self.code.local_bytes, declared)?),
            _ => {
                let at = place(&mut self.code.local_bytes, declared)?;
                Named::Parameter(LOCAL_WINDOW + u64::from(at))
            }
        };
        self.scopes.declare(&declared.name, named);
        Ok(())
    }

    fn here(&self) -> u32 {
        self.code.instructions.len() as u32
    }

    fn emit(&mut self, op: Op) -> Decoded<()> {
        if self.code.instructions.len() >= INSTRUCTIONS_MAX {
            return unknown("the kernel is too long");
        }
        let (guard, negated) = self.guard;
        self.code.instructions.push(Instruction { guard, negated, op });
        Ok(())
    }

    fn instruction(&mut self, raw: &Raw<'m>) -> Decoded<()> {
        if let Some((predicate, negated)) = raw.guard {
            self.guard = (self.register(predicate)?, negated);
        }
        let mut name = Name::read(raw.name);
        let done = self.dispatch(&mut name, &raw.operands).and_then(|()| name.finish());
        self.guard = (NONE, false);
        done.map_err(|mut error| {
            if error.what.is_empty() {
                error.what = raw.name.to_owned();
            }
            error
        })
    }

    fn dispatch(&mut self, name: &mut Name<'m>, operands: &[Operand<'m>]) -> Decoded<()> {
        match name.operation() {
            "ld" | "ldu" | "st" | "atom" | "red" | "prefetch" | "prefetchu" | "cp" | "cvta"
            | "isspacep" | "mapa" | "getctarank" | "discard" | "applypriority" | "createpolicy" => {
                self.memory(name, operands)
            }
            "bra" | "brx" | "call" | "ret" | "exit" | "trap" | "bar" | "barrier" | "membar"
            | "fence" | "nanosleep" | "pmevent" | "griddepcontrol" | "setmaxnreg" => {
                self.control(name, operands)
            }
            "shfl" | "vote" | "match" | "redux" | "activemask" | "elect" | "ldmatrix"
            | "stmatrix" | "movmatrix" | "mma" => self.warp(name, operands),
            "wmma" => self.wmma(name, operands),
            "mov" | "cvt" | "setp" | "set" | "selp" | "slct" => self.convert(name, operands),
            _ => self.arithmetic(name, operands),
        }
    }

    fn resolve(&mut self) -> Decoded<()> {
        for (at, scope, label) in std::mem::take(&mut self.branches) {
            let Some(to) = self.scopes.find_label(scope, label) else {
                return unknown(format!("there is no label {label}"));
            };
            self.code.instructions[at].op = Op::Branch { to };
        }
        for (at, scope, label) in std::mem::take(&mut self.tables) {
            let Some(to) = self.scopes.find_label(scope, label) else {
                return unknown(format!("there is no label {label}"));
            };
            self.code.lists[at] = to;
        }
        Ok(())
    }
}

/// Places a variable behind others; returns where.
fn place(end: &mut u32, declared: &Declared) -> Decoded<u32> {
    let at = u64::from(*end).next_multiple_of(declared.alignment);
    match at.checked_add(declared.bytes).filter(|&end| end <= MEMORY_BYTES_MAX) {
        Some(behind) => *end = behind as u32,
        None => return unknown("too much shared or local memory"),
    }
    Ok(at as u32)
}
