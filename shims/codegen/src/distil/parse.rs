//! Reads the declarations of a public C header.
//!
//! Only what such headers hold is understood: typedefs, structures, unions, enums and prototypes.
//! Numbers (values of constants, sizes, offsets) are the C compiler's business, see `measure`.

use std::collections::BTreeMap;

use super::cursor::{Cursor, Declared};
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
    /// The keyword that a tag without a typedef needs before it.
    pub keywords: BTreeMap<String, String>,
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
pub(super) fn declaration_end(tokens: &[Token], start: usize) -> usize {
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
    let mut cursor = Cursor::new(tokens);
    let typedef = cursor.skip_name("typedef");
    let Some(base) = cursor.base(out) else { return };
    if cursor.done() {
        return;
    }
    loop {
        let Some(declared) = cursor.declarator(base.clone(), out) else { return };
        let Declared { name, kind, function } = declared;
        match (typedef, function) {
            (true, Some(_)) => {
                out.types.insert(name, Shape::Callback);
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

#[cfg(test)]
mod tests {
    use super::super::tokens::tokens;
    use super::*;

    fn read(text: &str) -> Declarations {
        parse(&tokens(&format!("# 1 \"/h/x.h\"\n{text}\n"), "/h"))
    }

    fn spelled(declared: &Declarations, function: &str) -> Vec<String> {
        let parameters = declared.functions[function].parameters.iter();
        parameters
            .map(|field| format!("{}: {}", field.name, field.kind.rust(&declared.types)))
            .collect()
    }

    #[test]
    fn parameters_are_spelled_in_rust() {
        let cases = [
            ("void f(void);", vec![]),
            ("int f(unsigned long long a, size_t b);", vec!["a: u64", "b: usize"]),
            ("int f(const char *a, char *b);", vec!["a: *const c_char", "b: *mut c_char"]),
            ("int f(void **a);", vec!["a: *mut *mut c_void"]),
            ("int f(const void *const *a);", vec!["a: *const *const c_void"]),
            ("int f(const int a[], unsigned char);", vec!["a: *const i32", ": u8"]),
            ("int f(void (*done)(int, void *), int n);", vec!["done: *const c_void", "n: i32"]),
            ("typedef struct S_st *S; int f(S *a);", vec!["a: *mut S"]),
            ("extern __attribute__((weak)) int f(struct T t);", vec!["t: T"]),
        ];
        for (text, expected) in cases {
            assert_eq!(spelled(&read(text), "f"), expected, "{text}");
        }
    }

    #[test]
    fn a_function_with_a_body_ends_at_its_brace() {
        let declared =
            read("static inline int f(int a) { if (a) { return 1; } return 2; } int g();");
        assert_eq!(declared.functions.keys().collect::<Vec<_>>(), ["f", "g"]);
    }

    #[test]
    fn a_typedef_gives_its_structure_and_enum_their_names() {
        let declared = read(
            "typedef struct A_st { int x, *y; struct { int z; } inner; union { int p; }; } A;\n\
             typedef enum { ONE = 1, TWO = ONE << 1, } B; typedef enum c_enum { THREE } C;",
        );
        let names: Vec<&str> = declared.structs["A"].iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["x", "y", "inner", ""]);
        assert_eq!(declared.enums["B"], ["ONE", "TWO"]);
        assert_eq!(declared.enums["C"], ["THREE"]);
        assert_eq!(declared.types["A"], Shape::Struct);
    }

    #[test]
    fn the_first_reading_of_a_header_decides() {
        let mut first = read("int f(int a);");
        first.add(read("int f(long b); int g(void);"));
        assert_eq!(spelled(&first, "f"), ["a: i32"]);
        assert!(first.functions.contains_key("g"));
    }
}
