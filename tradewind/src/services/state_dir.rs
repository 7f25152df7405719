//! The state folder: everything that a private Tradewind owns (data, logs, passwords, jars, ports).
//!
//! Never: a path outside this folder, or a secret that other users can read.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::ServiceError;

/// Private ports are below the range of ephemeral ports (from 32768), so that a remembered port is rarely in use at the next
/// start.
const PRIVATE_PORTS: std::ops::Range<u16> = 20_000..32_000;
const PORT_ATTEMPTS_MAX: u32 = 500;
/// What `--fresh` keeps: fetching Kafka's jars again would take a minute.
const KEPT_BY_FRESH: [&str; 3] = ["kafka-home", "lock", "kafka-home.lock"];

/// A state folder, by its absolute path.
#[derive(Clone, Debug)]
pub struct StateDir {
    root: PathBuf,
}

/// The lock of a state folder in use; the kernel releases it however the process ends.
#[derive(Debug)]
pub struct StateLock {
    _file: File,
}

impl StateDir {
    /// Opens a folder; creates it if it does not exist.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn open(path: &Path) -> Result<Self, ServiceError> {
        let io = |source| ServiceError::io("create the state folder", path, source);
        fs::DirBuilder::new().recursive(true).mode(0o755).create(path).map_err(io)?;
        let root = path.canonicalize().map_err(io)?;
        fs::create_dir_all(root.join("logs")).map_err(io)?;
        fs::create_dir_all(root.join("pids")).map_err(io)?;
        Ok(Self { root })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub fn kafka_home(&self) -> PathBuf {
        self.path("kafka-home")
    }

    pub fn log(&self, name: &str) -> PathBuf {
        self.path("logs").join(format!("{name}.log"))
    }

    pub fn pid_file(&self, name: &str) -> PathBuf {
        self.path("pids").join(format!("{name}.pid"))
    }

    /// Makes this process the only user of the folder.
    ///
    /// # Errors
    /// [`ServiceError::StateInUse`] while another process uses it: stop that process, or choose another folder.
    pub fn lock(&self) -> Result<StateLock, ServiceError> {
        let path = self.path("lock");
        let io = |source| ServiceError::io("lock", &path, source);
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                file.read_to_string(&mut holder).map_err(io)?;
                return Err(ServiceError::StateInUse {
                    state_dir: self.root.clone(),
                    pid: holder.trim().to_owned(),
                });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        file.set_len(0).map_err(io)?;
        writeln!(file, "{}", std::process::id()).map_err(io)?;
        Ok(StateLock { _file: file })
    }

    /// Removes all data, and keeps the jars. The caller must hold the lock.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub fn clear(&self, _held: &StateLock) -> Result<(), ServiceError> {
        let io = |source| ServiceError::io("clear", &self.root, source);
        for entry in fs::read_dir(&self.root).map_err(io)? {
            let entry = entry.map_err(io)?;
            if KEPT_BY_FRESH.iter().any(|kept| entry.file_name() == *kept) {
                continue;
            }
            if entry.file_type().map_err(io)?.is_dir() {
                fs::remove_dir_all(entry.path()).map_err(io)?;
            } else {
                fs::remove_file(entry.path()).map_err(io)?;
            }
        }
        Self::open(&self.root).map(drop)
    }

    /// Renames the logs of the last run to `*.log.old`, so that logs neither grow for ever nor vanish at once.
    ///
    /// # Errors
    /// When a log cannot be renamed.
    pub fn rotate_logs(&self) -> Result<(), ServiceError> {
        let folder = self.path("logs");
        let io = |source| ServiceError::io("rename the logs in", &folder, source);
        for entry in fs::read_dir(&folder).map_err(io)? {
            let log = entry.map_err(io)?.path();
            if log.extension().is_some_and(|extension| extension == "log") {
                fs::rename(&log, log.with_extension("log.old")).map_err(io)?;
            }
        }
        Ok(())
    }

    /// A loopback port for `purpose`: the one of last time if it is free, otherwise a new one.
    ///
    /// # Errors
    /// When no free port is found, or the choice cannot be saved.
    pub fn port(&self, purpose: &str) -> Result<u16, ServiceError> {
        let path = self.path("ports.json");
        let mut kept: BTreeMap<String, u16> =
            fs::read(&path).ok().and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or_default();
        if let Some(&port) = kept.get(purpose)
            && is_free(port)
        {
            return Ok(port);
        }
        let taken: Vec<u16> = kept.values().copied().collect();
        let port = free_port(&taken).ok_or(ServiceError::NoFreePort { range: PRIVATE_PORTS })?;
        kept.insert(purpose.to_owned(), port);
        let json = serde_json::to_vec_pretty(&kept).expect("a map of numbers is JSON");
        write_private(&path, &json)?;
        Ok(port)
    }

    /// A loopback port for `purpose`: the one of last time, even while it is in use.
    ///
    /// # Errors
    /// As [`Self::port`].
    pub fn fixed_port(&self, purpose: &str) -> Result<u16, ServiceError> {
        let kept: BTreeMap<String, u16> = fs::read(self.path("ports.json"))
            .ok()
            .and_then(|json| serde_json::from_slice(&json).ok())
            .unwrap_or_default();
        kept.get(purpose).map_or_else(|| self.port(purpose), |port| Ok(*port))
    }

    /// A random secret, created once and then kept; only its owner can read it.
    ///
    /// # Errors
    /// When it can be neither read nor written.
    pub fn secret(&self, name: &str) -> Result<String, ServiceError> {
        let path = self.path(name);
        match fs::read_to_string(&path) {
            Ok(secret) => Ok(secret.trim().to_owned()),
            Err(absent) if absent.kind() == io::ErrorKind::NotFound => {
                let secret =
                    random_hex().map_err(|source| ServiceError::io("read", "/dev/urandom", source))?;
                write_private(&path, secret.as_bytes())?;
                Ok(secret)
            }
            Err(source) => Err(ServiceError::io("read", &path, source)),
        }
    }
}

/// Replaces a file atomically (a reader sees the old or the new one); only its owner can read it.
///
/// # Errors
/// When the folder cannot be written.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), ServiceError> {
    let draft = path.with_extension("draft");
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(bytes)?;
        fs::rename(&draft, path)
    };
    write().map_err(|source| ServiceError::io("write", path, source))
}

/// Whether a listener can bind this loopback port now.
pub fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

fn free_port(taken: &[u16]) -> Option<u16> {
    let span = PRIVATE_PORTS.end - PRIVATE_PORTS.start;
    (0..PORT_ATTEMPTS_MAX).find_map(|_| {
        let mut bytes = [0; 2];
        File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut bytes)).ok()?;
        let port = PRIVATE_PORTS.start + u16::from_le_bytes(bytes) % span;
        (!taken.contains(&port) && is_free(port)).then_some(port)
    })
}

fn random_hex() -> io::Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
