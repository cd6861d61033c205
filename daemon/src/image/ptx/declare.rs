//! Declarations of PTX: variables and parameters with their types, sizes and first values.

use super::lexer::{Lexer, Number, Token};
use crate::image::{ImageError, Pointer, UNPACKED_BYTES_MAX};
use crate::narrow;

/// Most braces inside one another in first values: more than arrays have dimensions.
const DEPTH_MAX: usize = 16;

/// A declared variable or parameter.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Declared {
    /// Its name.
    pub name: String,
    /// The type of one element with its dot, such as `.f32`.
    pub kind: String,
    /// Its address is a multiple of this.
    pub alignment: u64,
    /// Its size; 0 where it is not said (`[]`).
    pub bytes: u64,
    /// Elements of a vector type; 1 for all others.
    pub vector: u64,
    /// Whether it is a register, as a function's parameter may be.
    pub is_register: bool,
    /// What it holds at first, and where addresses belong.
    pub initial: Option<(Vec<u8>, Vec<Pointer>)>,
}

/// Bytes of a fundamental type.
pub(crate) fn width(kind: &str) -> Option<u64> {
    Some(match kind {
        ".b8" | ".u8" | ".s8" => 1,
        ".b16" | ".u16" | ".s16" | ".f16" | ".bf16" => 2,
        ".b32" | ".u32" | ".s32" | ".f32" | ".f16x2" | ".bf16x2" => 4,
        ".b64" | ".u64" | ".s64" | ".f64" | ".texref" | ".samplerref" | ".surfref" => 8,
        ".b128" => 16,
        _ => return None,
    })
}

impl Declared {
    /// Reads a declaration behind its space, up to what follows it.
    pub fn read(lexer: &mut Lexer<'_>) -> Result<Self, ImageError> {
        let (mut alignment, mut vector, mut kind, mut points) = (None, 1, None, false);
        let name = loop {
            match lexer.word()? {
                // The alignment behind `.ptr` is that of what the parameter points to.
                ".align" => {
                    let number = lexer.count()?;
                    if !points {
                        alignment = Some(number);
                    }
                }
                ".ptr" => points = true,
                ".global" | ".const" | ".shared" | ".local" if points => {}
                ".v2" => vector = 2,
                ".v4" => vector = 4,
                ".attribute" => lexer.skip_to(b')')?,
                word if width(word).is_some() => kind = Some(word),
                word if word.starts_with('.') => {
                    return Err(lexer.error(&format!("{word} is no type")));
                }
                word => break word,
            }
        };
        let kind = kind.ok_or_else(|| lexer.error("a declaration has no type"))?;
        let element = width(kind).expect("it was asked above") * vector;
        let alignment = alignment.unwrap_or(element);
        if !alignment.is_power_of_two() || alignment > 4096 {
            return Err(lexer.error("an alignment is no power of two up to 4096"));
        }
        let mut sizes = Vec::new();
        while lexer.take(b'[')? {
            let size = if lexer.peek()? == Token::Mark(b']') { 0 } else { lexer.count()? };
            lexer.expect(b']')?;
            sizes.push(size);
        }
        let (name, kind) = (name.to_owned(), kind.to_owned());
        let mut declared =
            Self { name, kind, alignment, bytes: 0, vector, is_register: false, initial: None };
        if lexer.take(b'=')? {
            declared.initialise(lexer, &mut sizes, element / vector)?;
        }
        let bytes = sizes.iter().try_fold(element, |bytes, &size| bytes.checked_mul(size));
        declared.bytes = bytes
            .filter(|&bytes| bytes < 1 << 40)
            .ok_or_else(|| lexer.error("a variable is too large"))?;
        if let Some((bytes, _)) = &mut declared.initial {
            bytes.resize(declared.bytes as usize, 0);
        }
        Ok(declared)
    }

    fn initialise(
        &mut self,
        lexer: &mut Lexer<'_>,
        sizes: &mut [u64],
        element: u64,
    ) -> Result<(), ImageError> {
        let float = self.kind.starts_with(".f");
        let mut values =
            Values { element: element as usize, float, bytes: vec![], pointers: vec![] };
        let inner = sizes.iter().skip(1).try_fold(element * self.vector, |all, &size| {
            all.checked_mul(size.max(1)).ok_or_else(|| lexer.error("a variable is too large"))
        })?;
        values.read(lexer, &sizes.iter().map(|&size| size as usize).collect::<Vec<_>>(), 0)?;
        let given = values.bytes.len() as u64;
        if let Some(first) = sizes.first_mut().filter(|first| **first == 0) {
            // An array without a size has as many elements as are given.
            *first = given.div_ceil(inner.max(1));
        }
        let room = sizes.iter().try_fold(element * self.vector, |all, &size| all.checked_mul(size));
        if room.is_none_or(|room| room < given || room > UNPACKED_BYTES_MAX as u64) {
            return Err(lexer.error("a variable is smaller than its values"));
        }
        self.initial = Some((values.bytes, values.pointers));
        Ok(())
    }
}

/// Values of an initialiser, as they are read.
struct Values {
    element: usize,
    float: bool,
    bytes: Vec<u8>,
    pointers: Vec<Pointer>,
}

impl Values {
    /// Reads one value, or a list of them for an array of these sizes.
    fn read(
        &mut self,
        lexer: &mut Lexer<'_>,
        sizes: &[usize],
        depth: usize,
    ) -> Result<(), ImageError> {
        if !lexer.take(b'{')? {
            return self.value(lexer);
        }
        if depth >= DEPTH_MAX {
            return Err(lexer.error("the braces are nested too deep"));
        }
        let begin = self.bytes.len();
        while !lexer.take(b'}')? {
            self.read(lexer, sizes.get(1..).unwrap_or_default(), depth + 1)?;
            if !lexer.take(b',')? {
                lexer.expect(b'}')?;
                break;
            }
        }
        // The rest of an inner array is zero, so that its neighbour begins where it should.
        let inner = sizes.iter().try_fold(self.element, |bytes, &size| bytes.checked_mul(size));
        let end = inner.and_then(|inner| begin.checked_add(inner)).unwrap_or(usize::MAX);
        if end > UNPACKED_BYTES_MAX {
            return Err(lexer.error("a variable is too large to have values"));
        }
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        Ok(())
    }

    fn value(&mut self, lexer: &mut Lexer<'_>) -> Result<(), ImageError> {
        let negative = lexer.take(b'-')?;
        let word = lexer.word()?;
        let Some(number) = Number::read(word) else { return self.address(lexer, word) };
        let bits = match (number, self.float, self.element) {
            (Number::Integer(number), false, _) if negative => number.wrapping_neg(),
            (Number::Integer(number), false, _) => number,
            (Number::Single(bits), _, 4) if !negative => bits.into(),
            (Number::Double(bits), _, 8) if !negative => bits,
            (number, true, width) => {
                let number = if negative { -number.double() } else { number.double() };
                match width {
                    4 => (number as f32).to_bits().into(),
                    8 => number.to_bits(),
                    _ => narrow::half(number).to_bits().into(),
                }
            }
            _ => return Err(lexer.error(&format!("{word} does not fit the type"))),
        };
        self.bytes.extend_from_slice(&bits.to_le_bytes()[..self.element.min(8)]);
        Ok(())
    }

    /// Reads the address of another variable: `name`, `name+4`, `generic(name)+4`.
    fn address(&mut self, lexer: &mut Lexer<'_>, word: &str) -> Result<(), ImageError> {
        let generic = word == "generic" && lexer.take(b'(')?;
        let name = if generic { lexer.word()? } else { word };
        let mut addend = if lexer.take(b'+')? { lexer.count()? } else { 0 };
        if generic {
            lexer.expect(b')')?;
            let more = if lexer.take(b'+')? { lexer.count()? } else { 0 };
            addend = addend.wrapping_add(more);
        }
        if self.element != 8 {
            return Err(lexer.error("an address needs 64 bits"));
        }
        let offset = self.bytes.len() as u64;
        self.pointers.push(Pointer { offset, of: name.to_owned(), addend });
        self.bytes.extend_from_slice(&[0; 8]);
        Ok(())
    }
}
