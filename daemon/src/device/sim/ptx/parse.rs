//! Statements of a function's body, without their meaning.

use crate::image::ImageError;
use crate::image::ptx::{Declared, Lexer, Token, integer};

/// Most braces and parentheses inside one another in an operand: one more than there are.
const DEPTH_MAX: usize = 2;

/// A statement.
#[derive(Debug)]
pub(super) enum Statement<'a> {
    /// `{`
    Open,
    /// `}`
    Close,
    Label(&'a str),
    /// `.reg`: the type, then names with how many registers each stands for.
    Registers {
        kind: &'a str,
        names: Vec<(&'a str, Option<u32>)>,
    },
    /// `.shared`, `.local` or `.param`.
    Variable {
        space: &'a str,
        declared: Declared,
    },
    /// A list of labels under a name, for a branch by index.
    Targets {
        name: &'a str,
        labels: Vec<&'a str>,
    },
    Instruction(Raw<'a>),
}

/// An instruction as it is written.
#[derive(Debug)]
pub(super) struct Raw<'a> {
    /// A predicate, and whether it has to be false.
    pub guard: Option<(&'a str, bool)>,
    /// Name and modifiers, with their dots.
    pub name: &'a str,
    pub operands: Vec<Operand<'a>>,
}

/// An operand as it is written.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Operand<'a> {
    Word(&'a str),
    /// A number with a minus before it.
    Minus(&'a str),
    /// A predicate with an exclamation mark before it.
    Not(&'a str),
    /// Two destinations with a line between them.
    Pair(&'a str, &'a str),
    /// A name plus a number.
    Sum(&'a str, i64),
    /// What stands between braces.
    Vector(Vec<Operand<'a>>),
    /// What stands between parentheses.
    List(Vec<Operand<'a>>),
    /// What stands between brackets: a name or number, and what is added to it.
    Address(&'a str, i64),
}

/// Reads the statements of a body.
pub(super) struct Statements<'a> {
    lexer: Lexer<'a>,
    end: usize,
}

impl<'a> Statements<'a> {
    /// Begins with a body that stands in a text.
    pub fn new(text: &'a str, body: std::ops::Range<usize>) -> Self {
        Self { lexer: Lexer::new(&text[..body.end], body.start), end: body.end }
    }

    /// The line that is being read.
    pub fn line(&self) -> usize {
        match self.lexer.error("") {
            ImageError::Ptx { line, .. } => line,
            _ => 0,
        }
    }

    /// Reads the next statement, if there is one.
    pub fn next(&mut self) -> Result<Option<Statement<'a>>, ImageError> {
        loop {
            if self.lexer.at >= self.end {
                return Ok(None);
            }
            let statement = match self.lexer.next()? {
                Token::End => return Ok(None),
                Token::Mark(b'{') => Statement::Open,
                Token::Mark(b'}') => Statement::Close,
                Token::Mark(b';') => continue,
                Token::Mark(b'@') => {
                    let negated = self.lexer.take(b'!')?;
                    let predicate = self.lexer.word()?;
                    let name = self.lexer.word()?;
                    Statement::Instruction(self.instruction(Some((predicate, negated)), name)?)
                }
                Token::Word(word) => match self.word(word)? {
                    Some(statement) => statement,
                    None => continue,
                },
                _ => return Err(self.lexer.error("a statement cannot begin so")),
            };
            return Ok(Some(statement));
        }
    }

    fn word(&mut self, word: &'a str) -> Result<Option<Statement<'a>>, ImageError> {
        Ok(Some(match word {
            ".reg" => self.registers()?,
            ".shared" | ".local" | ".param" => {
                let declared = Declared::read(&mut self.lexer)?;
                self.lexer.expect(b';')?;
                Statement::Variable { space: word, declared }
            }
            ".loc" => {
                self.location()?;
                return Ok(None);
            }
            ".pragma" => {
                self.lexer.skip_to(b';')?;
                return Ok(None);
            }
            _ if self.lexer.take(b':')? => {
                if self.lexer.peek()? == Token::Word(".branchtargets") {
                    self.lexer.next()?;
                    let labels = self.words()?;
                    Statement::Targets { name: word, labels }
                } else {
                    Statement::Label(word)
                }
            }
            _ if word.starts_with('.') => {
                return Err(self.lexer.error(&format!("{word} is not known in a body")));
            }
            _ => Statement::Instruction(self.instruction(None, word)?),
        }))
    }

    /// Passes over a line of the source: `1 25 3, function_name $L1+8, inlined_at 1 12 3`. Nothing
    /// marks its end.
    fn location(&mut self) -> Result<(), ImageError> {
        loop {
            while matches!(self.lexer.peek()?, Token::Word(word) if integer(word).is_some()) {
                self.lexer.next()?;
            }
            if !self.lexer.take(b',')? {
                return Ok(());
            }
            if self.lexer.word()? == "function_name" {
                self.lexer.word()?;
                if self.lexer.take(b'+')? {
                    self.lexer.count()?;
                }
            }
        }
    }

    fn words(&mut self) -> Result<Vec<&'a str>, ImageError> {
        let mut words = vec![self.lexer.word()?];
        while self.lexer.take(b',')? {
            words.push(self.lexer.word()?);
        }
        self.lexer.expect(b';')?;
        Ok(words)
    }

    fn registers(&mut self) -> Result<Statement<'a>, ImageError> {
        let mut kind = self.lexer.word()?;
        if matches!(kind, ".v2" | ".v4") {
            return Err(self.lexer.error("registers of vectors are not known here"));
        }
        kind = kind.strip_prefix('.').unwrap_or(kind);
        let mut names = Vec::new();
        loop {
            let name = self.lexer.word()?;
            let mut count = None;
            if self.lexer.take(b'<')? {
                let asked = self.lexer.count()?;
                // As many as a module of the largest size could name.
                count = u32::try_from(asked).ok().filter(|&count| count <= 1 << 22);
                if count.is_none() {
                    return Err(self.lexer.error("there are too many registers"));
                }
                self.lexer.expect(b'>')?;
            }
            names.push((name, count));
            if !self.lexer.take(b',')? {
                break;
            }
        }
        self.lexer.expect(b';')?;
        Ok(Statement::Registers { kind, names })
    }

    fn instruction(
        &mut self,
        guard: Option<(&'a str, bool)>,
        name: &'a str,
    ) -> Result<Raw<'a>, ImageError> {
        let mut operands = Vec::new();
        while !self.lexer.take(b';')? {
            operands.push(self.operand(0)?);
            if !self.lexer.take(b',')? {
                self.lexer.expect(b';')?;
                break;
            }
        }
        Ok(Raw { guard, name, operands })
    }

    fn operand(&mut self, depth: usize) -> Result<Operand<'a>, ImageError> {
        if depth > DEPTH_MAX {
            return Err(self.lexer.error("operands are nested too deep"));
        }
        Ok(match self.lexer.next()? {
            Token::Word(word) => {
                if self.lexer.take(b'|')? {
                    Operand::Pair(word, self.lexer.word()?)
                } else if self.lexer.take(b'+')? {
                    Operand::Sum(word, self.signed()?)
                } else {
                    Operand::Word(word)
                }
            }
            Token::Mark(b'-') => Operand::Minus(self.lexer.word()?),
            Token::Mark(b'!') => Operand::Not(self.lexer.word()?),
            Token::Mark(b'{') => Operand::Vector(self.list(b'}', depth)?),
            Token::Mark(b'(') => Operand::List(self.list(b')', depth)?),
            Token::Mark(b'[') => self.address()?,
            _ => return Err(self.lexer.error("an operand cannot begin so")),
        })
    }

    fn address(&mut self) -> Result<Operand<'a>, ImageError> {
        let base = self.lexer.word()?;
        let signed = self.lexer.take(b'+')? || self.lexer.peek()? == Token::Mark(b'-');
        let offset = if signed { self.signed()? } else { 0 };
        self.lexer.expect(b']')?;
        Ok(Operand::Address(base, offset))
    }

    fn signed(&mut self) -> Result<i64, ImageError> {
        let negative = self.lexer.take(b'-')?;
        let count = self.lexer.count()? as i64;
        Ok(if negative { count.wrapping_neg() } else { count })
    }

    fn list(&mut self, end: u8, depth: usize) -> Result<Vec<Operand<'a>>, ImageError> {
        let mut all = Vec::new();
        while !self.lexer.take(end)? {
            all.push(self.operand(depth + 1)?);
            if !self.lexer.take(b',')? {
                self.lexer.expect(end)?;
                break;
            }
        }
        Ok(all)
    }
}
