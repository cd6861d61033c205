//! Reads the declarations of a public C header.
//!
//! Only what such headers hold is understood: typedefs, structures, unions, enums and prototypes.
//! Numbers (values of constants, sizes, offsets) are the C compiler's business, see `measure`.

use std::collections::BTreeMap;

use super::tokens::Token;
use super::types::{Shape, Type};

/// What the declarations of a header say.
#[derive(Debug, Default)]
pub(super) struct Declarations {
    /// Return type and parameters of each function.
    pub functions: BTreeMap<String, Function>,
    /// What each typedef, and each `struct x` or `enum x` (by the bare tag), stands for.
    pub types: BTreeMap<String, Shape>,
    /// Fields of each structure, by typedef or tag.
    pub structs: BTreeMap<String, Vec<Field>>,
    /// Names of the constants of each enum, by typedef or tag.
    pub enums: BTreeMap<String, Vec<String>>,
    /// Function pointer types by name, with the parameters' own names.
    pub pointers: BTreeMap<String, Function>,
    /// The keyword that a tag without a typedef needs before it.
    keywords: BTreeMap<String, String>,
}

impl Declarations {
    /// Adds what only the other reading knows.
    pub(super) fn add(&mut self, other: Self) {
        fn fill<T>(own: &mut BTreeMap<String, T>, other: BTreeMap<String, T>) {
            for (name, value) in other {
                own.entry(name).or_insert(value);
            }
        }
        fill(&mut self.functions, other.functions);
        fill(&mut self.types, other.types);
        fill(&mut self.structs, other.structs);
        fill(&mut self.enums, other.enums);
        fill(&mut self.pointers, other.pointers);
        fill(&mut self.keywords, other.keywords);
    }

    /// Adds the structures that the given ones hold by value, and gives each its best name.
    pub(super) fn with_parts(&self, wanted: &[String]) -> Vec<String> {
        let mut all = Vec::new();
        let mut open: Vec<String> = wanted.iter().rev().cloned().collect();
        while let Some(name) = open.pop() {
            if all.contains(&name) {
                continue;
            }
            if let Some(Shape::Alias(Type::Named(other))) = self.types.get(&name) {
                open.push(other.clone());
            } else if let Some(fields) = self.structs.get(&name) {
                open.extend(fields.iter().filter_map(|field| match &field.kind {
                    Type::Named(part) if !part.starts_with("anonymous ") => Some(part.clone()),
                    _ => None,
                }));
                all.push(name);
            }
        }
        all
    }

    /// Spells a type in C: a tag needs its keyword.
    pub(super) fn spelling(&self, name: &str) -> String {
        match self.keywords.get(name) {
            Some(keyword) => format!("{keyword} {name}"),
            None => name.to_owned(),
        }
    }
}

/// One function's prototype.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Function {
    /// What it returns.
    pub returns: Type,
    /// Names and types of its parameters.
    pub parameters: Vec<Field>,
}

/// One field of a structure, or one parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field {
    /// The name; empty for one without.
    pub name: String,
    /// The type.
    pub kind: Type,
}

/// Reads all declarations.
pub(super) fn parse(tokens: &[Token]) -> Declarations {
    let mut out = Declarations::default();
    let mut at = 0;
    while at < tokens.len() {
        let end = declaration_end(tokens, at);
        declaration(&tokens[at..end], &mut out);
        at = end + 1;
    }
    out
}

/// Finds the end of a declaration: its semicolon, or the brace that closes a function's body.
fn declaration_end(tokens: &[Token], start: usize) -> usize {
    let mut depth = 0;
    let mut body = false;
    for (at, token) in tokens.iter().enumerate().skip(start) {
        match token {
            Token::Mark('{') => {
                body |= depth == 0 && at > start && tokens[at - 1] == Token::Mark(')');
                depth += 1;
            }
            Token::Mark('}') => {
                depth -= 1;
                if depth == 0 && body {
                    return at;
                }
            }
            Token::Mark('(' | '[') => depth += 1,
            Token::Mark(')' | ']') => depth -= 1,
            Token::Mark(';') if depth == 0 => return at,
            _ => {}
        }
    }
    tokens.len()
}

fn declaration(tokens: &[Token], out: &mut Declarations) {
    let mut cursor = Cursor { tokens, at: 0 };
    let typedef = cursor.skip_name("typedef");
    let Some(base) = cursor.base(out) else { return };
    if cursor.done() {
        return;
    }
    loop {
        let Some(declared) = cursor.declarator(base.clone(), out) else { return };
        let Declared { name, kind, function } = declared;
        match (typedef, function) {
            (true, Some(function)) => {
                out.types.insert(name.clone(), Shape::Callback);
                out.pointers.insert(name, function);
            }
            (true, None) => define(out, name, kind),
            (false, Some(function)) => {
                out.functions.entry(name).or_insert(function);
            }
            (false, None) => {}
        }
        if !cursor.skip(',') {
            return;
        }
    }
}

/// Records a typedef. One of a structure or enum that has no better name gives it its name.
fn define(out: &mut Declarations, name: String, kind: Type) {
    if let Type::Named(tag) = &kind
        && *tag != name
        && (tag.starts_with("anonymous ") || tag.ends_with("_st") || tag.ends_with("_enum"))
    {
        if let Some(fields) = out.structs.remove(tag) {
            out.structs.insert(name.clone(), fields);
        }
        if let Some(constants) = out.enums.remove(tag) {
            out.enums.insert(name.clone(), constants);
        }
        let shape = out.types.get(tag).cloned().unwrap_or(Shape::Struct);
        out.types.insert(tag.clone(), Shape::Alias(Type::Named(name.clone())));
        out.types.insert(name, shape);
    } else if !matches!(&kind, Type::Named(tag) if *tag == name) {
        out.types.insert(name, Shape::Alias(kind));
    }
}

struct Cursor<'a> {
    tokens: &'a [Token],
    at: usize,
}

struct Declared {
    name: String,
    kind: Type,
    function: Option<Function>,
}

impl Cursor<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn done(&self) -> bool {
        self.at >= self.tokens.len()
    }

    fn skip(&mut self, mark: char) -> bool {
        let found = self.peek() == Some(&Token::Mark(mark));
        self.at += usize::from(found);
        found
    }

    fn skip_name(&mut self, name: &str) -> bool {
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
    fn base(&mut self, out: &mut Declarations) -> Option<Type> {
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
    fn declarator(&mut self, mut kind: Type, out: &mut Declarations) -> Option<Declared> {
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
            let mut cursor = Cursor { tokens: part, at: 0 };
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
        let mut cursor = Cursor { tokens: &inner[at..end], at: 0 };
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
