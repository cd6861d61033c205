//! `llama-server` with a model: the runner that Ollama 0.30 and later starts for each.

use std::{
    env, io,
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use serde_json::json;

use super::{
    http::{self, Request},
    llama::{Error, Llama},
};

/// What the runner says as soon as it listens; Ollama waits for it to be healthy.
pub const LISTENING: &str = "server is listening on";

/// Loads a model, and serves `GET /health` and `POST /completion` on a port of this machine until
/// it is killed, or until ggml ends it: which it does by itself when a call of CUDA fails.
///
/// # Errors
/// If the model cannot be loaded, or the port is taken.
pub fn serve(model: &Path, port: u16) -> Result<(), Failure> {
    let program = env::current_exe()?;
    let llama = Llama::load(program.parent().unwrap_or(Path::new("/")), model)?;
    let llama = Arc::new(Mutex::new(llama));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    eprintln!("main: {LISTENING} http://{}", listener.local_addr()?);
    for stream in listener.incoming() {
        let (stream, llama) = (stream?, Arc::clone(&llama));
        // One asks for its health while another is answered.
        thread::spawn(move || {
            if let Err(error) = answer(&stream, &llama) {
                eprintln!("error: {error}");
            }
        });
    }
    Ok(())
}

/// What kept the runner from serving.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A connection or the listener.
    #[error("error: {0}")]
    Connection(#[from] io::Error),
    /// The model.
    #[error("{0}")]
    Model(#[from] Error),
}

fn answer(stream: &TcpStream, llama: &Mutex<Llama>) -> Result<(), Failure> {
    let request = Request::read(stream)?;
    if request.what == "GET /health" {
        http::begin(stream, "200 OK")?;
        return Ok(http::line(stream, &json!({"status": "ok"}))?);
    }
    if request.what != "POST /completion" {
        return Ok(http::begin(stream, "404 Not Found")?);
    }
    let prompt = request.body["prompt"].as_str().unwrap_or_default();
    let count = request.body["n_predict"].as_u64().unwrap_or(128);
    let mut llama = llama.lock().unwrap_or_else(PoisonError::into_inner);
    http::begin(stream, "200 OK")?;
    llama.speak(prompt, count, |token, text| {
        let said = json!({"content": text, "tokens": [token], "stop": false});
        // Nobody listens any more when the client has gone.
        http::line(stream, &said).is_ok()
    })?;
    Ok(http::line(stream, &json!({"content": "", "stop": true, "stop_type": "limit"}))?)
}
