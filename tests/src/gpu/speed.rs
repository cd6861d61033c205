//! How fast a larger model is, both ways by turns in one run.

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

/// What is run.
#[derive(Debug, Clone, Copy)]
struct Load {
    shape: Shape,
    /// Tokens of the prompt.
    prompt: usize,
    /// Tokens that are said after it.
    tokens: usize,
    /// Runs of each subject, by turns: the best of them stands, for what else a machine does only
    /// slows one down.
    rounds: usize,
}

/// A GPU's.
const LOAD: Load = Load { shape: Shape::LARGE, prompt: 384, tokens: 128, rounds: 3 };

/// A rehearsal's: a simulated device computes some ten tokens in a second.
const REHEARSED: Load = Load { shape: Shape::SMALL, prompt: 12, tokens: 4, rounds: 1 };

/// One run, loading included.
const LIMIT: Duration = Duration::from_secs(120);

/// Tokens in a second.
#[derive(Debug, Clone, Copy, Default)]
struct Rate {
    prompt: f64,
    decode: f64,
}

impl Rate {
    /// Reads what the client printed last; zero of what it did not say.
    fn of(said: &str, load: Load) -> Self {
        let said: Value =
            serde_json::from_str(said.lines().last().unwrap_or_default()).unwrap_or(Value::Null);
        let rate = |count: usize, part: &str| {
            let seconds = said["seconds"][part].as_f64().filter(|seconds| *seconds > 0.0);
            seconds.map_or(0.0, |seconds| count as f64 / seconds)
        };
        if said["tokens"].as_array().is_none_or(|tokens| tokens.len() != load.tokens) {
            return Self::default();
        }
        // The first token comes out of the prompt.
        Self { prompt: rate(load.prompt, "prompt"), decode: rate(load.tokens - 1, "tokens") }
    }

    fn better(self, other: Self) -> Self {
        Self { prompt: self.prompt.max(other.prompt), decode: self.decode.max(other.decode) }
    }
}

fn speak(
    setting: &Setting,
    subject: Subject,
    host: Option<&Vgpud>,
    model: &Path,
    load: Load,
) -> Result<Rate> {
    let mut node = setting.command(subject, host, stage::node());
    node.arg(setting.file("tests/clients/node/decode.mjs")).arg(model);
    node.args([load.tokens.to_string(), "99".into(), load.prompt.to_string()]);
    node.env("VGPU_NODE_CLIENTS", stage::node_clients());
    Ok(Rate::of(&run(&mut node, LIMIT)?.success()?, load))
}

/// Compares tokens in a second.
pub(super) fn compare(setting: &Setting) -> Result<Outcome> {
    let load = if setting.native.rehearsal { REHEARSED } else { LOAD };
    let path = setting.out.join("speed.gguf");
    let file = File::create(&path).map_err(at("creating", &path))?;
    model::write(&mut BufWriter::new(file), load.shape, Weights::Q4_0)
        .map_err(at("writing", &path))?;
    let (native_host, host) = (setting.native_host()?, setting.host(&[])?);
    let (mut native, mut ours) = (Rate::default(), Rate::default());
    for _ in 0..load.rounds {
        let rate = speak(setting, Subject::Native, native_host.as_ref(), &path, load)?;
        native = native.better(rate);
        ours = ours.better(speak(setting, Subject::Ours, Some(&host), &path, load)?);
    }
    // Too large to travel back.
    fs::remove_file(&path).map_err(at("removing", &path))?;
    let row = |name: &str, native: f64, ours: f64| {
        format!("| {name} | {native:.1} | {ours:.1} | {:.3} |", ours / native)
    };
    let lines = vec![
        "| tokens in a second | native | ours | ours / native |".to_owned(),
        "|---|---|---|---|".to_owned(),
        row("prompt", native.prompt, ours.prompt),
        row("decode", native.decode, ours.decode),
    ];
    let held = [native.prompt, native.decode, ours.prompt, ours.decode].iter().all(|r| *r > 0.0);
    let Load { prompt, tokens, rounds, .. } = load;
    let says = format!("{prompt} tokens of prompt, {tokens} said, the best of {rounds} runs each");
    let figures = |rate: Rate| json!({ "prompt": rate.prompt, "decode": rate.decode });
    let figures = json!({ "native": figures(native), "ours": figures(ours) });
    Ok(Outcome::of(held, says, lines, figures))
}
