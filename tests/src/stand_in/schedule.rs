//! What Ollama does around its runners: one child for each loaded model, looked at before each
//! request, killed when an answer of it ends before its time, and started anew by the next request.
//!
//! So it is in the sources of 0.17.4 (`server/sched.go`, `llm/server.go`) and of 0.30 and later
//! (`llm/llama_server.go`). Imitated are the rule and the words of its errors. Not imitated are
//! several models at once, several requests to one, and the estimate of memory.

use std::{
    env,
    io::{self, BufRead, BufReader},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::PathBuf,
    process::{Child, ChildStderr, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{RecvTimeoutError, Sender, channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use serde_json::{Value, json};

use super::{discover::environment, http, model::LISTENING};

/// How long a runner that does not listen yet may say nothing (`OLLAMA_LOAD_TIMEOUT`).
const LOAD: Duration = Duration::from_secs(300);

/// How long a runner may take to say that it is well (`needsReload`).
const HEALTH: Duration = Duration::from_secs(10);

/// How the lines of a runner begin that Ollama keeps to tell a user why it ended.
const REASONS: [&str; 5] =
    ["error:", "CUDA error", "cudaMalloc failed", "error loading model", "GGML_ASSERT"];

/// Why a request was not answered, in Ollama's words.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// There is no such file.
    #[error("model '{0}' not found")]
    NotFound(String),
    /// The runner did not start.
    #[error("error starting llama-server: {0}")]
    Start(#[source] io::Error),
    /// Who asked has gone.
    #[error("client connection closed: {0}")]
    Gone(#[source] io::Error),
    /// The runner ended, or said nothing for too long, before it listened.
    #[error("llama-server process has terminated: {0}")]
    Load(String),
    /// The runner did not take the request.
    #[error(
        "model runner has unexpectedly stopped, this may be due to resource limitations or an \
         internal error, check ollama server logs for details: {0}"
    )]
    Stopped(String),
    /// The runner ended before its answer did.
    #[error("an error was encountered while running the model: {0}")]
    Ended(String),
}

/// Starts and keeps the runner.
#[derive(Debug)]
pub struct Scheduler {
    library: PathBuf,
    /// The backend's directory; none without a GPU.
    gpu: Option<PathBuf>,
    loaded: Mutex<Option<Runner>>,
}

impl Scheduler {
    /// Is one without a runner, for what discovery found.
    pub fn new(library: PathBuf, gpu: Option<PathBuf>) -> Self {
        Self { library, gpu, loaded: Mutex::new(None) }
    }

    /// Lets the runner of a model answer, which is started if there is none that is well; gives
    /// each piece to `tell`.
    ///
    /// # Errors
    /// As [`Failure`] says; the next request starts a new runner then.
    pub fn complete(
        &self,
        model: &str,
        request: &Value,
        tell: &mut dyn FnMut(Value) -> io::Result<()>,
    ) -> Result<(), Failure> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if loaded.as_mut().is_some_and(|runner| runner.model != model || !runner.is_well()) {
            *loaded = None;
        }
        if loaded.is_none() {
            *loaded = Some(self.start(model)?);
        }
        let Some(runner) = loaded.as_mut() else { return Ok(()) };
        match runner.complete(request, tell)? {
            Outcome::Whole => Ok(()),
            Outcome::Cut(why) => {
                let reason = loaded.take().and_then(Runner::close).unwrap_or(why);
                Err(Failure::Ended(reason))
            }
        }
    }

    /// Starts a runner, and waits until it listens.
    fn start(&self, model: &str) -> Result<Runner, Failure> {
        let file = models().join(format!("{model}.gguf"));
        if model.contains('/') || !file.is_file() {
            return Err(Failure::NotFound(model.to_owned()));
        }
        // The port that is free now is the runner's, as Ollama finds one.
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let free = free.and_then(|free| free.local_addr()).map_err(Failure::Start)?;
        let mut command = Command::new(self.library.join("llama-server"));
        command.arg("--model").arg(&file).args(["--port", &free.port().to_string()]);
        let directory = self.gpu.as_deref().unwrap_or(&self.library);
        environment(&mut command, &self.library, directory, &[]);
        eprintln!("level=INFO source=stand-in msg=\"starting llama-server\" model={model}");
        let mut runner = Runner::start(command, model, free).map_err(Failure::Start)?;
        match runner.listens() {
            Ok(()) => Ok(runner),
            Err(why) => Err(Failure::Load(runner.close().unwrap_or_else(|| why.to_string()))),
        }
    }
}

/// Where Ollama keeps its models; here they lie there by name.
fn models() -> PathBuf {
    let named = env::var_os("OLLAMA_MODELS").filter(|path| !path.is_empty());
    named.map_or_else(|| "/usr/share/ollama/.ollama/models".into(), PathBuf::from)
}

/// How an answer ended.
enum Outcome {
    /// As it should.
    Whole,
    /// Before its time, and why as far as the connection knows.
    Cut(String),
}

/// Is a running child with a model; it ends with this.
#[derive(Debug)]
struct Runner {
    model: String,
    child: Child,
    address: SocketAddr,
    reason: Arc<Mutex<Option<String>>>,
    heard: std::sync::mpsc::Receiver<String>,
    listener: Option<JoinHandle<()>>,
}

impl Runner {
    fn start(mut command: Command, model: &str, address: SocketAddr) -> io::Result<Self> {
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let reason = Arc::new(Mutex::new(None));
        let (sender, heard) = channel();
        let listener = child.stderr.take().map(|stderr| {
            let reason = Arc::clone(&reason);
            std::thread::spawn(move || listen(stderr, &reason, &sender))
        });
        Ok(Self { model: model.to_owned(), child, address, reason, heard, listener })
    }

    /// Waits until it listens; each of its lines is a sign that it goes on.
    fn listens(&mut self) -> Result<(), RecvTimeoutError> {
        while !self.heard.recv_timeout(LOAD)?.contains(LISTENING) {}
        Ok(())
    }

    /// Answers whether it runs and says that it is well.
    fn is_well(&mut self) -> bool {
        let runs = matches!(self.child.try_wait(), Ok(None));
        let ask = || http::ask(self.address, "GET /health", &Value::Null, Some(HEALTH));
        runs && ask()
            .and_then(|mut answer| answer.line())
            .is_ok_and(|said| said.is_some_and(|said| said["status"] == "ok"))
    }

    /// Lets it answer. Nothing bounds that, as in Ollama: a runner that hangs is waited for.
    fn complete(
        &mut self,
        request: &Value,
        tell: &mut dyn FnMut(Value) -> io::Result<()>,
    ) -> Result<Outcome, Failure> {
        let asked = http::ask(self.address, "POST /completion", request, None);
        let mut answer = match asked {
            Ok(answer) => answer,
            Err(error) => return Err(Failure::Stopped(error.to_string())),
        };
        loop {
            match answer.line() {
                Ok(Some(said)) if said["stop"] == true => return Ok(Outcome::Whole),
                // The runner hears of it when its own connection ends with this.
                Ok(Some(said)) => tell(said).map_err(Failure::Gone)?,
                Ok(None) => return Ok(Outcome::Cut("unexpected EOF".to_owned())),
                Err(error) => return Ok(Outcome::Cut(error.to_string())),
            }
        }
    }

    /// Ends it; answers the last reason that it gave.
    fn close(mut self) -> Option<String> {
        self.end();
        self.reason.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn end(&mut self) {
        // It may have ended by itself, and either way it is reaped.
        let _ = self.child.kill();
        if let Ok(status) = self.child.wait() {
            eprintln!("level=INFO source=stand-in msg=\"llama-server ended\" status=\"{status}\"");
        }
        // All that it said is heard then.
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        if self.listener.is_some() {
            self.end();
        }
    }
}

/// Passes a runner's lines on to our own standard error, and keeps the last reason among them.
fn listen(stderr: ChildStderr, reason: &Mutex<Option<String>>, heard: &Sender<String>) {
    for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line).into_owned();
        eprintln!("{line}");
        if let Some(begin) = REASONS.iter().find_map(|begin| line.find(begin)) {
            *reason.lock().unwrap_or_else(PoisonError::into_inner) = Some(line[begin..].to_owned());
        }
        // Nobody waits for lines once it listens.
        let _ = heard.send(line);
    }
}

/// Answers `POST /api/generate` with the pieces as Ollama writes them.
///
/// # Errors
/// As [`Scheduler::complete`].
pub fn generate(
    scheduler: &Scheduler,
    request: &Value,
    tell: &mut dyn FnMut(Value) -> io::Result<()>,
) -> Result<(), Failure> {
    let model = request["model"].as_str().unwrap_or_default();
    let count = request["options"]["num_predict"].as_u64().unwrap_or(128);
    let asked = json!({"prompt": request["prompt"], "n_predict": count, "stream": true});
    let mut context = Vec::new();
    scheduler.complete(model, &asked, &mut |said| {
        context.extend(said["tokens"].as_array().into_iter().flatten().cloned());
        tell(json!({"model": model, "response": said["content"], "done": false}))
    })?;
    let done = json!({"model": model, "response": "", "done": true, "done_reason": "length",
                      "context": context});
    tell(done).map_err(Failure::Gone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_is_not_there_is_told_by_its_name_and_nothing_is_started() {
        let scheduler = Scheduler::new(PathBuf::from("/nowhere"), None);
        for name in ["none", "../none"] {
            let refused = scheduler.complete(name, &Value::Null, &mut |_| Ok(()));
            assert_eq!(refused.unwrap_err().to_string(), format!("model '{name}' not found"));
        }
    }
}
