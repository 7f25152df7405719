//! One connection to a door, by hand: open before anything is asked, and left alone when the client says so.
//!
//! Never: a request that the client library would not send too. Read next: `chaos/client.rs` (who hangs up),
//! `tests/e2e/tests/contention.rs` (who waits for the others).

use std::io::{Error, ErrorKind};
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Answer;

/// A TCP connection that carries one request.
pub struct Connection {
    stream: TcpStream,
    address: String,
}

impl Connection {
    /// # Errors
    /// When nobody listens there, or the other end is gone; so for all of these.
    pub async fn open(url: &str) -> std::io::Result<Self> {
        let address = url.trim_start_matches("http://").to_owned();
        Ok(Self { stream: TcpStream::connect(&address).await?, address })
    }

    /// Sends the whole of a POST.
    pub async fn post(&mut self, path: &str, headers: &[(&str, &str)], body: &Value) -> std::io::Result<()> {
        let (address, body) = (&self.address, body.to_string());
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: close\r\n{headers}\r\n{body}",
            body.len()
        );
        self.stream.write_all(request.as_bytes()).await
    }

    /// The answer, and after how long it says to come again.
    pub async fn answer(mut self) -> std::io::Result<(Answer, Option<Duration>)> {
        let mut text = String::new();
        self.stream.read_to_string(&mut text).await?;
        parse(&text).ok_or_else(|| Error::new(ErrorKind::UnexpectedEof, format!("no answer: {text:?}")))
    }
}

fn parse(text: &str) -> Option<(Answer, Option<Duration>)> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut head = head.lines();
    let status = StatusCode::from_bytes(head.next()?.split(' ').nth(1)?.as_bytes()).ok()?;
    let retry_after = head.find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        let seconds = value.parse().ok().filter(|_| name.eq_ignore_ascii_case("retry-after"))?;
        Some(Duration::from_secs(seconds))
    });
    Some((Answer { status, body: serde_json::from_str(body).ok()?, position: None }, retry_after))
}
