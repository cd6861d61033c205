//! The child by which Ollama 0.12.4 to 0.24 looks for GPUs: `ollama runner --ollama-engine` without
//! a model, which tells over HTTP what its backends found.

use std::{
    env,
    io::{self, BufRead, BufReader, Write},
    net::{Ipv4Addr, TcpListener},
    path::PathBuf,
};

use serde_json::{Value, json};

use super::ggml::Ggml;

/// Serves `GET /info` on a port of this machine until it is killed.
///
/// # Errors
/// If there is no ggml in the directories of `OLLAMA_LIBRARY_PATH`, or the port is taken.
pub fn serve(port: u16) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    let paths = env::var_os("OLLAMA_LIBRARY_PATH").unwrap_or_default();
    let directories: Vec<PathBuf> = env::split_paths(&paths).collect();
    let first = directories.first().ok_or(io::ErrorKind::NotFound)?;
    let ggml = Ggml::open(first).map_err(io::Error::other)?;
    for directory in &directories {
        ggml.load_from(directory).map_err(io::Error::other)?;
    }
    for stream in listener.incoming() {
        let mut stream = stream?;
        let mut request = String::new();
        BufReader::new(&stream).read_line(&mut request)?;
        let (status, body) = if request.starts_with("GET /info ") {
            ("200 OK", info(&ggml).map_err(io::Error::other)?.to_string())
        } else {
            ("404 Not Found", String::new())
        };
        let length = body.len();
        write!(stream, "HTTP/1.0 {status}\r\nContent-Length: {length}\r\n\r\n{body}")?;
    }
    Ok(())
}

/// The devices as Ollama's own type of that time writes them (`ml/device.go`).
fn info(ggml: &Ggml) -> Result<Value, libloading::Error> {
    let devices = ggml.devices()?.into_iter().map(|device| {
        let backend = device.name.trim_end_matches(|end: char| end.is_ascii_digit());
        json!({
            "id": device.name.trim_start_matches(backend),
            "backend": backend,
            "name": device.name,
            "description": device.description,
            "total_memory": device.total,
            "free_memory": device.free,
        })
    });
    Ok(devices.collect())
}
