//! Reads one declaration, token by token.

use super::parse::{Declarations, Field, Function, declaration_end};
use super::tokens::Token;
use super::types::{Shape, Type};

/// A place in the tokens of one declaration.
pub(super) struct Cursor<'a> {
    tokens: &'a [Token],
    at: usize,
}

/// What one declarator declares.
pub(super) struct Declared {
    /// The name; empty for a parameter without one.
    pub name: String,
    /// The type; of a function, what it returns.
    pub kind: Type,
    /// The prototype, if it is a function or a pointer to one.
    pub function: Option<Function>,
}

impl<'a> Cursor<'a> {
    /// Starts at the first token.
    pub(super) fn new(tokens: &'a [Token]) -> Self {
        Self { tokens, at: 0 }
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    /// Says whether all tokens were read.
    pub(super) fn done(&self) -> bool {
        self.at >= self.tokens.len()
    }

    /// Steps over a mark if it is next.
    pub(super) fn skip(&mut self, mark: char) -> bool {
        let found = self.peek() == Some(&Token::Mark(mark));
        self.at += usize::from(found);
        found
    }

    /// Steps over a name if it is next.
    pub(super) fn skip_name(&mut self, name: &str) -> bool {
        let found = self.peek().is_some_and(|token| token.is_name(name));
        self.at += usize::from(found);
        found
    }

    /// Skips what stands between brackets, the opening one being next.
    fn skip_group(&mut self) -> usize {
        let start = self.at;
        let mut depth = 0;
        while let Some(token) = self.peek() {
            match token {
                Token::Mark('(' | '[' | '{') => depth += 1,
                Token::Mark(')' | ']' | '}') => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                break;
            }
        }
        start
    }

    /// Skips words that do not change a type; answers whether `const` was among them.
    fn skip_qualifiers(&mut self) -> bool {
        let mut constant = false;
        while let Some(name) = self.peek().and_then(Token::name) {
            match name {
                "const" => constant = true,
                "__attribute__" => {
                    self.at += 1;
                    self.skip_group();
                    continue;
                }
                "extern" | "static" | "inline" | "__inline__" | "__inline" | "volatile"
                | "register" | "__extension__" | "__restrict" => {}
                _ => break,
            }
            self.at += 1;
        }
        constant
    }

    /// Reads what stands before the declarators.
    pub(super) fn base(&mut self, out: &mut Declarations) -> Option<Type> {
        let mut constant = self.skip_qualifiers();
        let first = self.peek()?.name()?.to_owned();
        let mut kind = match first.as_str() {
            "struct" | "union" | "enum" => {
                self.at += 1;
                self.tagged(&first, out)?
            }
            _ => self.arithmetic().unwrap_or_else(|| {
                self.at += 1;
                Type::Named(first)
            }),
        };
        constant |= self.skip_qualifiers();
        if constant {
            kind = Type::Const(Box::new(kind));
        }
        Some(kind)
    }

    /// Reads `unsigned long long` and the like.
    fn arithmetic(&mut self) -> Option<Type> {
        let mut words = Vec::new();
        while let Some(name) = self.peek().and_then(Token::name) {
            match name {
                "unsigned" | "signed" | "char" | "short" | "int" | "long" | "float" | "double"
                | "void" | "_Bool" => words.push(name.to_owned()),
                "const" if !words.is_empty() => {}
                _ => break,
            }
            self.at += 1;
        }
        (!words.is_empty()).then(|| Type::arithmetic(&words))
    }

    fn tagged(&mut self, keyword: &str, out: &mut Declarations) -> Option<Type> {
        self.skip_qualifiers();
        let tag = match self.peek() {
            Some(Token::Name(tag)) => {
                let tag = tag.clone();
                self.at += 1;
                tag
            }
            _ => format!("anonymous {}", out.types.len()),
        };
        if self.peek() != Some(&Token::Mark('{')) {
            let shape = if keyword == "enum" { Shape::Enum } else { Shape::Undefined };
            out.types.entry(tag.clone()).or_insert(shape);
            return Some(Type::Named(tag));
        }
        let start = self.skip_group() + 1;
        let inner = &self.tokens[start..self.at - 1];
        out.keywords.insert(tag.clone(), keyword.to_owned());
        match keyword {
            "enum" => {
                out.types.insert(tag.clone(), Shape::Enum);
                out.enums.insert(tag.clone(), constants(inner));
            }
            _ => {
                let fields = if keyword == "struct" { fields(inner, out) } else { Vec::new() };
                out.types.insert(tag.clone(), Shape::Struct);
                out.structs.insert(tag.clone(), fields);
            }
        }
        Some(Type::Named(tag))
    }

    /// Reads one declarator: pointers, a name, arrays or parameters.
    pub(super) fn declarator(
        &mut self,
        mut kind: Type,
        out: &mut Declarations,
    ) -> Option<Declared> {
        self.skip_qualifiers();
        while self.skip('*') {
            kind = Type::Pointer(Box::new(kind));
            if self.skip_qualifiers() {
                kind = Type::Const(Box::new(kind));
            }
        }
        if self.skip('(') {
            // A pointer to a function: ( * name ) ( parameters ).
            self.skip_qualifiers();
            self.skip('*');
            self.skip_qualifiers();
            let name = self.peek().and_then(Token::name).unwrap_or_default().to_owned();
            while !self.done() && !self.skip(')') {
                self.at += 1;
            }
            let parameters = self.parameters(out);
            let function = Function { returns: kind, parameters };
            return Some(Declared { name, kind: Type::Callback, function: Some(function) });
        }
        let name = match self.peek() {
            Some(Token::Name(name)) => {
                let name = name.clone();
                self.at += 1;
                name
            }
            _ => String::new(),
        };
        self.skip_qualifiers();
        if self.peek() == Some(&Token::Mark('(')) {
            let parameters = self.parameters(out);
            self.skip_qualifiers();
            let function = Function { returns: kind.clone(), parameters };
            return Some(Declared { name, kind, function: Some(function) });
        }
        while self.peek() == Some(&Token::Mark('[')) {
            self.skip_group();
            kind = Type::Array(Box::new(kind));
        }
        if self.skip(':') {
            // A bit field: its width says nothing that `measure` could use.
            self.at += 1;
        }
        self.skip_qualifiers();
        Some(Declared { name, kind, function: None })
    }

    fn parameters(&mut self, out: &mut Declarations) -> Vec<Field> {
        let start = self.skip_group() + 1;
        let inner = &self.tokens[start..self.at.saturating_sub(1).max(start)];
        let mut parameters = Vec::new();
        for part in split_at_commas(inner) {
            let mut cursor = Cursor::new(part);
            let Some(base) = cursor.base(out) else { continue };
            if let Some(Declared { name, kind, .. }) = cursor.declarator(base, out)
                && kind != Type::Void
            {
                // An array parameter is a pointer.
                let kind = match kind {
                    Type::Array(element) => Type::Pointer(element),
                    other => other,
                };
                parameters.push(Field { name, kind });
            }
        }
        parameters
    }
}

fn split_at_commas(tokens: &[Token]) -> Vec<&[Token]> {
    let mut depth = 0;
    let parts = tokens.split(|token| {
        match token {
            Token::Mark('(' | '[' | '{') => depth += 1,
            Token::Mark(')' | ']' | '}') => depth -= 1,
            _ => {}
        }
        depth == 0 && *token == Token::Mark(',')
    });
    parts.filter(|part| !part.is_empty()).collect()
}

fn constants(inner: &[Token]) -> Vec<String> {
    let first = |part: &&[Token]| part[0].name().map(String::from);
    split_at_commas(inner).iter().filter_map(first).collect()
}

fn fields(inner: &[Token], out: &mut Declarations) -> Vec<Field> {
    let mut fields = Vec::new();
    let mut at = 0;
    while at < inner.len() {
        let end = declaration_end(inner, at);
        let mut cursor = Cursor::new(&inner[at..end]);
        at = end + 1;
        let Some(base) = cursor.base(out) else { continue };
        if cursor.done() {
            fields.push(Field { name: String::new(), kind: base });
            continue;
        }
        while let Some(Declared { name, kind, .. }) = cursor.declarator(base.clone(), out) {
            fields.push(Field { name, kind });
            if !cursor.skip(',') {
                break;
            }
        }
    }
    fields
}
