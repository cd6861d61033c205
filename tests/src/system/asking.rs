//! Ollama's service, asked as a user asks it: it keeps the runner of a model, and starts it again.

use std::time::Duration;

use super::{Finished, Guest, Machine, Result, speech::MODEL};

/// Longest time for an answer; a virtual machine that is emulated loads a model in half a minute.
const LIMIT: Duration = Duration::from_secs(300);

/// Where the service finds the model of [`Speaker::lay`](super::Speaker::lay): for its unit.
pub const MODELS: &str = "OLLAMA_MODELS=/var/tmp";

/// How llama.cpp says, once for each loaded model, that all of it is on the GPU.
const LOADED: &str = "offloaded 3/3 layers to GPU";

/// What a request says whose GPU was lost under a runner.
const LOST: &str = "an error was encountered while running the model: CUDA error";

/// Is what became of requests that were sent until one was answered.
#[derive(Debug)]
pub struct Asked {
    /// The answer: words, and the numbers of their tokens.
    pub answer: String,
    /// How many requests ended before it with the error of a lost GPU.
    pub lost: usize,
    /// How often the service has loaded the model on the GPU since it was started.
    pub loads: usize,
    /// The start of the service, as systemd numbers it.
    pub invocation: String,
}

impl<M: Machine> Guest<M> {
    /// Asks the service for a few words, and a second time if the first request ends with the error
    /// of a lost GPU, which is what a runner answers that had a context there.
    ///
    /// # Errors
    /// If a request ends with another error, or both with that one, or not in time.
    pub fn ask_ollama(&self) -> Result<Asked> {
        let first = self.request()?;
        let is_lost = !first.status.success() && first.stderr.contains(LOST);
        let (lost, answered) = if is_lost { (1, self.request()?) } else { (0, first) };
        let answer = answered.success()?;
        let script = format!(
            "id=$(systemctl show --property=InvocationID --value ollama)
             echo $id
             journalctl --sync
             journalctl -o cat _SYSTEMD_INVOCATION_ID=$id | grep -c '{LOADED}' || true"
        );
        let said = self.sh(&script)?;
        let (invocation, loads) = said.split_once('\n').unwrap_or_default();
        let loads = loads.trim().parse().unwrap_or(0);
        Ok(Asked { answer, lost, loads, invocation: invocation.to_owned() })
    }

    fn request(&self) -> Result<Finished> {
        let model = MODEL.trim_start_matches("/var/tmp/").trim_end_matches(".gguf");
        let ollama = format!("{}/bin/ollama", self.layout.prefix);
        self.machine.run(&[&ollama, "run", model, "abc def 42", "8"], LIMIT)
    }
}
