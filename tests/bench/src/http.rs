//! A client that costs next to nothing, so that what is measured is the server: one connection, kept alive, one request
//! at a time, the head of the answer read only for its status and length.
//!
//! Never: chunked answers, TLS, redirects; no door of ours answers with them. Read next: `pace.rs`.

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
    /// When nobody listens there.
    pub async fn open(address: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, address: address.to_owned(), buffer: Vec::with_capacity(4096) })
    }

    /// POSTs JSON and returns the status. A server closes connections that have idled: what finds its connection closed is
    /// sent again on a new one, once, under the same key.
    ///
    /// # Errors
    /// When the connection breaks or what comes is not HTTP.
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

    /// GETs, and returns the status.
    ///
    /// # Errors
    /// As of [`Self::post`].
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
        self.answer().await
    }

    async fn answer(&mut self) -> anyhow::Result<u16> {
        let head_end = loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                break end + 4;
            }
            if self.buffer.len() > HEAD_BYTES_MAX || self.stream.read_buf(&mut self.buffer).await? == 0 {
                bail!("the server closed the connection, or its answer's head has no end");
            }
        };
        let head = std::str::from_utf8(&self.buffer[..head_end])?;
        let status = head.split(' ').nth(1).context("a status line")?.parse()?;
        let length: usize = head
            .lines()
            .find_map(|line| {
                line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            })
            .context("an answer with its length")?
            .1
            .trim()
            .parse()?;
        while self.buffer.len() < head_end + length {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                bail!("the server closed the connection in the middle of an answer");
            }
        }
        self.buffer.drain(..head_end + length);
        Ok(status)
    }
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}
