//! C types, and their spelling in Rust on x86-64 Linux.

use std::collections::BTreeMap;

/// A C type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Type {
    /// `void`.
    Void,
    /// An arithmetic type, by its Rust name.
    Plain(&'static str),
    /// A typedef, or the tag of a structure, union or enum.
    Named(String),
    /// A type that is not written to.
    Const(Box<Type>),
    /// A pointer.
    Pointer(Box<Type>),
    /// An array; its length is the C compiler's business.
    Array(Box<Type>),
    /// A pointer to a function.
    Callback,
}

/// What a named type stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shape {
    /// A structure or union with known fields.
    Struct,
    /// A structure that no header defines: only pointers to it occur.
    Undefined,
    /// An enum.
    Enum,
    /// A pointer to a function.
    Callback,
    /// Another type.
    Alias(Type),
}

impl Type {
    /// Makes the type of a row of C's arithmetic words.
    pub(super) fn arithmetic(words: &[String]) -> Self {
        let has = |word: &str| words.iter().any(|own| own == word);
        let longs = words.iter().filter(|word| *word == "long").count();
        if has("void") {
            return Self::Void;
        }
        Self::Plain(match (has("unsigned"), longs) {
            _ if has("double") => "f64",
            _ if has("float") => "f32",
            _ if has("_Bool") => "bool",
            (true, _) if has("char") => "u8",
            (false, _) if has("char") => {
                if has("signed") {
                    "i8"
                } else {
                    "c_char"
                }
            }
            (true, _) if has("short") => "u16",
            (false, _) if has("short") => "i16",
            (true, 0) => "u32",
            (false, 0) => "i32",
            (true, _) => "u64",
            (false, _) => "i64",
        })
    }

    /// Spells the type in Rust.
    pub(super) fn rust(&self, types: &BTreeMap<String, Shape>) -> String {
        match self {
            Self::Void => "c_void".into(),
            Self::Plain(name) => (*name).into(),
            Self::Callback => "*const c_void".into(),
            Self::Const(inner) | Self::Array(inner) => inner.rust(types),
            Self::Named(name) => named(name, types),
            Self::Pointer(inner) => {
                let how = if matches!(**inner, Self::Const(_)) { "*const" } else { "*mut" };
                format!("{how} {}", inner.rust(types))
            }
        }
    }
}

fn named(name: &str, types: &BTreeMap<String, Shape>) -> String {
    let standard = match name {
        "size_t" => "usize",
        "uint8_t" => "u8",
        "uint16_t" => "u16",
        "uint32_t" => "u32",
        "uint64_t" => "u64",
        "int8_t" => "i8",
        "int16_t" => "i16",
        "int32_t" => "i32",
        "int64_t" => "i64",
        _ => {
            return match types.get(name) {
                // A tag that a typedef replaced.
                Some(Shape::Alias(Type::Named(better))) if is_tag(name) => better.clone(),
                _ => name.to_owned(),
            };
        }
    };
    standard.to_owned()
}

fn is_tag(name: &str) -> bool {
    name.starts_with("anonymous ") || name.ends_with("_st") || name.ends_with("_enum")
}

/// Says what a named type is, in the words of the distilled form.
pub(super) fn meaning(name: &str, types: &BTreeMap<String, Shape>) -> Option<String> {
    Some(match types.get(name)? {
        Shape::Struct | Shape::Undefined => "struct".into(),
        Shape::Enum => "enum".into(),
        Shape::Callback => "callback".into(),
        Shape::Alias(Type::Pointer(inner)) => match &**inner {
            Type::Named(tag) if types.get(tag) == Some(&Shape::Undefined) => "handle".into(),
            other => format!("*mut {}", other.rust(types)),
        },
        Shape::Alias(other) => other.rust(types),
    })
}
