//! A row joined with its signature: what the emitters work on.

use std::collections::BTreeMap;

use crate::api::{Api, Class, Role, Row};
use crate::error::{Error, Problem, Result};
use crate::naming;
use crate::signature::Signatures;

/// Names what sets one library's generated code apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Library {
    /// Stem of its description files.
    pub name: &'static str,
    /// Prefix of its functions.
    pub prefix: &'static str,
}

/// One implemented function.
#[derive(Debug)]
pub(crate) struct Function<'a> {
    /// The C name.
    pub name: &'a str,
    /// The C name without the library's prefix, in snake case.
    pub snake: String,
    /// The C name without the library's prefix, in camel case.
    pub camel: String,
    /// Its row.
    pub row: &'a Row,
    /// Its parameters.
    pub parameters: Vec<Bound<'a>>,
}

/// One parameter with its role.
#[derive(Debug)]
pub(crate) struct Bound<'a> {
    /// The name in Rust.
    pub name: String,
    /// The type, in Rust's spelling.
    pub kind: &'a str,
    /// What a pointer points to.
    pub pointee: Option<&'a str>,
    /// The role, if it is not a plain value.
    pub role: Option<&'a Role>,
    /// The Rust name of the parameter that counts this one's elements.
    pub length: Option<String>,
    /// Whether another parameter takes this one as its length.
    pub is_length: bool,
}

/// Joins the rows of a library with its signatures, in the order of opcodes, then of names.
pub(crate) fn join<'a>(
    library: Library,
    api: &'a Api,
    signatures: &'a Signatures,
) -> Result<Vec<Function<'a>>> {
    let mut owners: BTreeMap<u32, &str> = BTreeMap::new();
    let mut functions = Vec::new();
    for (name, row) in api {
        let refused =
            |problem| Error::Row { library: library.name.into(), function: name.clone(), problem };
        check_class(row).map_err(refused)?;
        if let Some(opcode) = row.opcode
            && let Some(other) = owners.insert(opcode, name)
        {
            return Err(refused(Problem::OpcodeTaken { opcode, other: other.into() }));
        }
        let bare = naming::without_prefix(name, library.prefix);
        functions.push(Function {
            name,
            snake: naming::snake(bare),
            camel: naming::camel(bare),
            row,
            parameters: bind(name, row, signatures).map_err(refused)?,
        });
    }
    functions.sort_by_key(|function| (function.row.opcode.unwrap_or(u32::MAX), function.name));
    Ok(functions)
}

fn check_class(row: &Row) -> std::result::Result<(), Problem> {
    match (row.class, row.opcode) {
        (Class::Local, None) if row.body.is_none() => Err(Problem::NoBody),
        (Class::Local, Some(_)) => Err(Problem::Opcode("local")),
        (Class::Sync, None) => Err(Problem::Opcode("sync")),
        (Class::Async, None) => Err(Problem::Opcode("async")),
        _ => Ok(()),
    }
}

fn bind<'a>(
    function: &str,
    row: &'a Row,
    signatures: &'a Signatures,
) -> std::result::Result<Vec<Bound<'a>>, Problem> {
    let parameters = signatures.parameters(function).ok_or(Problem::NoSignature)?;
    let known = |name: &str| parameters.iter().any(|parameter| parameter.name == name);
    for (name, role) in &row.params {
        if !known(name) {
            return Err(Problem::NoParameter(name.clone()));
        }
        if let Some(length) = role.length().filter(|length| !known(length)) {
            return Err(Problem::NoParameter(length.into()));
        }
    }
    let lengths: Vec<&str> = row.params.values().filter_map(Role::length).collect();
    let mut bound = Vec::new();
    for parameter in &parameters {
        let role = row.params.get(parameter.name);
        match (role, parameter.pointee()) {
            (None, Some(_)) => return Err(Problem::NoRole(parameter.name.into())),
            (Some(role), None) if *role != Role::Raw && *role != Role::Memory => {
                let role = format!("{role:?}");
                return Err(Problem::BadRole { parameter: parameter.name.into(), role });
            }
            _ => {}
        }
        bound.push(Bound {
            name: naming::parameter(parameter.name),
            kind: parameter.kind,
            pointee: parameter.pointee(),
            role,
            length: role.and_then(Role::length).map(naming::parameter),
            is_length: lengths.contains(&parameter.name),
        });
    }
    Ok(bound)
}
