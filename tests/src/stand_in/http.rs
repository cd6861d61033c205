//! As much of HTTP as Ollama, its runners and its command line say to each other: one request on a
//! connection, JSON in it, and an answer of lines of JSON that come as they are made.

use std::{
    io::{self, BufRead, BufReader, Lines, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use serde_json::Value;

/// Most bytes of a request's head, and of its body.
const HEAD_MAX: u64 = 16 << 10;
const BODY_MAX: u64 = 1 << 20;

/// Is what was asked.
#[derive(Debug)]
pub struct Request {
    /// Method and path, such as `GET /health`.
    pub what: String,
    /// The body; null if there is none.
    pub body: Value,
}

impl Request {
    /// Reads one.
    ///
    /// # Errors
    /// Those of the connection; `InvalidData` if it is no request, or too long.
    pub fn read(stream: &TcpStream) -> io::Result<Self> {
        let mut reader = BufReader::new(stream);
        let (first, length) = head(&mut reader)?;
        if length > BODY_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut body = Vec::new();
        reader.take(length).read_to_end(&mut body)?;
        let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body)? };
        let what = first.rsplit_once(' ').map_or("", |(what, _)| what).to_owned();
        Ok(Self { what, body })
    }
}

/// Begins an answer; its lines follow, and the end of the connection ends it.
///
/// # Errors
/// Those of the connection.
pub fn begin(mut stream: &TcpStream, status: &str) -> io::Result<()> {
    write!(stream, "HTTP/1.0 {status}\r\nContent-Type: application/x-ndjson\r\n\r\n")
}

/// Sends one line of an answer.
///
/// # Errors
/// Those of the connection.
pub fn line(mut stream: &TcpStream, value: &Value) -> io::Result<()> {
    stream.write_all(format!("{value}\n").as_bytes())
}

/// Is an answer whose head was read.
#[derive(Debug)]
pub struct Answer {
    /// The status, such as 200.
    pub status: u16,
    lines: Lines<BufReader<TcpStream>>,
}

impl Answer {
    /// The next line; `None` at the end, whether or not all was said by then.
    ///
    /// # Errors
    /// Those of the connection; `InvalidData` if it is no JSON.
    pub fn line(&mut self) -> io::Result<Option<Value>> {
        match self.lines.next().transpose()? {
            Some(line) => Ok(Some(serde_json::from_str(&line)?)),
            None => Ok(None),
        }
    }
}

/// Asks, and reads the head of the answer; a silence of `limit` is an error, if there is one.
///
/// # Errors
/// Those of the connection; `InvalidData` if the answer is none.
pub fn ask(
    address: SocketAddr,
    what: &str,
    body: &Value,
    limit: Option<Duration>,
) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(limit)?;
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let length = body.len();
    write!(stream, "{what} HTTP/1.0\r\nContent-Length: {length}\r\n\r\n{body}")?;
    let mut reader = BufReader::new(stream);
    let (first, _) = head(&mut reader)?;
    let status = first.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or(io::ErrorKind::InvalidData)?;
    Ok(Answer { status, lines: reader.lines() })
}

/// Reads the first line, and of the others the length of what follows.
fn head(reader: &mut impl BufRead) -> io::Result<(String, u64)> {
    let mut lines = reader.take(HEAD_MAX).lines();
    let first = lines.next().transpose()?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let mut length = 0;
    for line in lines {
        let line = line?;
        if line.is_empty() {
            return Ok((first, length));
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().map_err(|_| io::ErrorKind::InvalidData)?;
        }
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}
