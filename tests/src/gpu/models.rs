//! A language model over the published CUDA backend, both ways: the same tokens, the same
//! probabilities within what two native runs differ by.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Outcome, Setting, Subject};
use crate::Vgpud;
use crate::model::{self, Shape, Weights};
use crate::stage;
use crate::system::{Result, at, run};

/// Tokens of a run, and of a sample.
const TOKENS: [&str; 2] = ["32", "4"];

/// The kinds of weights; a sample has the first.
const WEIGHTS: [(&str, Weights); 3] =
    [("f32", Weights::F32), ("f16", Weights::F16), ("q4_0", Weights::Q4_0)];

/// A run of a small model; the first one compiles the backend's kernels for the card.
const LIMIT: Duration = Duration::from_secs(150);

/// What two runs may differ by, where two native runs do not differ: one unit in the last place of
/// a probability near 1.
const DIFFERENCE_MIN: f64 = 1.2e-7;

fn tokens(setting: &Setting) -> &'static str {
    TOKENS[usize::from(setting.sample)]
}

/// Runs the model once and returns what it said.
fn decode(
    setting: &Setting,
    subject: Subject,
    host: Option<&Vgpud>,
    model: &Path,
) -> Result<Value> {
    let mut node = setting.command(subject, host, stage::node());
    node.arg(setting.file("tests/clients/node/decode.mjs"))
        .arg(model)
        .args([tokens(setting), "99"]);
    node.env("VGPU_NODE_CLIENTS", stage::node_clients());
    let said = run(&mut node, LIMIT)?.success()?;
    let last = said.lines().last().unwrap_or_default();
    Ok(serde_json::from_str(last).unwrap_or(Value::Null))
}

/// The largest difference between the probabilities of the same tokens; infinite if the tokens
/// differ.
fn difference(one: &Value, two: &Value) -> f64 {
    if one["tokens"] != two["tokens"] || one["tokens"].as_array().is_none_or(Vec::is_empty) {
        return f64::INFINITY;
    }
    let flat = |run: &Value| -> Vec<f64> {
        let steps = run["probabilities"].as_array().into_iter().flatten();
        let pairs = steps.flat_map(|step| step.as_array().into_iter().flatten());
        pairs.filter_map(|pair| pair[1].as_f64()).collect()
    };
    let (one, two) = (flat(one), flat(two));
    if one.len() != two.len() {
        return f64::INFINITY;
    }
    one.iter().zip(&two).map(|(one, two)| (one - two).abs()).fold(0.0, f64::max)
}

/// Compares the model in three kinds of weights; records ours.
pub(super) fn compare(setting: &Setting) -> Result<Outcome> {
    let recordings = setting.out.join("recordings");
    fs::create_dir_all(&recordings).map_err(at("creating", &recordings))?;
    let native = setting.native_host()?;
    let (mut lines, mut figures, mut held) = (Vec::new(), Vec::new(), true);
    let all = if setting.sample { &WEIGHTS[..1] } else { &WEIGHTS };
    for &(name, weights) in all {
        let path = setting.out.join(format!("{name}.gguf"));
        let file = File::create(&path).map_err(at("creating", &path))?;
        model::write(&mut BufWriter::new(file), Shape::SMALL, weights)
            .map_err(at("writing", &path))?;
        let one = decode(setting, Subject::Native, native.as_ref(), &path)?;
        let again = decode(setting, Subject::Native, native.as_ref(), &path)?;
        let record = recordings.join(format!("decode-{name}.vgpurec"));
        let _ = fs::remove_file(&record);
        let host = setting.host(&["--record", &record.to_string_lossy()])?;
        let ours = decode(setting, Subject::Ours, Some(&host), &path)?;
        drop(host);
        let (noise, ours) = (difference(&one, &again), difference(&one, &ours));
        let same = noise.is_finite() && ours <= noise.max(DIFFERENCE_MIN);
        held &= same;
        let verdict = if same { "the same" } else { "NOT the same" };
        lines.push(format!(
            "- {name}: {verdict}; two native runs differ by {noise:e}, ours from native by {ours:e}"
        ));
        figures.push(json!({ "weights": name, "noise": noise, "ours": ours }));
    }
    let says = format!("{} models, {} tokens each", figures.len(), tokens(setting));
    Ok(Outcome::of(held, says, lines, json!(figures)))
}
