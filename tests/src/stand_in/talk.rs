//! What is said over HTTP: by `ollama serve` to those who ask, and by `ollama run` to it.

use std::{
    env,
    io::{self, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
};

use serde_json::{Value, json};

use super::{
    http::{self, Request},
    schedule::{Failure, Scheduler, generate},
};

/// Where Ollama listens, and is asked (`OLLAMA_HOST`).
///
/// # Errors
/// `InvalidInput` if it is no address with a port.
pub fn address() -> io::Result<SocketAddr> {
    let named = env::var("OLLAMA_HOST").unwrap_or_else(|_| "127.0.0.1:11434".to_owned());
    named.parse().map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

/// Answers `GET /` and `POST /api/generate` for as long as the program runs.
///
/// # Errors
/// If no connection can be taken any more.
pub fn serve(listener: &TcpListener, scheduler: Scheduler) -> io::Result<()> {
    let scheduler = Arc::new(scheduler);
    for stream in listener.incoming() {
        let (stream, scheduler) = (stream?, Arc::clone(&scheduler));
        thread::spawn(move || {
            if let Err(error) = answer(&stream, &scheduler) {
                eprintln!("level=WARN source=stand-in msg=\"connection lost\" error={error:?}");
            }
        });
    }
    Ok(())
}

fn answer(stream: &TcpStream, scheduler: &Scheduler) -> io::Result<()> {
    let request = Request::read(stream)?;
    if request.what == "GET /" {
        http::begin(stream, "200 OK")?;
        return http::line(stream, &json!("Ollama is running"));
    }
    if request.what != "POST /api/generate" {
        return http::begin(stream, "404 Not Found");
    }
    // The status is sent with the first piece: until then an error has one of its own.
    let mut begun = false;
    let generated = generate(scheduler, &request.body, &mut |piece| {
        if !begun {
            begun = true;
            http::begin(stream, "200 OK")?;
        }
        http::line(stream, &piece)
    });
    match generated {
        Ok(()) => Ok(()),
        Err(Failure::Gone(error)) => Err(error),
        Err(failure) => {
            eprintln!("level=ERROR source=stand-in msg=\"{failure}\"");
            if !begun {
                let not_found = matches!(failure, Failure::NotFound(_));
                let status = if not_found { "404 Not Found" } else { "500 Internal Server Error" };
                http::begin(stream, status)?;
            }
            http::line(stream, &json!({"error": failure.to_string()}))
        }
    }
}

/// What kept `ollama run` from saying all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The words of its command line.
    #[error("usage: ollama run MODEL PROMPT [TOKENS]")]
    Usage,
    /// Nobody listens, or the connection was lost.
    #[error("Error: could not connect to a running Ollama instance: {0}")]
    Connection(#[from] io::Error),
    /// What the server said.
    #[error("Error: {status}: {error}")]
    Server {
        /// The status of its answer.
        status: u16,
        /// Its words.
        error: String,
    },
}

/// Asks the server to let a model answer, and prints each piece as it comes. How many tokens, which
/// Ollama has from the model's own parameters, is a third word here.
///
/// # Errors
/// If the server does not answer, or not to the end.
pub fn run(words: &[String]) -> Result<(), Error> {
    let (model, prompt, count) = match words {
        [model, prompt] => (model, prompt, 16),
        [model, prompt, count] => (model, prompt, count.parse().map_err(|_| Error::Usage)?),
        _ => return Err(Error::Usage),
    };
    let options = json!({"num_predict": count});
    let request = json!({"model": model, "prompt": prompt, "options": options});
    let mut answer = http::ask(address()?, "POST /api/generate", &request, None)?;
    let status = answer.status;
    let failed = |error: &str| Error::Server { status, error: error.to_owned() };
    let mut stdout = io::stdout();
    while let Some(said) = answer.line()? {
        if let Some(error) = said["error"].as_str() {
            return Err(failed(error));
        }
        if said["done"] == true {
            // The numbers of the tokens are not the genuine program's to print; they tell two
            // answers apart whose text does not.
            let numbers = Value::clone(&said["context"]);
            return Ok(writeln!(stdout, "\n{numbers}")?);
        }
        write!(stdout, "{}", said["response"].as_str().unwrap_or_default())?;
        stdout.flush()?;
    }
    Err(failed("the answer ended before it was done"))
}
