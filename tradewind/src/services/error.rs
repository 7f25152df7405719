//! Why PostgreSQL or Kafka is not available, with the next step for the reader.

use std::ffi::OsStr;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    #[error(
        "another Tradewind (pid {pid}) runs on {state_dir}: stop it, or choose another folder with --state-dir"
    )]
    StateInUse { state_dir: PathBuf, pid: String },

    #[error(
        "no PostgreSQL {oldest} or later found. Ways to get one:\n\
         \x20 - install the server: `make setup` as root, or `apt-get install postgresql` (`postgres` and `initdb` are \
         searched for in PATH and /usr/lib/postgresql/*/bin; found: {found})\n\
         \x20 - use a running server: DATABASE_URL=postgres://user:password@host:5432/database"
    )]
    PostgresMissing { oldest: u32, found: String },

    #[error(
        "the data in {data} belongs to PostgreSQL {wanted}, and only {found} is installed: install postgresql-{wanted}, \
         or remove the data with --fresh"
    )]
    PostgresVersion { data: PathBuf, wanted: u32, found: String },

    #[error(
        "PostgreSQL refuses to run as root, and there is no way to change the user here. Ways to continue:\n\
         \x20 - run `tradewind` as a normal user\n\
         \x20 - allow user namespaces (`unshare --user` failed: {unshare})\n\
         \x20 - let the user `postgres` enter {data} (`setpriv --reuid postgres` failed: {setpriv}); --state-dir may name \
         a folder that others can enter\n\
         \x20 - use a running server: DATABASE_URL=postgres://user:password@host:5432/database"
    )]
    NoOtherUser { data: PathBuf, unshare: String, setpriv: String },

    #[error(
        "no Apache Kafka is available. Ways to get one:\n\
         \x20 - use a running broker: KAFKA_BROKERS=host:9092\n\
         \x20 - its jars, fetched once from Maven Central: {jars}\n\
         \x20 - a docker engine: {docker}"
    )]
    KafkaMissing { jars: String, docker: String },

    #[error("{service} ended while starting ({status}); the end of its log, {log}:\n{tail}")]
    Exited { service: String, status: String, log: PathBuf, tail: String },

    #[error("{service} was not ready within {seconds} s ({reason}); the end of its log, {log}:\n{tail}")]
    NotReady { service: String, seconds: u64, reason: String, log: PathBuf, tail: String },

    #[error("{what} failed ({status}): {output}")]
    Command { what: String, status: String, output: String },

    #[error("no free port found between {} and {}", range.start, range.end)]
    NoFreePort { range: Range<u16> },

    #[error("cannot {what} {path}: {source}")]
    Io { what: &'static str, path: PathBuf, source: io::Error },
}

impl ServiceError {
    pub fn io(what: &'static str, path: impl AsRef<OsStr>, source: io::Error) -> Self {
        Self::Io { what, path: Path::new(path.as_ref()).to_owned(), source }
    }
}
