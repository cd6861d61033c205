//! A published program that computes a language model in the guest, as the user and in the
//! environment of its Ollama.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;

use super::{Bind, Container, Error, Machine, Result, error::at};
use crate::model::{self, Shape, Weights};

/// Longest time for one run: measured 6 s, most of it Node's.
const LIMIT: Duration = Duration::from_secs(240);

/// Tokens of one run, as in [`SPEAK`].
const TOKENS: usize = 8;

/// Where the guest has the model, and where the libraries write their counts.
pub(super) const MODEL: &str = "/var/tmp/model.gguf";
const COUNTS: &str = "/var/tmp/counts";

/// The command that speaks; the number of layers follows.
const SPEAK: &str = "runuser -u ollama -- env -i \"${service[@]}\" \
    VGPU_NODE_CLIENTS=/run/clients VGPU_STATS=json:/var/tmp/counts \
    /run/node/bin/node /run/scripts/decode.mjs /var/tmp/model.gguf 8";

/// Lets a published program compute a language model: Node.js, node-llama-cpp, and what it says.
#[derive(Debug)]
pub struct Speaker {
    /// The package of Node.js.
    pub node: PathBuf,
    /// The directory with `node_modules`.
    pub clients: PathBuf,
    /// The directory with `decode.mjs`.
    pub scripts: PathBuf,
}

/// Is what a model said, and how.
#[derive(Debug, PartialEq, Eq)]
pub struct Speech {
    /// The numbers of its words.
    pub tokens: Vec<u64>,
    /// Kernels and graphs that were launched for it.
    pub launches: u64,
}

/// Is the same model's speech on both.
#[derive(Debug)]
pub struct Speeches {
    /// With no layer on the GPU.
    pub cpu: Speech,
    /// With all of them.
    pub gpu: Speech,
}

impl Speeches {
    /// Lists what is not as it has to be.
    pub fn faults(&self) -> Vec<String> {
        let Self { cpu, gpu } = self;
        let mut faults = Vec::new();
        if cpu.tokens != gpu.tokens || gpu.tokens.len() != TOKENS {
            faults.push(format!("the model said {:?}, on the CPU {:?}", gpu.tokens, cpu.tokens));
        }
        if cpu.launches != 0 {
            faults.push(format!("without layers on the GPU it launched {} times", cpu.launches));
        }
        if gpu.launches < TOKENS as u64 {
            faults.push(format!("{TOKENS} tokens took but {} launches", gpu.launches));
        }
        faults
    }
}

impl Speaker {
    /// Shows its files to a guest.
    pub(super) fn binds(&self) -> [Bind; 3] {
        let Self { node, clients, scripts } = self;
        [("node", node), ("clients", clients), ("scripts", scripts)]
            .map(|(name, here)| Bind { here: here.clone(), there: Path::new("/run").join(name) })
    }

    /// Lays the model below a guest's root.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn lay(&self, root: &Path) -> Result<()> {
        let path = root.join(MODEL.trim_start_matches('/'));
        let written = File::create(&path).and_then(|file| {
            let mut file = BufWriter::new(file);
            model::write(&mut file, Shape::SMALL, Weights::F16)?;
            file.flush()
        });
        written.map_err(at("writing", path))
    }

    /// Lets the model speak with so many layers on the GPU, as the user and in the environment of
    /// Ollama's running service.
    pub(super) fn say(&self, container: &Container, layers: u32) -> Result<Speech> {
        let script = format!("{SPEAK} {layers}\ncat {COUNTS}");
        self.heard(container, &script)
    }

    /// Lets the model speak on the GPU in the control group of Ollama's service, while systemd
    /// reads its units again and again; answers how often it did.
    pub(super) fn say_among_reloads(&self, container: &Container) -> Result<(u64, Speech)> {
        let script = format!(
            "(echo $BASHPID > /sys/fs/cgroup/system.slice/ollama.service/cgroup.procs
            {SPEAK} 99) > /run/speech &
            speaking=$!
            while kill -0 $speaking 2>/dev/null; do
                systemctl daemon-reload
                echo reload >> /run/reloads
            done
            wait $speaking
            cat /run/speech {COUNTS}"
        );
        let speech = self.heard(container, &script)?;
        let reloads = container.sh("wc -l < /run/reloads")?;
        Ok((reloads.trim().parse().unwrap_or(0), speech))
    }

    fn heard(&self, container: &Container, script: &str) -> Result<Speech> {
        let prelude = "pid=$(systemctl show --property=MainPID --value ollama)
            mapfile -d '' service < /proc/$pid/environ";
        let script = format!("{prelude}\nrm -f {COUNTS}\n{script}");
        let done = container.run(&["bash", "-ec", &script], LIMIT)?;
        let said = format!("{}{}", done.stdout, done.stderr);
        parse(&done.success()?).ok_or_else(|| Error::Missing {
            what: "what a model says, and the libraries' counts".to_owned(),
            place: "the words of node-llama-cpp".to_owned(),
            output: said,
        })
    }
}

/// Reads the speech, a line of JSON, and after it the counts, one line for each library.
fn parse(said: &str) -> Option<Speech> {
    let mut speech = None;
    let mut launches = None;
    for line in said.lines() {
        let Ok(value) = serde_json::from_str::<Value>(line) else { continue };
        if let Some(tokens) = value["tokens"].as_array() {
            speech = tokens.iter().map(Value::as_u64).collect::<Option<Vec<_>>>();
        }
        if let Some(functions) = value["functions"].as_object() {
            let ours = functions.iter().filter(|(name, _)| {
                ["cuLaunchKernel", "cuLaunchKernelEx", "cuGraphLaunch"].contains(&name.as_str())
            });
            let calls: u64 = ours.filter_map(|(_, of)| of["calls"].as_u64()).sum();
            *launches.get_or_insert(0) += calls;
        }
    }
    Some(Speech { tokens: speech?, launches: launches? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_speech_is_read_from_among_other_lines() {
        let said = r#"loading
{"tokens":[5,6],"probabilities":[]}
{"library":"libcuda.so.1","functions":{"cuLaunchKernel":{"calls":3},"cuMemAlloc_v2":{"calls":2}}}
{"library":"libcudart.so.13","functions":{}}"#;
        assert_eq!(parse(said), Some(Speech { tokens: vec![5, 6], launches: 3 }));
        assert_eq!(parse(r#"{"tokens":[5,6]}"#), None, "without counts nothing is known");
    }

    #[test]
    fn other_words_on_the_gpu_and_a_gpu_that_did_nothing_are_faults() {
        let speech = |last, launches| {
            let tokens = (1..TOKENS as u64).chain([last]).collect();
            Speech { tokens, launches }
        };
        let both = |cpu, gpu| Speeches { cpu, gpu }.faults().len();
        assert_eq!(both(speech(9, 0), speech(9, 20)), 0);
        assert_eq!(both(speech(9, 0), speech(10, 20)), 1);
        assert_eq!(both(speech(9, 0), speech(9, 0)), 1);
        assert_eq!(both(speech(9, 20), speech(9, 20)), 1);
    }
}
