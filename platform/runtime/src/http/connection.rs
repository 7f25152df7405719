//! The stream under each connection. It closes a connection whose client does not read, and closes every connection so that
//! the client still receives the last response.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use super::middleware::RETRY_AFTER;
use super::{Limits, hyper_errors};
use crate::Problem;

/// How long the server reads and discards input after its last response. A socket that is closed with unread input resets
/// the connection, and the client may lose the response (a 413, say) before it has read it.
const LINGER_MAX: Duration = Duration::from_secs(2);
const LINGER_BUFFER_BYTES: usize = 4096;

pub(super) struct ClientStream {
    stream: TcpStream,
    limits: Limits,
    /// What replaces a response of hyper's own, and how many of its bytes are written.
    replacement: Option<(Vec<u8>, usize)>,
    /// Runs while a write waits for the client.
    write_timeout: Option<Pin<Box<Sleep>>>,
    /// Runs once our side is closed.
    lingering: Option<Pin<Box<Sleep>>>,
}

impl ClientStream {
    pub(super) fn new(stream: TcpStream, limits: Limits) -> Self {
        Self { stream, limits, replacement: None, write_timeout: None, lingering: None }
    }

    /// Writes `bytes`, or their replacement. Returns how many of `bytes` are done.
    fn write_or_replace(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.replacement.is_none() {
            self.replacement = hyper_errors::replacement(bytes, &self.limits).map(|bytes| (bytes, 0));
        }
        let Some((replacement, written)) = &mut self.replacement else {
            return Pin::new(&mut self.stream).poll_write(cx, bytes);
        };
        while *written < replacement.len() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &replacement[*written..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                more => *written += more,
            }
        }
        self.replacement = None;
        Poll::Ready(Ok(bytes.len()))
    }

    /// Returns the outcome of a write, or an error when no write has made progress for too long.
    fn with_timeout<T>(&mut self, cx: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.write_timeout = None;
            return outcome;
        }
        let max = self.limits.write_stall_max;
        let timeout = self.write_timeout.get_or_insert_with(|| Box::pin(tokio::time::sleep(max)));
        ready!(timeout.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read its response")))
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = self.write_or_replace(cx, bytes);
        self.with_timeout(cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = match slices {
            [only] => self.write_or_replace(cx, only),
            _ => Pin::new(&mut self.stream).poll_write_vectored(cx, slices),
        };
        self.with_timeout(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingering.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            self.lingering = Some(Box::pin(tokio::time::sleep_until(Instant::now() + LINGER_MAX)));
        }
        let mut scratch = [0; LINGER_BUFFER_BYTES];
        loop {
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => break,
            }
            if self.lingering.as_ref().is_some_and(|until| until.is_elapsed()) {
                return Poll::Ready(Ok(()));
            }
        }
        match &mut self.lingering {
            Some(until) => until.as_mut().poll(cx).map(Ok),
            None => Poll::Ready(Ok(())),
        }
    }
}

/// Answers 503 without reading the request.
pub(super) async fn refuse(mut stream: TcpStream) {
    let problem =
        Problem::overloaded(RETRY_AFTER).detail("too many open connections; the request was not processed");
    let body = serde_json::to_string(&problem).expect("a problem is plain data");
    let response = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: {}\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{body}",
        RETRY_AFTER.as_secs(),
        body.len()
    );
    let exchange = async {
        stream.write_all(response.as_bytes()).await?;
        stream.shutdown().await?;
        let mut scratch = [0; LINGER_BUFFER_BYTES];
        while stream.read(&mut scratch).await? > 0 {}
        io::Result::Ok(())
    };
    // A client that disconnects, or does not read, needs no response.
    let _ = tokio::time::timeout(LINGER_MAX, exchange).await;
}
