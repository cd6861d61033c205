//! Functions of a module: what they take, what they say of their launches, where their bodies are.

use std::ops::Range;

use super::declare::Declared;
use super::lexer::{self, Lexer, Token};
use crate::image::ImageError;

/// A kernel or another function.
#[derive(Debug, Clone)]
pub(crate) struct Function {
    /// Its name.
    pub name: String,
    /// Whether it is a kernel.
    pub is_kernel: bool,
    /// What it returns.
    pub returns: Vec<Declared>,
    /// What it takes.
    pub parameters: Vec<Declared>,
    /// Where its body stands in the text, without the braces; `None` where it has none.
    pub body: Option<Range<usize>>,
    /// Shared and local memory that its body declares: whether shared, and what.
    pub memory: Vec<(bool, Declared)>,
    pub(super) limits: Limits,
}

/// What a kernel says of its launches.
#[derive(Debug, Clone, Default)]
pub(super) struct Limits {
    pub maximum_block: Option<[u32; 3]>,
    pub required_block: Option<[u32; 3]>,
    pub required_cluster: Option<[u32; 3]>,
    pub maximum_cluster: Option<u32>,
    pub registers: Option<u32>,
}

/// Most bytes of a function's parameters: 32,764 of a kernel (CUDA C++ Programming Guide,
/// "Function Parameters"), and some room for other functions.
const PARAMETER_BYTES_MAX: u64 = 1 << 16;

/// Most parameters of a function: one for each byte that a kernel can take.
const PARAMETERS_MAX: usize = 32_764;

impl Function {
    /// Reads a function behind `.entry` or `.func`, and moves behind its body.
    pub(super) fn read(
        lexer: &mut Lexer<'_>,
        is_kernel: bool,
        text: &str,
    ) -> Result<Self, ImageError> {
        let returns = if is_kernel { Vec::new() } else { declarations(lexer)? };
        let mut word = lexer.word()?;
        while matches!(word, ".noreturn" | ".attribute" | ".unified") {
            word = lexer.word()?;
        }
        let name = word.to_owned();
        let parameters = declarations(lexer)?;
        let limits = Limits::read(lexer)?;
        let mut function =
            Self { name, is_kernel, returns, parameters, body: None, memory: vec![], limits };
        if lexer.take(b';')? {
            return Ok(function);
        }
        lexer.expect(b'{')?;
        let begin = lexer.at;
        function.memory = skip_body(lexer, text)?;
        function.body = Some(begin..lexer.at - 1);
        Ok(function)
    }
}

/// Reads declarations between parentheses, if there are any.
fn declarations(lexer: &mut Lexer<'_>) -> Result<Vec<Declared>, ImageError> {
    let mut all = Vec::new();
    if !lexer.take(b'(')? {
        return Ok(all);
    }
    while !lexer.take(b')')? {
        let is_register = match lexer.word()? {
            ".param" => false,
            ".reg" => true,
            _ => return Err(lexer.error("a parameter has no space")),
        };
        let declared = Declared { is_register, ..Declared::read(lexer)? };
        if declared.bytes > PARAMETER_BYTES_MAX || all.len() >= PARAMETERS_MAX {
            return Err(lexer.error("the parameters are too large"));
        }
        all.push(declared);
        if !lexer.take(b',')? {
            lexer.expect(b')')?;
            break;
        }
    }
    let bytes: u64 = all.iter().map(|declared| declared.bytes + declared.alignment).sum();
    if bytes > 2 * PARAMETER_BYTES_MAX {
        return Err(lexer.error("the parameters are too large"));
    }
    Ok(all)
}

impl Limits {
    fn read(lexer: &mut Lexer<'_>) -> Result<Self, ImageError> {
        let mut limits = Self::default();
        while let Token::Word(word) = lexer.peek()? {
            lexer.next()?;
            match word {
                ".maxntid" => limits.maximum_block = Some(up_to_three(lexer)?),
                ".reqntid" => limits.required_block = Some(up_to_three(lexer)?),
                ".reqnctapercluster" => limits.required_cluster = Some(up_to_three(lexer)?),
                ".maxclusterrank" => limits.maximum_cluster = Some(small(lexer)?),
                ".maxnreg" => limits.registers = Some(small(lexer)?),
                ".minnctapersm" | ".maxnctapersm" => drop(small(lexer)?),
                ".pragma" => lexer.skip_to(b';')?,
                ".explicitcluster" | ".noreturn" | ".blocksareclusters" => {}
                ".abi_preserve" | ".abi_preserve_control" => drop(small(lexer)?),
                _ => return Err(lexer.error(&format!("{word} is not known here"))),
            }
        }
        Ok(limits)
    }
}

fn small(lexer: &mut Lexer<'_>) -> Result<u32, ImageError> {
    let number = lexer.count()?;
    u32::try_from(number).map_err(|_| lexer.error("a number is too large"))
}

fn up_to_three(lexer: &mut Lexer<'_>) -> Result<[u32; 3], ImageError> {
    let mut three = [small(lexer)?, 1, 1];
    for other in &mut three[1..] {
        if !lexer.take(b',')? {
            break;
        }
        *other = small(lexer)?;
    }
    Ok(three)
}

/// Moves behind the brace that ends a body; returns the shared and local memory declared in it.
///
/// Bodies make up nearly all of a module, and only their declarations matter here: everything else
/// is passed over byte by byte.
fn skip_body(lexer: &mut Lexer<'_>, text: &str) -> Result<Vec<(bool, Declared)>, ImageError> {
    let bytes = text.as_bytes();
    let (mut depth, mut begins, mut memory) = (1, true, Vec::new());
    while let Some(&byte) = bytes.get(lexer.at) {
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' => {}
            b'/' => {
                if let Some(end) = lexer::comment_end(bytes, lexer.at) {
                    lexer.at = end;
                    continue;
                }
            }
            b'"' => match lexer::quote_end(bytes, lexer.at) {
                Some(end) => {
                    lexer.at = end;
                    continue;
                }
                None => return Err(lexer.error("a text does not end")),
            },
            b'{' => (depth, begins) = (depth + 1, true),
            b'}' => {
                depth -= 1;
                begins = true;
                if depth == 0 {
                    lexer.at += 1;
                    return Ok(memory);
                }
            }
            b';' | b':' => begins = true,
            b'.' if begins => {
                begins = false;
                let shared = bytes[lexer.at..].starts_with(b".shared ");
                if shared || bytes[lexer.at..].starts_with(b".local ") {
                    lexer.next()?;
                    memory.push((shared, Declared::read(lexer)?));
                    continue;
                }
            }
            _ => begins = false,
        }
        lexer.at += 1;
    }
    Err(lexer.error("a body does not end"))
}
