//! The server loop against real sockets.

mod connections;
mod hostile;
mod requests;
mod server;
