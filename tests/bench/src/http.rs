//! A minimal HTTP client, so that the benchmarks measure the server: one kept-alive connection, one request at a time,
//! of the response only the status and the length. Kept by hand: reqwest costs as much CPU as the server that is
//! measured.
//!
//! Never: chunked responses, TLS, redirects; our servers send none of them.

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const HEAD_BYTES_MAX: usize = 64 * 1024;

pub struct Connection {
    stream: TcpStream,
    address: String,
    buffer: Vec<u8>,
}

impl Connection {
    /// To `address`, host:port.
    ///
    /// # Errors
    /// When nothing listens there.
    pub async fn open(address: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, address: address.to_owned(), buffer: Vec::with_capacity(4096) })
    }

    /// POSTs JSON and returns the status. The server closes idle connections, so a request that finds its connection closed
    /// is sent once more, on a new connection and under the same key.
    ///
    /// # Errors
    /// When the connection breaks, or the response is not HTTP.
    pub async fn post(&mut self, path: &str, key: &str, body: &str) -> anyhow::Result<u16> {
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\nidempotency-key: {key}\r\ncontent-length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        if let Ok(status) = self.exchange(&request).await {
            return Ok(status);
        }
        *self = Self::open(&self.address).await?;
        self.exchange(&request).await
    }

    /// GETs and returns the status.
    ///
    /// # Errors
    /// As [`Self::post`].
    pub async fn get(&mut self, path: &str) -> anyhow::Result<u16> {
        let request = format!("GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n", self.address);
        if let Ok(status) = self.exchange(&request).await {
            return Ok(status);
        }
        *self = Self::open(&self.address).await?;
        self.exchange(&request).await
    }

    async fn exchange(&mut self, request: &str) -> anyhow::Result<u16> {
        self.stream.write_all(request.as_bytes()).await?;
        self.read_response().await
    }

    async fn read_response(&mut self) -> anyhow::Result<u16> {
        let head_end = loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                break end + 4;
            }
            if self.buffer.len() > HEAD_BYTES_MAX || self.stream.read_buf(&mut self.buffer).await? == 0 {
                bail!("the server closed the connection, or the head of its response has no end");
            }
        };
        let head = std::str::from_utf8(&self.buffer[..head_end])?;
        let status = head.split(' ').nth(1).context("a status line")?.parse()?;
        let length: usize = head
            .lines()
            .find_map(|line| {
                line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            })
            .context("a response with its length")?
            .1
            .trim()
            .parse()?;
        while self.buffer.len() < head_end + length {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                bail!("the server closed the connection in the middle of a response");
            }
        }
        self.buffer.drain(..head_end + length);
        Ok(status)
    }
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}
