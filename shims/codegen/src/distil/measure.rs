//! Asks the C compiler for numbers: values of constants, sizes, offsets.
//!
//! A program is compiled against the headers and run; it prints one line per number. So layouts
//! are those of the compiler, not of our reading of it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::Command;

use crate::error::{Error, Result};
use crate::signature::{Layout, Wanted};

use super::Compiler;
use super::parse::Declarations;
use super::types::Type;

/// What the compiler said.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    /// Values of the constants of each enum, in the order of the header.
    pub enums: BTreeMap<String, Vec<(String, i64)>>,
    /// Layout of each structure.
    pub structs: BTreeMap<String, Layout>,
}

/// Measures the named enums and structures.
pub(super) fn measure(
    compiler: &Compiler<'_>,
    declarations: &Declarations,
    wanted: &Wanted,
) -> Result<Numbers> {
    let (enums, structs) = (&wanted.enums, &wanted.structs);
    let mut program =
        format!("#include <stdio.h>\n#include <stddef.h>\n#include <{}>\n", compiler.header);
    program.push_str("int main(void) {\n");
    for name in enums {
        for constant in declarations.enums.get(name).into_iter().flatten() {
            let _ = writeln!(program, "printf(\"{constant} %lld\\n\", (long long){constant});");
        }
    }
    for name in structs {
        let kind = declarations.spelling(name);
        let _ =
            writeln!(program, "printf(\"{name} %zu %zu\\n\", sizeof({kind}), _Alignof({kind}));");
        for field in declarations.structs.get(name).into_iter().flatten() {
            let field = &field.name;
            if field.is_empty() {
                continue;
            }
            let of = format!("((({kind} *)0)->{field})");
            let _ = writeln!(
                program,
                "printf(\"{name}.{field} %zu %zu %zu\\n\", offsetof({kind}, {field}), sizeof {of}, \
                 _Alignof(__typeof__({of})));"
            );
        }
    }
    program.push_str("return 0; }\n");
    let answers = run(compiler, &program)?;
    Ok(read(&answers, declarations, enums, structs))
}

fn read(
    answers: &str,
    declarations: &Declarations,
    enums: &[String],
    structs: &[String],
) -> Numbers {
    let numbers: BTreeMap<&str, Vec<i64>> = answers
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(what, rest)| {
            (what, rest.split(' ').filter_map(|number| number.parse().ok()).collect())
        })
        .collect();
    let mut out = Numbers::default();
    for name in enums {
        let constants = declarations.enums.get(name).into_iter().flatten();
        let values = constants.filter_map(|constant| {
            Some((constant.clone(), *numbers.get(constant.as_str())?.first()?))
        });
        out.enums.insert(name.clone(), values.collect());
    }
    for name in structs {
        if let Some([size, align]) = numbers.get(name.as_str()).map(Vec::as_slice) {
            let (size, align) = (*size as usize, *align as usize);
            let fields = declarations.structs.get(name).into_iter().flatten();
            let places = fields.filter_map(|field| {
                let numbers = numbers.get(format!("{name}.{}", field.name).as_str())?;
                let [offset, size, align] = numbers.as_slice() else { return None };
                let kind = field_type(&field.kind, *size as usize, *align as usize, declarations);
                let (offset, size, align) = (*offset as usize, *size as usize, *align as usize);
                Some(Place { name: field.name.clone(), kind, offset, size, align })
            });
            let fields = without_gaps(places.collect(), size, align);
            out.structs.insert(name.clone(), Layout { size, align, fields });
        }
    }
    out
}

/// Where the compiler put a field.
struct Place {
    name: String,
    kind: String,
    offset: usize,
    size: usize,
    align: usize,
}

/// Names the bytes that belong to unions and structures without a name.
fn without_gaps(places: Vec<Place>, size: usize, align: usize) -> Vec<(String, String, usize)> {
    let mut fields = Vec::new();
    let mut end: usize = 0;
    let past = Place { name: String::new(), kind: String::new(), offset: size, size: 0, align };
    for place in places.into_iter().chain([past]) {
        if end.next_multiple_of(place.align) < place.offset {
            let unit = if place.offset % 8 == 0 && align == 8 { 8 } else { 4.min(align) };
            let start = end.next_multiple_of(unit);
            let kind = format!("[u{}; {}]", unit * 8, (place.offset - start) / unit);
            let name = if end == 0 { "bytes".into() } else { format!("unnamed{start}") };
            fields.push((name, kind, start));
        }
        end = place.offset + place.size;
        if !place.name.is_empty() {
            fields.push((place.name, place.kind, place.offset));
        }
    }
    fields
}

/// Spells a field's type; what has no simple one is a row of integers of the same alignment.
fn field_type(kind: &Type, size: usize, align: usize, declarations: &Declarations) -> String {
    let (unit, width) = match align {
        8 => ("u64", 8),
        4 => ("u32", 4),
        2 => ("u16", 2),
        _ => ("u8", 1),
    };
    match kind {
        Type::Array(element) => {
            let mut element = &**element;
            while let Type::Array(inner) = element {
                element = inner;
            }
            let spelled = match element {
                Type::Plain("c_char" | "u8" | "i8") => Some(("u8", 1)),
                Type::Plain("i32") => Some(("i32", 4)),
                Type::Plain("u32") => Some(("u32", 4)),
                Type::Plain("u64") => Some(("u64", 8)),
                Type::Named(name) if name == "size_t" => Some(("usize", 8)),
                _ => None,
            };
            let (unit, width) = spelled.unwrap_or((unit, width));
            format!("[{unit}; {}]", size / width)
        }
        Type::Named(name) if name.starts_with("anonymous ") => {
            format!("[{unit}; {}]", size / width)
        }
        other => other.rust(&declarations.types),
    }
}

/// Compiles and runs a program.
fn run(compiler: &Compiler<'_>, program: &str) -> Result<String> {
    let failed = |complaint: String| Error::Tool {
        tool: "cc",
        what: "a program that measures the headers".into(),
        complaint,
    };
    let directory = compiler.scratch.path();
    let source = directory.join("measure.c");
    let binary = directory.join("measure");
    std::fs::write(&source, program).map_err(|source_error| Error::File {
        verb: "writing",
        path: source.clone(),
        source: source_error,
    })?;
    let compiled = Command::new("cc")
        .args(compiler.arguments())
        .arg(&source)
        .arg("-o")
        .arg(&binary)
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if !compiled.status.success() {
        return Err(failed(String::from_utf8_lossy(&compiled.stderr).into_owned()));
    }
    let answered = Command::new(&binary).output().map_err(|error| failed(error.to_string()))?;
    if !answered.status.success() {
        return Err(failed(format!("it ended with {}", answered.status)));
    }
    Ok(String::from_utf8_lossy(&answered.stdout).into_owned())
}
