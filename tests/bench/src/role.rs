//! A role in its own process, as it runs for users. Dropping it kills the process.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::process::{Child, Command};

use crate::database::Database;

const READY_MAX: Duration = Duration::from_secs(180);
const READY_POLL: Duration = Duration::from_millis(50);

pub struct Role {
    child: Child,
    /// host:port
    pub address: String,
}

impl Role {
    /// Starts `program <args> --listen <a free port>` and returns when a GET of `ready_path` succeeds, or when it accepts
    /// connections where no path is given.
    ///
    /// # Errors
    /// When it ends, or is not ready in time.
    pub async fn start(
        program: &Path,
        args: &[&str],
        env: &[(&str, &str)],
        ready_path: Option<&str>,
    ) -> anyhow::Result<Self> {
        let address = format!("127.0.0.1:{}", free_port()?);
        let child = Command::new(program)
            .args(args)
            .args(["--listen", &address])
            .envs(env.iter().copied())
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {} {args:?}", program.display()))?;
        let mut role = Self { child, address };
        role.wait_until_ready(ready_path).await?;
        Ok(role)
    }

    /// Starts a command side on this database.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn command_side(database: &Database) -> anyhow::Result<Self> {
        let env = [("DATABASE_URL", database.url.expose())];
        Self::start(&binary(), &["command-side"], &env, Some("/readyz")).await
    }

    async fn wait_until_ready(&mut self, path: Option<&str>) -> anyhow::Result<()> {
        let give_up = Instant::now() + READY_MAX;
        let client = reqwest::Client::new();
        loop {
            let ready = match path {
                Some(path) => {
                    let url = format!("http://{}{path}", self.address);
                    client.get(url).send().await.is_ok_and(|answer| answer.status().is_success())
                }
                None => tokio::net::TcpStream::connect(&self.address).await.is_ok(),
            };
            if ready {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("a role ended while it was starting: {status}");
            }
            if Instant::now() > give_up {
                bail!("a role is not ready after {READY_MAX:?}");
            }
            tokio::time::sleep(READY_POLL).await;
        }
    }

    /// Kills it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.child.kill().await?;
        Ok(())
    }
}

/// The release binary that is measured.
pub fn binary() -> PathBuf {
    std::env::var_os("TRADEWIND_BIN").map(PathBuf::from).expect("Environment::new checked that it is set")
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
