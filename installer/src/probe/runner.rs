//! How Ollama 0.12.4 to 0.24 looks for GPUs: a runner without a model is asked over HTTP what its
//! backends found.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// How long Ollama waits for the answer.
pub const LIMIT: Duration = Duration::from_secs(30);
/// How often it asks.
const PERIOD: Duration = Duration::from_millis(10);
/// Longest answer that is read: 1 MiB; a device takes some hundred bytes.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// What came of one runner.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunnerSeen {
    /// The devices that it told of.
    pub devices: Vec<Device>,
    /// How long it took from its start to its answer, in milliseconds.
    pub took_ms: u64,
    /// Why there is no answer.
    pub trouble: Option<String>,
}

/// A device in the runner's answer; what else it tells of one is left.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Its number or UUID, as `CUDA_VISIBLE_DEVICES` takes it.
    pub id: String,
    /// The backend that found it: `CUDA`, or `cpu`.
    #[serde(default)]
    pub backend: String,
    /// The backend's name for it.
    #[serde(default)]
    pub name: String,
    /// The name of the card.
    #[serde(default)]
    pub description: String,
    /// Its memory in bytes.
    #[serde(default)]
    pub total_memory: u64,
    /// What of it is free.
    #[serde(default)]
    pub free_memory: u64,
}

/// Starts a runner of this Ollama with the environment of this process, asks it, and ends it.
#[must_use]
pub fn look(program: &Path) -> RunnerSeen {
    let began = Instant::now();
    let (devices, trouble) = match asked(program, began) {
        Ok(devices) => (devices, None),
        Err(trouble) => (Vec::new(), Some(trouble.0)),
    };
    let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    RunnerSeen { devices, took_ms, trouble }
}

/// Why a runner gave no answer, for people.
struct Trouble(String);

#[expect(
    clippy::disallowed_methods,
    reason = "this process is itself a child that host/real began"
)]
fn asked(program: &Path, began: Instant) -> Result<Vec<Device>, Trouble> {
    let failed = |what: &str, error: std::io::Error| Trouble(format!("{what}: {error}"));
    // The port is free when it is given back; Ollama chooses one in the same way.
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|one| one.local_addr());
    let address = free.map_err(|error| failed("finding a port", error))?;
    let mut command = std::process::Command::new(program);
    command.args(["runner", "--ollama-engine", "--port", &address.port().to_string()]);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let mut runner = command.spawn().map_err(|error| failed("starting the runner", error))?;
    let answer = wait(&mut runner, address, began);
    // One that has ended by itself cannot be killed, and need not be.
    let _ = runner.kill();
    runner.wait().map_err(|error| failed("ending the runner", error))?;
    answer
}

fn wait(runner: &mut Child, address: SocketAddr, began: Instant) -> Result<Vec<Device>, Trouble> {
    loop {
        let left = LIMIT.saturating_sub(began.elapsed());
        if left.is_zero() {
            return Err(Trouble(format!("it gave no answer within {} s", LIMIT.as_secs())));
        }
        if let Ok(Some(status)) = runner.try_wait() {
            return Err(Trouble(format!("it ended by itself: {status}")));
        }
        if let Ok(answer) = get(address, left) {
            return read(&answer);
        }
        std::thread::sleep(PERIOD);
    }
}

fn get(address: SocketAddr, left: Duration) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, left)?;
    stream.set_read_timeout(Some(left))?;
    stream.set_write_timeout(Some(left))?;
    // Version 1.0 has no chunks, so the answer's end is the connection's.
    stream.write_all(b"GET /info HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    match answer.is_empty() {
        true => Err(std::io::ErrorKind::UnexpectedEof.into()),
        false => Ok(answer),
    }
}

/// Reads an answer of HTTP whose body is a list of devices.
fn read(answer: &[u8]) -> Result<Vec<Device>, Trouble> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        return Err(Trouble(format!("it answered {status:?} to GET /info")));
    }
    // A runner without any device writes null.
    let devices: Result<Option<Vec<Device>>, _> = serde_json::from_str(body.trim());
    let malformed = |error| Trouble(format!("its answer to GET /info is no list: {error}"));
    Ok(devices.map_err(malformed)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_list_of_devices_and_everything_else_is_told() {
        let body = r#"[{"id":"GPU-9","backend":"CUDA","name":"CUDA0","description":"Sim 999",
            "total_memory":99,"free_memory":9,"ComputeMajor":9,"LibraryPath":["/x"]}]"#;
        let said = |status: &str, body: &str| format!("HTTP/1.0 {status}\r\nA: b\r\n\r\n{body}");
        let found = read(said("200 OK", body).as_bytes()).ok().unwrap();
        assert_eq!((found[0].id.as_str(), found[0].free_memory), ("GPU-9", 9));
        assert!(read(said("200 OK", "null\n").as_bytes()).ok().unwrap().is_empty());
        for (answer, why) in [
            (said("404 Not Found", ""), "404"),
            (said("200 OK", "<html>"), "no list"),
            ("nonsense".into(), "nonsense"),
        ] {
            let trouble = read(answer.as_bytes()).err().unwrap().0;
            assert!(trouble.contains(why), "{trouble}");
        }
    }

    #[test]
    fn a_program_that_ends_or_is_not_there_gives_no_devices() {
        let ended = look(Path::new("/bin/false"));
        assert!(ended.trouble.unwrap().contains("ended by itself"));
        let absent = look(Path::new("/nowhere/ollama"));
        assert!(absent.trouble.unwrap().starts_with("starting the runner: "));
    }
}
