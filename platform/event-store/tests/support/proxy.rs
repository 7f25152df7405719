//! A connection to Postgres that can be cut at the two places that matter: before the server has the request, and
//! between the commit and the client's answer.
//!
//! A cut happens at the next message of an append, never at a time. Other connections, such as the append notifier's,
//! are not cut.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// What happens to the next message of an append.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cut {
    None,
    /// The client's next request does not reach the server; the connection breaks.
    Request,
    /// The server's next answer does not reach the client; the connection breaks.
    Answer,
    /// The client's connection breaks, and the server gets the request later, at [`Proxy::deliver_late`].
    LateRequest,
}

#[derive(Clone)]
pub struct Proxy {
    pub url: String,
    shared: Arc<Shared>,
}

struct Shared {
    server: String,
    cut: Mutex<Cut>,
    late: Mutex<Option<(OwnedWriteHalf, Vec<u8>)>>,
    is_late: Notify,
    is_done: Notify,
}

impl Proxy {
    /// In front of the server of `url`.
    pub async fn before(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let (user, place) = url.split_once('@').expect("the url names a user");
        let (server, database) = place.split_once('/').expect("the url names a database");
        let shared = Arc::new(Shared {
            server: server.to_owned(),
            cut: Mutex::new(Cut::None),
            late: Mutex::new(None),
            is_late: Notify::new(),
            is_done: Notify::new(),
        });
        let proxy = Self { url: format!("{user}@127.0.0.1:{port}/{database}"), shared: Arc::clone(&shared) };
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(Arc::clone(&shared), client));
            }
        });
        proxy
    }

    pub fn cut(&self, cut: Cut) {
        *self.shared.cut.lock().expect("no test panics while it holds the lock") = cut;
    }

    pub fn pending(&self) -> Cut {
        *self.shared.cut.lock().expect("no test panics while it holds the lock")
    }

    /// Sends the delayed request to the server, and waits until the server has processed it and closed the connection.
    pub async fn deliver_late(&self) {
        self.shared.is_late.notified().await;
        let late = self.shared.late.lock().expect("no test panics while it holds the lock").take();
        let (mut server, request) = late.expect("it was held back");
        server.write_all(&request).await.expect("the server still listens");
        server.shutdown().await.expect("the server still listens");
        self.shared.is_done.notified().await;
    }
}

impl Shared {
    /// Whether this is the message to cut; each cut happens once.
    fn take(&self, wanted: Cut) -> bool {
        let mut cut = self.cut.lock().expect("no test panics while it holds the lock");
        let is_wanted = *cut == wanted;
        if is_wanted {
            *cut = Cut::None;
        }
        is_wanted
    }
}

async fn carry(shared: Arc<Shared>, client: TcpStream) {
    let server = TcpStream::connect(&shared.server).await.expect("the server listens");
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let (mut request, mut answer) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let mut appends = false;
    loop {
        tokio::select! {
            read = from_client.read(&mut request) => {
                let Ok(length @ 1..) = read else { return };
                appends |= contains(&request[..length], "append(");
                let counts = appends && !contains(&request[..length], "NOTIFY");
                if counts && shared.take(Cut::Request) { return }
                if counts && shared.take(Cut::LateRequest) {
                    drop((from_client, to_client));
                    *shared.late.lock().expect("no test panics while it holds the lock") = Some((to_server, request[..length].to_vec()));
                    shared.is_late.notify_one();
                    // The server must be able to answer a client that is gone.
                    while let Ok(1..) = from_server.read(&mut answer).await {}
                    shared.is_done.notify_one();
                    return;
                }
                if to_server.write_all(&request[..length]).await.is_err() { return }
            }
            read = from_server.read(&mut answer) => {
                let Ok(length @ 1..) = read else { return };
                let counts = appends && !contains(&answer[..length], "NOTIFY");
                if counts && shared.take(Cut::Answer) { return }
                if to_client.write_all(&answer[..length]).await.is_err() { return }
            }
        }
    }
}

fn contains(message: &[u8], word: &str) -> bool {
    message.windows(word.len()).any(|bytes| bytes == word.as_bytes())
}
