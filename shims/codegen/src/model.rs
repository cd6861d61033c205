//! A row joined with its signature: what the emitters work on.

use std::collections::BTreeMap;

use crate::api::{Api, Class, Role, Row};
use crate::error::{Error, Problem, Result};
use crate::naming;
use crate::signature::Signatures;

/// Names what sets one library's description apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Library {
    /// Stem of its description file.
    pub name: &'static str,
    /// Prefix of its functions.
    pub prefix: &'static str,
    /// What it is called in documents.
    pub title: &'static str,
}

/// First opcode of the driver API: those below belong to the connection itself.
pub(crate) const OPCODE_MIN: u32 = 0x100;

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
    /// What it returns, if not the library's result code.
    pub returns: Option<&'a str>,
    /// Its parameters.
    pub parameters: Vec<Bound<'a>>,
}

impl Function<'_> {
    /// Says whether this row defines a message.
    pub(crate) fn has_message(&self) -> bool {
        self.row.opcode.is_some()
    }
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
///
/// `major` is that of the library, where there are several; `exported` says whether a library
/// exports a name: rows of other majors are left out.
pub(crate) fn join<'a>(
    library: Library,
    api: &'a Api,
    signatures: &'a Signatures,
    major: Option<u32>,
    exported: impl Fn(&str, &Row) -> bool,
) -> Result<Vec<Function<'a>>> {
    let mut owners: BTreeMap<u32, &str> = BTreeMap::new();
    let mut functions = Vec::new();
    for (name, row) in api.rows.iter().filter(|(name, row)| exported(name, row)) {
        let refused =
            |problem| Error::Row { library: library.name.into(), function: name.clone(), problem };
        let (meant, row) = meaning(api, name, row, major).map_err(refused)?;
        let returns = signatures.returns.get(name).map(String::as_str);
        check(row, returns).map_err(refused)?;
        if let Some(message) = row.message.as_ref().filter(|name| !api.messages.contains_key(*name))
        {
            return Err(refused(Problem::NoMessage(message.clone())));
        }
        if let Some(opcode) = row.opcode
            && let Some(other) = owners.insert(opcode, name)
        {
            return Err(refused(Problem::OpcodeTaken { opcode, other: other.into() }));
        }
        let bare = naming::without_prefix(meant, library.prefix);
        let snake = match &row.member {
            Some(member) => member.family.clone(),
            None => naming::snake(bare),
        };
        functions.push(Function {
            name,
            snake,
            camel: naming::camel(bare),
            row,
            returns,
            parameters: bind(name, row, signatures).map_err(refused)?,
        });
    }
    functions.sort_by_key(|function| (function.row.opcode.unwrap_or(u32::MAX), function.name));
    Ok(functions)
}

/// Returns the name and the row that say what a name means in a major.
fn meaning<'a>(
    api: &'a Api,
    name: &'a str,
    row: &'a Row,
    major: Option<u32>,
) -> std::result::Result<(&'a str, &'a Row), Problem> {
    match row.thirteen.as_deref().filter(|_| major == Some(13)) {
        None => Ok((name, row)),
        Some(other) => {
            let row = api.rows.get(other).ok_or_else(|| Problem::NoRow(other.into()))?;
            Ok((other, row))
        }
    }
}

fn check(row: &Row, returns: Option<&str>) -> std::result::Result<(), Problem> {
    match (row.class, row.opcode) {
        (Class::Local, None) if row.body.is_none() => return Err(Problem::NoBody),
        (Class::Local, Some(_)) => return Err(Problem::Opcode("local")),
        (Class::Sync | Class::Async, None) if row.message.is_some() && row.body.is_some() => {}
        _ if row.message.is_some() => return Err(Problem::MessageUnsent),
        (Class::Sync, None) => return Err(Problem::Opcode("sync")),
        (Class::Async, None) => return Err(Problem::Opcode("async")),
        (_, Some(opcode)) if opcode < OPCODE_MIN => return Err(Problem::OpcodeReserved(opcode)),
        (Class::Local | Class::Async, _) if row.waits => return Err(Problem::Waits),
        _ => {}
    }
    if returns.is_some() != row.otherwise.is_some() {
        return Err(Problem::Otherwise);
    }
    let foreign = row.params.iter().find(|(_, role)| row.body.is_none() && role.needs_body());
    match foreign {
        Some((parameter, _)) => Err(Problem::NeedsBody(parameter.clone())),
        None => Ok(()),
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
        let by_value = signatures.types.get(parameter.kind).is_some_and(|kind| kind == "struct");
        match (role, parameter.pointee()) {
            (_, None) if by_value && !signatures.structs.contains_key(parameter.kind) => {
                return Err(Problem::NoLayout(parameter.kind.into()));
            }
            (None, Some(_)) => return Err(Problem::NoRole(parameter.name.into())),
            (Some(role), None) if !matches!(role, Role::Raw | Role::Memory) => {
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

#[cfg(test)]
mod tests {
    use super::*;

    const LIBRARY: Library = Library { name: "cuda", prefix: "cu", title: "the driver API" };

    /// Joins rows with two signatures, and says what was wrong with which.
    fn join_rows(rows: &str) -> std::result::Result<Vec<String>, (String, Problem)> {
        let signatures: Signatures = toml::from_str(
            r#"
            [functions]
            cuGive = ["place: *mut i32", "size: usize"]
            cuGive_v2 = ["place: *mut i32", "size: usize"]
            cuTake = ["handle: CUthing", "bytes: *const c_void", "count: usize"]
            cuText = ["code: i32"]
            cuWhole = ["value: CUwhole"]
            [returns]
            cuText = "*const c_char"
            [types]
            CUthing = "handle"
            CUwhole = "struct"
            "#,
        )
        .expect("valid signatures");
        let rows = toml::from_str(rows).expect("valid rows");
        let api = Api { rows, ..Api::default() };
        let joined = join(LIBRARY, &api, &signatures, Some(13), |_, _| true);
        joined.map(|functions| functions.into_iter().map(|one| one.snake).collect()).map_err(
            |error| match error {
                Error::Row { function, problem, .. } => (function, problem),
                other => panic!("{other}"),
            },
        )
    }

    #[test]
    fn rows_come_in_the_order_of_their_opcodes() {
        let rows = "
            [cuGive]\nclass = 'sync'\nopcode = 0x109\nparams.place = 'out'
            [cuTake]\nclass = 'sync'\nopcode = 0x103\nbody = 'x'\nparams.bytes.bulk_in = 'count'
            [cuText]\nclass = 'local'\nbody = 'text'\notherwise = 'c\"\".as_ptr()'";
        assert_eq!(join_rows(rows), Ok(vec!["take".into(), "give".into(), "text".into()]));
    }

    #[test]
    fn a_row_that_does_not_fit_is_refused_by_name() {
        let role = |role: &str| Problem::BadRole { parameter: "size".into(), role: role.into() };
        let cases = [
            ("cuNone", "class = 'local'\nbody = 'x'", Problem::NoSignature),
            ("cuGive", "class = 'sync'\nopcode = 0x100", Problem::NoRole("place".into())),
            ("cuGive", "class = 'sync'\nopcode = 0xff", Problem::OpcodeReserved(0xff)),
            ("cuGive", "class = 'sync'\nparams.place = 'out'", Problem::Opcode("sync")),
            ("cuGive", "class = 'async'\nparams.place = 'out'", Problem::Opcode("async")),
            ("cuGive", "class = 'local'\nopcode = 1\nbody = 'x'", Problem::Opcode("local")),
            ("cuGive", "class = 'local'\nparams.place = 'out'", Problem::NoBody),
            ("cuText", "class = 'sync'\nmessage = 'Own'", Problem::MessageUnsent),
            ("cuText", "class = 'local'\nbody = 'x'\nmessage = 'Own'", Problem::MessageUnsent),
            (
                "cuText",
                "class = 'sync'\nbody = 'x'\nmessage = 'Own'\notherwise = 'c\"\".as_ptr()'",
                Problem::NoMessage("Own".into()),
            ),
            (
                "cuTake",
                "class = 'sync'\nopcode = 0x100\nparams.bytes.bulk_in = 'count'",
                Problem::NeedsBody("bytes".into()),
            ),
            (
                "cuGive",
                "class = 'local'\nbody = 'x'\nparams.other = 'out'",
                Problem::NoParameter("other".into()),
            ),
            (
                "cuGive",
                "class = 'local'\nbody = 'x'\nparams.place.slice = 'length'",
                Problem::NoParameter("length".into()),
            ),
            (
                "cuGive",
                "class = 'local'\nbody = 'x'\nparams.place = 'out'\nparams.size = 'out'",
                role("Out"),
            ),
            ("cuText", "class = 'local'\nbody = 'x'", Problem::Otherwise),
            (
                "cuGive",
                "class = 'local'\nbody = 'x'\nthirteen = 'cuNew'",
                Problem::NoRow("cuNew".into()),
            ),
            ("cuWhole", "class = 'local'\nbody = 'x'", Problem::NoLayout("CUwhole".into())),
        ];
        for (function, row, problem) in cases {
            let refused = join_rows(&format!("[{function}]\n{row}"));
            assert_eq!(refused, Err((function.into(), problem)), "{row}");
        }
    }

    #[test]
    fn a_name_that_thirteen_gave_to_a_later_version_has_its_row() {
        let rows = "
            [cuGive]\nclass = 'local'\nbody = 'x'\nthirteen = 'cuGive_v2'
            [cuGive_v2]\nclass = 'local'\nbody = 'x'\nparams.place = 'out'";
        assert_eq!(join_rows(rows), Ok(vec!["give_v2".into(), "give_v2".into()]));
    }

    #[test]
    fn no_two_messages_have_one_opcode() {
        let rows = "
            [cuGive]\nclass = 'sync'\nopcode = 0x110\nparams.place = 'out'
            [cuTake]\nclass = 'async'\nopcode = 0x110\nbody = 'x'\nparams.bytes.bulk_in = 'count'";
        let taken = Problem::OpcodeTaken { opcode: 0x110, other: "cuGive".into() };
        assert_eq!(join_rows(rows), Err(("cuTake".into(), taken)));
    }
}
