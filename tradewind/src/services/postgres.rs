//! A private PostgreSQL, from the installed binaries. It listens on loopback only, and its owner's role needs the
//! password.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::time::{Instant, sleep};

use runtime::Secret;

use super::process::{Output, Process, Program, argv, run_to_end};
use super::{Durability, ServiceError, StateDir};

const OLDEST_VERSION: u32 = 15;
const READY_LIMIT: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(50);
const USER: &str = "tradewind";
const DATABASE: &str = "tradewind";

/// For a small machine that also runs Kafka and all roles.
const SETTINGS: [&str; 9] = [
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=", // TCP alone: a socket's path may be longer than the kernel allows
    "max_connections=300",
    "shared_buffers=256MB",
    "max_wal_size=2GB",
    "synchronous_commit=on",
    "password_encryption=scram-sha-256",
    "log_min_messages=warning",
    "log_line_prefix=%m [%p] %q%u@%d ",
];
/// More connections: tests run several platforms at once.
const EPHEMERAL_SETTINGS: [&str; 3] = ["fsync=off", "full_page_writes=off", "max_connections=600"];
/// Tests create roles for each database and give them no passwords.
const EPHEMERAL_ACCESS: &str =
    "host all tradewind 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n";

#[derive(Debug)]
pub struct Postgres {
    process: Process,
    url: Secret,
}

impl Postgres {
    /// Starts the database cluster of this state folder, which it creates if there is none, and returns when it answers a query.
    ///
    /// # Errors
    /// When no suitable server is installed, or it does not start; the message has the end of its log.
    pub async fn start(state: &StateDir, durability: Durability) -> Result<Self, ServiceError> {
        let folder = state.path("postgres");
        fs::create_dir_all(&folder).map_err(|source| ServiceError::io("create", &folder, source))?;
        let data = folder.join("data");
        let binaries = choose_binaries(&data).await?;
        let password = state.secret("postgres/password")?;
        let port = state.fixed_port("postgres")?;
        let wrapper = unprivileged_prefix(&folder).await?;
        if !data.join("PG_VERSION").exists() {
            initialise(&binaries, &wrapper, &folder, &password, durability).await?;
        }
        let mut words = argv([&binaries.join("postgres"), &"-D", &data, &"-p", &port.to_string()]);
        let extra: &[&str] = if durability == Durability::Ephemeral { &EPHEMERAL_SETTINGS } else { &[] };
        for setting in SETTINGS.iter().chain(extra) {
            words.extend(argv([&"-c", setting]));
        }
        let program = Program {
            name: "postgres".to_owned(),
            wrapper,
            argv: words,
            env: vec![("LC_ALL".to_owned(), "C.UTF-8".to_owned())],
            stop_signal: Signal::SIGINT, // "fast": ends sessions and writes a checkpoint
            output: Output::Log,
        };
        let mut process = Process::start(state, program).await?;
        let url = |database| format!("postgres://{USER}:{password}@127.0.0.1:{port}/{database}");
        wait_until_ready(&mut process, &url("postgres")).await?;
        Ok(Self { process, url: Secret::from(url(DATABASE)) })
    }

    /// The URL of the database, as its owner.
    pub fn url(&self) -> &Secret {
        &self.url
    }

    pub fn pid(&self) -> i32 {
        self.process.pid()
    }

    /// Waits until it ends by itself; returns its exit status as text.
    pub async fn ended(&mut self) -> String {
        self.process.ended().await
    }

    pub async fn stop(self) {
        self.process.stop().await;
    }

    pub async fn kill(self) {
        self.process.kill().await;
    }
}

/// The folder of the newest server, or of the version that created the data.
async fn choose_binaries(data: &Path) -> Result<PathBuf, ServiceError> {
    let installed = installed().await;
    let found = || {
        let versions: Vec<String> = installed.keys().map(u32::to_string).collect();
        if versions.is_empty() { "none".to_owned() } else { versions.join(", ") }
    };
    if let Ok(version) = fs::read_to_string(data.join("PG_VERSION")) {
        let wanted = version.trim().parse().unwrap_or_default();
        return installed.get(&wanted).cloned().ok_or_else(|| ServiceError::PostgresVersion {
            data: data.to_owned(),
            wanted,
            found: found(),
        });
    }
    installed
        .last_key_value()
        .filter(|(version, _)| **version >= OLDEST_VERSION)
        .map(|(_, folder)| folder.clone())
        .ok_or_else(|| ServiceError::PostgresMissing { oldest: OLDEST_VERSION, found: found() })
}

/// Every server found, by major version.
async fn installed() -> BTreeMap<u32, PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    if let Ok(versions) = fs::read_dir("/usr/lib/postgresql") {
        folders.extend(versions.flatten().map(|version| version.path().join("bin")));
    }
    let mut installed = BTreeMap::new();
    for folder in folders {
        // Resolves links: `/usr/local/bin/postgres` may be one, and `initdb` must be in the same folder.
        let Ok(server) = folder.join("postgres").canonicalize() else { continue };
        let Some(folder) = server.parent().filter(|folder| folder.join("initdb").is_file()) else { continue };
        let Ok(version) = run_to_end("postgres --version", &argv([&server, &"--version"]), &[]).await else {
            continue;
        };
        // "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"
        let major = version.split(' ').nth(2).and_then(|number| number.split('.').next()?.parse().ok());
        if let Some(major) = major {
            installed.insert(major, folder.to_owned());
        }
    }
    installed
}

/// The command prefix that runs PostgreSQL as another user than root; empty for a normal user.
///
/// The first choice is a user namespace: inside it the process has uid 1000, outside it is still the owner of the files, so it
/// works in a folder that no other user may enter.
async fn unprivileged_prefix(folder: &Path) -> Result<Vec<OsString>, ServiceError> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(Vec::new());
    }
    let namespace = argv([&"unshare", &"--user", &"--map-user=1000", &"--map-group=1000", &"--"]);
    let unshare = match try_out(&namespace, folder).await {
        Ok(()) => {
            change_owner(folder, 0, 0)?;
            return Ok(namespace);
        }
        Err(refusal) => refusal,
    };
    let postgres =
        argv([&"setpriv", &"--reuid", &"postgres", &"--regid", &"postgres", &"--init-groups", &"--"]);
    let ids = run_to_end("id postgres", &argv([&"id", &"-u", &"postgres"]), &[]).await;
    if let Some(uid) = ids.ok().and_then(|uid| uid.parse::<u32>().ok()) {
        change_owner(folder, uid, uid)?;
    }
    match try_out(&postgres, folder).await {
        Ok(()) => Ok(postgres),
        Err(setpriv) => Err(ServiceError::NoOtherUser { data: folder.to_owned(), unshare, setpriv }),
    }
}

async fn try_out(wrapper: &[OsString], folder: &Path) -> Result<(), String> {
    let mut words = wrapper.to_vec();
    words.extend(argv([&"test", &"-w", &folder]));
    match run_to_end("trying another user", &words, &[]).await {
        Ok(_) => Ok(()),
        Err(ServiceError::Command { output, status, .. }) if output.is_empty() => Err(status),
        Err(ServiceError::Command { output, .. }) => Err(output),
        Err(other) => Err(other.to_string()),
    }
}

/// Changes the owner of the folder and everything in it, unless the folder has that owner.
fn change_owner(folder: &Path, uid: u32, gid: u32) -> Result<(), ServiceError> {
    let io = |source| ServiceError::io("change the owner of", folder, source);
    if fs::metadata(folder).map_err(io)?.uid() == uid {
        return Ok(());
    }
    for entry in fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        if entry.file_type().map_err(io)?.is_dir() {
            change_owner(&entry.path(), uid, gid)?;
        } else {
            chown(entry.path(), Some(uid), Some(gid)).map_err(io)?;
        }
    }
    chown(folder, Some(uid), Some(gid)).map_err(io)
}

/// Runs `initdb` in a temporary folder and renames it when it is complete, so that an interrupted run can be repeated.
async fn initialise(
    binaries: &Path,
    wrapper: &[OsString],
    folder: &Path,
    password: &str,
    durability: Durability,
) -> Result<(), ServiceError> {
    let draft = folder.join("data.draft");
    if draft.exists() {
        fs::remove_dir_all(&draft).map_err(|source| ServiceError::io("remove", &draft, source))?;
    }
    debug_assert!(!password.is_empty(), "scram needs a password");
    let mut words = wrapper.to_vec();
    words.extend(argv([&binaries.join("initdb"), &"-D", &draft, &"-U", &USER]));
    words.extend(argv([&"--pwfile", &folder.join("password"), &"--auth=scram-sha-256"]));
    words.extend(argv([&"--encoding=UTF8", &"--locale=C.UTF-8", &"--no-instructions"]));
    run_to_end("initdb", &words, &[("LC_ALL", "C.UTF-8")]).await?;
    if durability != Durability::Durable {
        let access = draft.join("pg_hba.conf");
        fs::write(&access, EPHEMERAL_ACCESS).map_err(|source| ServiceError::io("write", &access, source))?;
    }
    let data = folder.join("data");
    fs::rename(&draft, &data).map_err(|source| ServiceError::io("name", &data, source))
}

async fn wait_until_ready(process: &mut Process, url: &str) -> Result<(), ServiceError> {
    let deadline = Instant::now() + READY_LIMIT;
    loop {
        process.ensure_running()?;
        match ensure_database(url).await {
            Ok(()) => return Ok(()),
            Err(refusal) if Instant::now() > deadline => {
                return Err(process.not_ready(READY_LIMIT, refusal.to_string()));
            }
            Err(_) => sleep(POLL_INTERVAL).await,
        }
    }
}

async fn ensure_database(url: &str) -> Result<(), tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
    let connection = tokio::spawn(connection);
    let exists = client.query_opt("SELECT 1 FROM pg_database WHERE datname = $1", &[&DATABASE]).await?;
    if exists.is_none() {
        client.batch_execute(&format!("CREATE DATABASE {DATABASE}")).await?;
    }
    connection.abort();
    Ok(())
}
