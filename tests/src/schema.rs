//! The published schemas of the installer's documents (`packaging/schema`).

use serde_json::Value;

use crate::stage;

/// Demands that a document is what its published schema says.
///
/// `name` is the schema's, such as `answer`.
///
/// # Panics
/// If it is not, with every difference; if there is no such schema.
#[track_caller]
pub fn demand(name: &str, document: &Value) {
    let path = stage::repository().join("packaging/schema").join(format!("{name}.json"));
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let schema: Value = serde_json::from_slice(&text).expect("a schema is JSON");
    let validator = jsonschema::validator_for(&schema).expect("a schema is valid");
    let wrong: Vec<String> = validator.iter_errors(document).map(|e| e.to_string()).collect();
    assert!(wrong.is_empty(), "against {name}.json: {wrong:#?}\n{document:#}");
}
