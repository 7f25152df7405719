//! A role in a process of its own, as it runs for users.
//!
//! Never: a process that outlives the bench. Read next: `proc.rs`.

use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::process::{Child, Command};

const READY_MAX: Duration = Duration::from_secs(180);
const READY_POLL: Duration = Duration::from_millis(50);

pub struct Role {
    child: Child,
    /// host:port
    pub address: String,
}

impl Role {
    /// Starts `program <args> --listen <a free port>` and returns when `path` answers with a success.
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

    /// Ends it at once.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.child.kill().await?;
        Ok(())
    }
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
