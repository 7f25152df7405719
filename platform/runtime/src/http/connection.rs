//! A socket that cannot be held for ever by a client that does not read, and that is closed so that the client sees
//! the last answer.
//!
//! Never: a look at what a client sends, or a change to what our routes answer. Read next: `unreadable.rs` (the answers
//! that are not theirs), `guard.rs`.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use super::{Limits, unreadable};

/// For how long what a client still sends is read and thrown away after the last answer. Closing a socket with unread
/// input resets the connection, and the client may then lose the answer (a 413, say) before it has read it.
const LINGER_MAX: Duration = Duration::from_secs(2);
const LINGER_BUFFER_BYTES: usize = 4096;

const REFUSAL_BODY: &str = r#"{"type":"/problems/overloaded","title":"The server has too much to do","status":503,"code":"overloaded","detail":"too many connections are open; nothing was done"}"#;

pub(super) struct GuardedStream {
    stream: TcpStream,
    limits: Limits,
    /// What is written in the place of an answer that hyper gave by itself, and how much of it is out.
    instead: Option<(Vec<u8>, usize)>,
    /// Armed while a write waits for the client.
    stalled: Option<Pin<Box<Sleep>>>,
    /// Armed once our side is closed.
    lingering: Option<Pin<Box<Sleep>>>,
}

impl GuardedStream {
    pub(super) fn new(stream: TcpStream, limits: Limits) -> Self {
        Self { stream, limits, instead: None, stalled: None, lingering: None }
    }

    /// Writes `bytes`, or what stands in their place; tells how many of `bytes` that was.
    fn write_or_explain(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.instead.is_none() {
            self.instead = unreadable::explained(bytes, &self.limits).map(|answer| (answer, 0));
        }
        let Some((answer, out)) = &mut self.instead else {
            return Pin::new(&mut self.stream).poll_write(cx, bytes);
        };
        while *out < answer.len() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &answer[*out..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => *out += written,
            }
        }
        self.instead = None;
        Poll::Ready(Ok(bytes.len()))
    }

    /// Passes on what a write came to, and gives up when none has moved a byte for too long.
    fn watch<T>(&mut self, cx: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.stalled = None;
            return outcome;
        }
        let max = self.limits.write_stall_max;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(max)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read its answer")))
    }
}

impl AsyncRead for GuardedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for GuardedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = self.write_or_explain(cx, bytes);
        self.watch(cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = match slices {
            [only] => self.write_or_explain(cx, only),
            _ => Pin::new(&mut self.stream).poll_write_vectored(cx, slices),
        };
        self.watch(cx, outcome)
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

/// Tells a client that came when all slots were taken, without reading what it wants.
pub(super) async fn refuse(mut stream: TcpStream) {
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 1\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{REFUSAL_BODY}",
        REFUSAL_BODY.len()
    );
    let farewell = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        let mut scratch = [0; LINGER_BUFFER_BYTES];
        while stream.read(&mut scratch).await? > 0 {}
        io::Result::Ok(())
    };
    // Whether the client heard it is its own affair.
    let _ = tokio::time::timeout(LINGER_MAX, farewell).await;
}
