//! Why an engine cannot be had, and what to do about it.
//!
//! Never: a message that leaves the reader without a next step.
//! Read next: `mod.rs`.

use std::ffi::OsStr;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error(
        "another Tradewind (pid {pid}) runs on {state_dir}: stop it, or name another folder with --state-dir"
    )]
    StateInUse { state_dir: PathBuf, pid: String },

    #[error(
        "no PostgreSQL {oldest} or later found. Ways to have one:\n\
         \x20 - install the server: `make setup` as root, or `apt-get install postgresql` (`postgres` and `initdb` are \
         looked for in PATH and /usr/lib/postgresql/*/bin; found: {found})\n\
         \x20 - name a running one: DATABASE_URL=postgres://user:password@host:5432/database"
    )]
    PostgresMissing { oldest: u32, found: String },

    #[error(
        "the data in {data} belongs to PostgreSQL {wanted}, and only {found} is installed: install postgresql-{wanted}, \
         or begin anew with --fresh"
    )]
    PostgresVersion { data: PathBuf, wanted: u32, found: String },

    #[error(
        "PostgreSQL refuses to run as root, and no other user can be had here. Ways to go on:\n\
         \x20 - run `tradewind` as a normal user\n\
         \x20 - allow user namespaces (`unshare --user` said: {unshare})\n\
         \x20 - let the user `postgres` enter {data} (`setpriv --reuid postgres` said: {setpriv}); --state-dir may name \
         a folder that others can enter\n\
         \x20 - name a running one: DATABASE_URL=postgres://user:password@host:5432/database"
    )]
    NoOtherUser { data: PathBuf, unshare: String, setpriv: String },

    #[error(
        "no Apache Kafka can be had. Ways to have one:\n\
         \x20 - name a running one: KAFKA_BROKERS=host:9092\n\
         \x20 - its jars, fetched once from Maven Central: {jars}\n\
         \x20 - a docker engine: {docker}"
    )]
    KafkaMissing { jars: String, docker: String },

    #[error("{engine} ended while starting ({status}); its log is {log}:\n{tail}")]
    Exited { engine: String, status: String, log: PathBuf, tail: String },

    #[error("{engine} was not ready within {seconds} s ({reason}); its log is {log}:\n{tail}")]
    NotReady { engine: String, seconds: u64, reason: String, log: PathBuf, tail: String },

    #[error("{what} failed ({status}): {output}")]
    Command { what: String, status: String, output: String },

    #[error("no free port found between {} and {}", range.start, range.end)]
    NoFreePort { range: Range<u16> },

    #[error("cannot {what} {path}: {source}")]
    Io { what: &'static str, path: PathBuf, source: io::Error },
}

impl EngineError {
    pub fn io(what: &'static str, path: impl AsRef<OsStr>, source: io::Error) -> Self {
        Self::Io { what, path: Path::new(path.as_ref()).to_owned(), source }
    }
}
