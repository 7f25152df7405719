//! The binary from outside: `up` and the tools, private services, and what docker-compose.yml needs from it.

mod command_line;
mod compose;
mod migrate;
mod platform;
mod services;
mod tools;
mod up;
