//! Functions that differ in the type of their elements or the width of their integers only.
//!
//! cuBLAS exports most of what it does under eight names: `cublasSgemm_v2`, `cublasDgemm_v2` and
//! so on, and each again with `_64` behind it. One description stands for all, and one body
//! answers all: it is told the type and takes every integer as 64 bits.

use std::collections::BTreeMap;

use crate::api::{Class, Role, Row};
use crate::error::Problem;
use crate::signature::Signatures;

/// Letters that stand for a type in a name (cuBLAS Library, "General Description"): single,
/// double, complex, double complex, half; two where scalars or results have another type.
const TYPES: [&str; 9] = ["S", "D", "C", "Z", "H", "Cs", "Zd", "Sc", "Dz"];

/// Suffix of the names whose integers have 64 bits.
const WIDE: &str = "_64";

/// Describes functions that share one body.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Family {
    /// Their C names; `{S,D}` stands for either, `{,_64}` for with and without.
    pub names: Vec<String>,
    /// How they are answered.
    pub class: Class,
    /// The message that the body sends.
    pub message: Option<String>,
    /// Module of `api` with the body, which is called as the family.
    pub body: String,
    /// Parameters as `name: type`. `int` is an `i32` or, under a name of 64 bits, an `i64`; a
    /// pointer may lie in the program's memory or on a device.
    pub parameters: Vec<String>,
}

/// Says how the shared body of a family is called for one function.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Member {
    /// The body's name.
    pub family: String,
    /// The type that the name tells, if it tells one.
    pub kind: Option<String>,
}

/// What one family stands for: rows and parameters, by C name.
pub(crate) type Expanded = (BTreeMap<String, Row>, BTreeMap<String, Vec<String>>);

impl Family {
    /// Makes a row and a signature for each name.
    pub(crate) fn expand(&self, name: &str, group: &str) -> Result<Expanded, Problem> {
        let (mut rows, mut signatures) = (BTreeMap::new(), BTreeMap::new());
        for pattern in &self.names {
            for (function, kind) in spellings(pattern)? {
                let integer = if function.ends_with(WIDE) { ": i64" } else { ": i32" };
                let parameters = self.parameters.iter().map(|text| text.replace(": int", integer));
                let parameters: Vec<String> = parameters.collect();
                let member = Member { family: name.to_owned(), kind };
                let row = self.row(group, member)?;
                if rows.insert(function.clone(), row).is_some() {
                    return Err(Problem::Twice);
                }
                signatures.insert(function, parameters);
            }
        }
        Ok((rows, signatures))
    }

    fn row(&self, group: &str, member: Member) -> Result<Row, Problem> {
        let mut params = BTreeMap::new();
        for text in &self.parameters {
            let (name, kind) =
                text.split_once(": ").ok_or_else(|| Problem::BadField(text.clone()))?;
            if kind.starts_with('*') {
                params.insert(name.to_owned(), Role::Memory);
            }
        }
        Ok(Row {
            message: self.message.clone(),
            body: Some(self.body.clone()),
            params,
            group: group.to_owned(),
            member: Some(member),
            ..Row::answered(self.class)
        })
    }
}

/// Lists what a pattern stands for, each with the type that its name tells.
fn spellings(pattern: &str) -> Result<Vec<(String, Option<String>)>, Problem> {
    let Some((before, rest)) = pattern.split_once('{') else {
        return Ok(vec![(pattern.to_owned(), None)]);
    };
    let bad = || Problem::BadPattern(pattern.to_owned());
    let (choices, after) = rest.split_once('}').ok_or_else(bad)?;
    let tails = spellings(after)?;
    let mut all = Vec::new();
    for choice in choices.split(',') {
        let told = TYPES.into_iter().find(|kind| kind.eq_ignore_ascii_case(choice));
        for (tail, later) in &tails {
            if told.is_some() && later.is_some() {
                return Err(bad());
            }
            let kind = told.map(str::to_uppercase).or(later.clone());
            all.push((format!("{before}{choice}{tail}"), kind));
        }
    }
    Ok(all)
}

/// Adds the parameters of a family's functions to what is known of others.
pub(crate) fn declare(signatures: &mut Signatures, functions: &BTreeMap<String, Vec<String>>) {
    for (name, parameters) in functions {
        signatures.functions.insert(name.clone(), parameters.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_stands_for_each_type_and_width() {
        let found = spellings("blasI{s,dz}max{,_64}").expect("a pattern");
        let kinds: Vec<_> =
            found.iter().map(|(name, kind)| (name.as_str(), kind.as_deref())).collect();
        assert_eq!(
            kinds,
            [
                ("blasIsmax", Some("S")),
                ("blasIsmax_64", Some("S")),
                ("blasIdzmax", Some("DZ")),
                ("blasIdzmax_64", Some("DZ")),
            ]
        );
        assert_eq!(spellings("blasGemmEx"), Ok(vec![("blasGemmEx".into(), None)]));
    }

    #[test]
    fn a_pattern_that_tells_two_types_or_does_not_end_is_refused() {
        for pattern in ["blas{S,D", "blas{S}gemm{D}"] {
            assert_eq!(spellings(pattern), Err(Problem::BadPattern(pattern.into())));
        }
    }

    #[test]
    fn integers_are_as_wide_as_the_name_says() {
        let family: Family = toml::from_str(
            "names = ['blas{S}take{,_64}']\nclass = 'local'\nbody = 'x'
             parameters = ['n: int', 'x: *const c_void', 'stride: i64']",
        )
        .expect("a family");
        let (rows, signatures) = family.expand("take", "x").expect("it fits");
        assert_eq!(signatures["blasStake"], ["n: i32", "x: *const c_void", "stride: i64"]);
        assert_eq!(signatures["blasStake_64"][0], "n: i64");
        assert_eq!(rows["blasStake"].params["x"], Role::Memory);
        let member = rows["blasStake_64"].member.as_ref().expect("a member");
        assert_eq!((member.family.as_str(), member.kind.as_deref()), ("take", Some("S")));
    }
}
