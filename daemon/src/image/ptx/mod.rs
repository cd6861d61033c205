//! PTX at the level of the module: its variables and functions. What stands in a function's body
//! is left to whoever executes it.

mod declare;
mod function;
mod lexer;

use std::collections::HashSet;
use std::sync::Arc;

pub(crate) use declare::Declared;
pub(crate) use function::Function;
pub(crate) use lexer::{Lexer, Number, Token, integer};

use super::{
    ImageError, Kernel, Parameter, Reach, Space, THREADS_MAX, Target, UNPACKED_BYTES_MAX, Variable,
};

/// Registers of a PTX kernel before it is compiled, at most: what leaves room for two blocks of
/// 512 threads on a multiprocessor. The real number is the compiler's.
const REGISTERS_GUESS: u32 = 64;

/// A module whose outline was read.
#[derive(Debug, Clone)]
pub(crate) struct Module {
    /// The whole text.
    pub source: Arc<str>,
    /// The virtual architecture that it asks for.
    pub target: Target,
    /// Variables in global and constant memory.
    pub variables: Vec<Variable>,
    /// Variables in shared memory; those without a size begin where the launch's own memory does.
    pub shared: Vec<Declared>,
    /// Kernels and other functions.
    pub functions: Vec<Function>,
    /// Bytes of all variables' first values.
    initial_bytes: usize,
}

/// Newest major version of PTX that is read: 9, that of CUDA 13.
const VERSION_MAJOR_MAX: u32 = 9;

/// Says whether a text begins as PTX does.
pub(crate) fn is_ptx(text: &str) -> bool {
    Lexer::new(text, 0).next() == Ok(Token::Word(".version"))
}

impl Module {
    /// Reads the outline of a module.
    ///
    /// # Errors
    /// INVALID_PTX, with the line.
    pub fn parse(source: Arc<str>) -> Result<Self, ImageError> {
        let mut module = Self {
            source: Arc::clone(&source),
            target: Target { number: 0, reach: Reach::Ordinary },
            variables: Vec::new(),
            shared: Vec::new(),
            functions: Vec::new(),
            initial_bytes: 0,
        };
        let mut lexer = Lexer::new(&source, 0);
        while let Some(word) = next_word(&mut lexer)? {
            module.statement(&mut lexer, word)?;
        }
        // A declaration may come before its definition; the latter counts.
        let functions = module.functions.iter().filter(|function| function.body.is_some());
        let defined: HashSet<String> = functions.map(|function| function.name.clone()).collect();
        module.functions.retain(|one| one.body.is_some() || !defined.contains(&one.name));
        if module.target.number == 0 {
            return Err(lexer.error("there is no .target"));
        }
        Ok(module)
    }

    fn statement(&mut self, lexer: &mut Lexer<'_>, word: &str) -> Result<(), ImageError> {
        match word {
            ".version" => {
                let version = lexer.word()?;
                let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
                match major {
                    Some(major) if major <= VERSION_MAJOR_MAX => {}
                    Some(_) => return Err(ImageError::NewPtx { version: version.to_owned() }),
                    None => return Err(lexer.error(&format!("{version} is no version"))),
                }
            }
            ".target" => {
                let name = lexer.word()?;
                self.target = target(name)
                    .ok_or_else(|| lexer.error(&format!("{name} is no architecture")))?;
                while lexer.take(b',')? {
                    lexer.word()?;
                }
            }
            ".address_size" => {
                if lexer.count()? != 64 {
                    return Err(lexer.error("addresses have 64 bits here"));
                }
            }
            ".visible" | ".extern" | ".weak" | ".common" => {
                let next = lexer.word()?;
                self.declaration(lexer, next, word == ".extern")?;
            }
            ".file" => {
                // A number, a name, and possibly a time and a size.
                while match lexer.peek()? {
                    Token::Quoted(_) | Token::Mark(b',') => true,
                    Token::Word(word) => integer(word).is_some(),
                    _ => false,
                } {
                    lexer.next()?;
                }
            }
            ".section" => lexer.skip_to(b'}')?,
            ".pragma" | ".alias" => lexer.skip_to(b';')?,
            _ => self.declaration(lexer, word, false)?,
        }
        Ok(())
    }

    fn declaration(
        &mut self,
        lexer: &mut Lexer<'_>,
        word: &str,
        external: bool,
    ) -> Result<(), ImageError> {
        match word {
            ".global" | ".const" | ".shared" => {
                loop {
                    let declared = Declared::read(lexer)?;
                    self.variable(lexer, word, declared, external)?;
                    if !lexer.take(b',')? {
                        break;
                    }
                }
                lexer.expect(b';')
            }
            ".entry" | ".func" => {
                self.functions.push(Function::read(lexer, word == ".entry", &self.source)?);
                Ok(())
            }
            _ => Err(lexer.error(&format!("{word} is not known here"))),
        }
    }

    fn variable(
        &mut self,
        lexer: &Lexer<'_>,
        word: &str,
        declared: Declared,
        external: bool,
    ) -> Result<(), ImageError> {
        let space = match word {
            ".shared" => {
                self.shared.push(declared);
                return Ok(());
            }
            ".const" => Space::Constant,
            _ => Space::Global,
        };
        // What another module defines is no variable of this one.
        if external {
            return Ok(());
        }
        // A short text can ask for much: `x[100000000] = {1}`.
        self.initial_bytes += declared.initial.as_ref().map_or(0, |(bytes, _)| bytes.len());
        if self.initial_bytes > UNPACKED_BYTES_MAX {
            return Err(lexer.error("the variables' first values are too large together"));
        }
        let Declared { name, alignment, bytes, initial, .. } = declared;
        let (initial, pointers) =
            initial.map_or((None, Vec::new()), |(bytes, at)| (Some(bytes), at));
        self.variables.push(Variable { name, bytes, alignment, space, initial, pointers });
        Ok(())
    }

    /// Describes the kernels as a device's compiler would make them.
    pub fn kernels(&self, device: u32) -> Vec<Kernel> {
        let constants = self.variables.iter().filter(|variable| variable.space == Space::Constant);
        let constant = end_of(constants.map(|of| (of.alignment, of.bytes)));
        let kernels = self.functions.iter().filter(|function| function.is_kernel);
        let mut kernels: Vec<Kernel> =
            kernels.map(|function| self.kernel(function, device)).collect();
        for kernel in &mut kernels {
            kernel.constant_bytes = constant;
        }
        kernels
    }

    fn kernel(&self, function: &Function, device: u32) -> Kernel {
        let limits = &function.limits;
        let (parameters, parameter_bytes) = layout(&function.parameters);
        let block = limits.required_block.or(limits.maximum_block);
        let threads = block.map_or(THREADS_MAX, |[x, y, z]| {
            x.saturating_mul(y).saturating_mul(z).clamp(1, THREADS_MAX)
        });
        let fitting = 65_536 / threads / 8 * 8;
        let of_module = self.shared.iter().filter(|shared| {
            function.body.clone().is_some_and(|body| mentions(&self.source[body], &shared.name))
        });
        let own = function.memory.iter().filter(|(shared, _)| *shared).map(|(_, of)| of);
        let local = function.memory.iter().filter(|(shared, _)| !shared).map(|(_, of)| of);
        let place = |of: &Declared| (of.alignment, of.bytes);
        Kernel {
            name: function.name.clone(),
            parameters,
            parameter_bytes,
            max_threads_per_block: threads,
            registers: limits.registers.unwrap_or(REGISTERS_GUESS).min(fitting).min(255),
            static_shared_bytes: end_of(of_module.chain(own).map(place)),
            constant_bytes: 0,
            local_bytes: end_of(local.map(place)),
            ptx_version: self.target.number,
            binary_version: device,
            required_cluster: limits.required_cluster,
            maximum_cluster: limits.maximum_cluster,
            required_block: limits.required_block,
        }
    }
}

/// Lays out parameters; returns their places and the bytes of all.
pub(crate) fn layout(parameters: &[Declared]) -> (Vec<Parameter>, u32) {
    let mut end = 0_u32;
    let places = parameters.iter().map(|parameter| {
        // Parameters are limited where they are read.
        let offset = end.next_multiple_of(parameter.alignment as u32);
        let bytes = parameter.bytes as u32;
        end = offset + bytes;
        Parameter { offset, bytes }
    });
    (places.collect(), end)
}

/// Where things of these alignments and sizes end when they are laid one behind the other.
fn end_of(things: impl Iterator<Item = (u64, u64)>) -> u32 {
    let end = things.fold(0_u64, |end, (alignment, bytes)| {
        end.next_multiple_of(alignment).saturating_add(bytes)
    });
    u32::try_from(end).unwrap_or(u32::MAX)
}

/// Says whether a name stands in a text as a word.
fn mentions(text: &str, name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$');
    text.match_indices(name).any(|(at, _)| {
        let before = text.as_bytes()[..at].last();
        let after = text.as_bytes().get(at + name.len());
        !before.is_some_and(|&byte| is_part(byte)) && !after.is_some_and(|&byte| is_part(byte))
    })
}

/// Reads `sm_90`, `sm_90a` or `sm_100f`.
fn target(name: &str) -> Option<Target> {
    let digits = name.strip_prefix("sm_")?;
    let (digits, reach) = match digits.as_bytes().last()? {
        b'a' => (&digits[..digits.len() - 1], Reach::Exact),
        b'f' => (&digits[..digits.len() - 1], Reach::Family),
        _ => (digits, Reach::Ordinary),
    };
    let number = digits.parse().ok().filter(|&number| (10..1000).contains(&number))?;
    Some(Target { number, reach })
}

fn next_word<'a>(lexer: &mut Lexer<'a>) -> Result<Option<&'a str>, ImageError> {
    loop {
        match lexer.next()? {
            Token::End => return Ok(None),
            Token::Word(word) => return Ok(Some(word)),
            Token::Mark(b';') => {}
            _ => return Err(lexer.error("a directive is missing")),
        }
    }
}
