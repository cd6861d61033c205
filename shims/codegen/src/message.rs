//! What travels: the messages of a library, from its functions and from those of our own.

use std::collections::BTreeMap;

use crate::api::{Api, Class, Direction, Host, OwnMessage, Role, Structure};
use crate::error::Problem;
use crate::model::{Bound, Function, Library, OPCODE_MIN};
use crate::naming;
use crate::signature::Signatures;

/// One field of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field {
    /// Its name.
    pub name: String,
    /// Its form on the wire.
    pub form: Form,
}

/// How a value travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Form {
    /// As the Rust type of this name.
    Plain(&'static str),
    /// As a `u64`, from a `usize`.
    Size,
    /// As the wrapped integer of a type of abi, such as a handle or an enum.
    Wrapped {
        /// The type in abi.
        kind: String,
        /// The integer.
        inner: &'static str,
    },
    /// As bytes without a length, from a structure of this size.
    Bytes(usize),
    /// As a text.
    Text,
    /// As a length and at most that many bytes.
    ByteList(usize),
    /// As a count and at most that many elements.
    List(usize, Box<Form>),
    /// As the fields of a structure of ours.
    Structure(String),
}

/// One message and its answer.
#[derive(Debug)]
pub(crate) struct Message {
    /// Its type's name; the answer's has `Reply` behind it.
    pub name: String,
    /// What a device's method is called.
    pub method: String,
    /// What it asks for, after "Asks".
    pub about: String,
    /// What docs/messages.md calls it.
    pub title: String,
    /// The noun that it belongs to.
    pub group: String,
    /// Its number.
    pub opcode: u32,
    /// How it is answered.
    pub class: Class,
    /// Its fields.
    pub request: Vec<Field>,
    /// Fields of the answer.
    pub reply: Vec<Field>,
    /// What travels beside the fields.
    pub bulk: Option<Direction>,
    /// Whether the device may have to wait for earlier work before it can answer.
    pub waits: bool,
    /// How the host asks the genuine driver, if not by the function that the message is for.
    pub host: Option<Host>,
}

/// A structure of ours, resolved.
#[derive(Debug)]
pub(crate) struct Compound {
    /// Its type's name.
    pub name: String,
    /// What it is.
    pub about: String,
    /// Its fields.
    pub fields: Vec<Field>,
}

/// All that travels for one library.
#[derive(Debug)]
pub(crate) struct Vocabulary {
    /// The library.
    pub library: Library,
    /// By opcode.
    pub messages: Vec<Message>,
    /// By name.
    pub structures: Vec<Compound>,
}

impl Vocabulary {
    /// Collects the messages of functions and our own.
    pub(crate) fn collect(
        library: Library,
        api: &Api,
        signatures: &Signatures,
        functions: &[Function<'_>],
    ) -> Result<Self, (String, Problem)> {
        let mut messages = BTreeMap::new();
        for function in functions.iter().filter(|function| function.has_message()) {
            let message = of_function(signatures, function)
                .map_err(|problem| (function.name.to_owned(), problem))?;
            // `join` has refused two functions with one opcode.
            messages.insert(message.opcode, message);
        }
        let spelled = Spelled { signatures, structures: &api.structures };
        for (name, own) in &api.messages {
            let refused = |problem| (name.clone(), problem);
            let message = of_own(name, own, &spelled).map_err(refused)?;
            if let Some(other) = messages.get(&own.opcode) {
                let other = other.title.clone();
                return Err(refused(Problem::OpcodeTaken { opcode: own.opcode, other }));
            }
            messages.insert(own.opcode, message);
        }
        let structure = |(name, own): (&String, &Structure)| {
            let fields = spelled.fields(&own.fields).map_err(|problem| (name.clone(), problem))?;
            Ok(Compound { name: name.clone(), about: own.about.clone(), fields })
        };
        let structures: Result<_, _> = api.structures.iter().map(structure).collect();
        let messages = messages.into_values().collect();
        Ok(Self { library, messages, structures: structures? })
    }
}

fn of_function(signatures: &Signatures, function: &Function<'_>) -> Result<Message, Problem> {
    Ok(Message {
        name: function.camel.clone(),
        method: function.snake.clone(),
        about: format!("for `{}`", function.name),
        title: function.name.to_owned(),
        group: function.row.group.clone(),
        opcode: function.row.opcode.unwrap_or_default(),
        class: function.row.class,
        request: request(signatures, function)?,
        reply: reply(signatures, function)?,
        bulk: bulk(function),
        waits: function.row.waits,
        host: function.row.host,
    })
}

fn of_own(name: &str, own: &OwnMessage, spelled: &Spelled<'_>) -> Result<Message, Problem> {
    match own.class {
        _ if own.opcode < OPCODE_MIN => return Err(Problem::OpcodeReserved(own.opcode)),
        Class::Local => return Err(Problem::Opcode("local")),
        Class::Async if !own.reply.is_empty() || own.bulk == Some(Direction::Out) => {
            return Err(Problem::Opcode("async, which is not answered,"));
        }
        Class::Async if own.waits => return Err(Problem::Waits),
        _ => {}
    }
    Ok(Message {
        name: name.to_owned(),
        method: naming::snake(name),
        about: own.about.clone(),
        title: name.to_owned(),
        group: own.group.clone(),
        opcode: own.opcode,
        class: own.class,
        request: spelled.fields(&own.request)?,
        reply: spelled.fields(&own.reply)?,
        bulk: own.bulk,
        waits: own.waits,
        host: own.host,
    })
}

/// What a field of our own may be spelled as.
struct Spelled<'a> {
    signatures: &'a Signatures,
    structures: &'a BTreeMap<String, Structure>,
}

impl Spelled<'_> {
    fn fields(&self, spelled: &[String]) -> Result<Vec<Field>, Problem> {
        let field = |text: &String| {
            let (name, form) = text.split_once(": ")?;
            Some(Field { name: name.to_owned(), form: self.form(form)? })
        };
        let each = |text| field(text).ok_or_else(|| Problem::BadField(text.clone()));
        spelled.iter().map(each).collect()
    }

    fn form(&self, text: &str) -> Option<Form> {
        let number = |text: &str| text.replace('_', "").parse().ok();
        if text == "text" {
            Some(Form::Text)
        } else if let Some(rest) = text.strip_prefix("bytes(") {
            Some(Form::ByteList(number(rest.strip_suffix(')')?)?))
        } else if let Some(rest) = text.strip_prefix("fixed(") {
            Some(Form::Bytes(number(rest.strip_suffix(')')?)?))
        } else if let Some(rest) = text.strip_prefix("list(") {
            let (count, of) = rest.split_once(") of ")?;
            Some(Form::List(number(count)?, Box::new(self.form(of)?)))
        } else if self.structures.contains_key(text) {
            Some(Form::Structure(text.to_owned()))
        } else {
            form(self.signatures, text)
        }
    }
}

/// Finds the wire form of a type.
pub(crate) fn form(signatures: &Signatures, kind: &str) -> Option<Form> {
    const PLAIN: [&str; 8] = ["u8", "u16", "u32", "u64", "i32", "i64", "f32", "f64"];
    if let Some(plain) = PLAIN.iter().find(|plain| **plain == kind) {
        return Some(Form::Plain(plain));
    }
    if kind == "usize" {
        return Some(Form::Size);
    }
    let wrapped = |inner| Some(Form::Wrapped { kind: kind.into(), inner });
    match signatures.types.get(kind)?.as_str() {
        "handle" => wrapped("u64"),
        "enum" => wrapped("u32"),
        "struct" => Some(Form::Bytes(signatures.structs.get(kind)?.size)),
        alias => form(signatures, alias),
    }
}

/// Lists the fields of a function's request.
pub(crate) fn request(
    signatures: &Signatures,
    function: &Function<'_>,
) -> Result<Vec<Field>, Problem> {
    let counts_bulk_out = |bound: &Bound<'_>| {
        function.parameters.iter().any(|other| {
            matches!(other.role, Some(Role::BulkOut(_)))
                && other.length.as_deref() == Some(bound.name.as_str())
        })
    };
    let mut fields = Vec::new();
    for bound in &function.parameters {
        let kind = match bound.role {
            None if bound.is_length && !counts_bulk_out(bound) => continue,
            None => bound.kind,
            Some(Role::In | Role::Inout) => bound.pointee.unwrap_or_default(),
            Some(Role::Memory) => "u64",
            Some(Role::Text) => {
                fields.push(Field { name: bound.name.clone(), form: Form::Text });
                continue;
            }
            Some(_) => continue,
        };
        fields.push(field(signatures, bound, kind)?);
    }
    Ok(fields)
}

/// Lists the fields of a function's reply.
pub(crate) fn reply(
    signatures: &Signatures,
    function: &Function<'_>,
) -> Result<Vec<Field>, Problem> {
    let answered =
        |role: Option<&Role>| role.is_some_and(|role| role.is_result() || *role == Role::Inout);
    let results = function.parameters.iter().filter(|bound| answered(bound.role));
    results.map(|bound| field(signatures, bound, bound.pointee.unwrap_or_default())).collect()
}

fn field(signatures: &Signatures, bound: &Bound<'_>, kind: &str) -> Result<Field, Problem> {
    let form = form(signatures, kind)
        .ok_or_else(|| Problem::NoWireForm { parameter: bound.name.clone(), kind: kind.into() })?;
    Ok(Field { name: bound.name.clone(), form })
}

fn bulk(function: &Function<'_>) -> Option<Direction> {
    function.parameters.iter().find_map(|bound| match bound.role {
        Some(Role::BulkIn(_)) => Some(Direction::In),
        Some(Role::BulkOut(_)) => Some(Direction::Out),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::join;

    const LIBRARY: Library = Library { name: "cuda", prefix: "cu", title: "the driver API" };

    fn collect(messages: &str) -> Result<Vocabulary, (String, Problem)> {
        let signatures: Signatures = toml::from_str(
            "functions = { cuTake = ['stream: CUthing'] }\ntypes = { CUthing = 'handle' }",
        )
        .expect("valid signatures");
        let rows = toml::from_str("[cuTake]\nclass = 'sync'\nopcode = 0x103").expect("a valid row");
        let structures = toml::from_str("[Pair]\nabout = 'Two.'\nfields = ['a: u8', 'b: f64']");
        let structures = structures.expect("a valid structure");
        let messages = toml::from_str(messages).expect("valid messages");
        let api = Api { rows, messages, structures, ..Api::default() };
        let functions = join(LIBRARY, &api, &signatures, None, |_, _| true).expect("valid rows");
        Vocabulary::collect(LIBRARY, &api, &signatures, &functions)
    }

    #[test]
    fn messages_of_our_own_stand_beside_those_of_functions_by_opcode() {
        let all = collect(
            "[Own]\nabout = 'for more'\nclass = 'sync'\nopcode = 0x102\nreply = ['code: i32']
             request = ['of: CUthing', 'some: bytes(7)', 'more: list(1_000) of Pair',
                        'x: fixed(3)']",
        )
        .expect("a message");
        let names: Vec<&str> = all.messages.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["Own", "Take"]);
        let forms: Vec<Form> = all.messages[0].request.iter().map(|one| one.form.clone()).collect();
        let pair = Box::new(Form::Structure("Pair".into()));
        let wrapped = Form::Wrapped { kind: "CUthing".into(), inner: "u64" };
        assert_eq!(forms, [wrapped, Form::ByteList(7), Form::List(1000, pair), Form::Bytes(3)]);
    }

    #[test]
    fn a_message_of_our_own_that_does_not_fit_is_refused_by_name() {
        let cases = [
            ("class = 'sync'\nopcode = 0xff", Problem::OpcodeReserved(0xff)),
            ("class = 'local'\nopcode = 0x104", Problem::Opcode("local")),
            (
                "class = 'async'\nopcode = 0x104\nbulk = 'out'",
                Problem::Opcode("async, which is not answered,"),
            ),
            (
                "class = 'sync'\nopcode = 0x103",
                Problem::OpcodeTaken { opcode: 0x103, other: "cuTake".into() },
            ),
            (
                "class = 'sync'\nopcode = 0x104\nrequest = ['a: list(3) of Nothing']",
                Problem::BadField("a: list(3) of Nothing".into()),
            ),
        ];
        for (message, problem) in cases {
            let refused = collect(&format!("[Own]\nabout = ''\n{message}"));
            assert_eq!(refused.map(drop), Err(("Own".into(), problem)), "{message}");
        }
    }
}
