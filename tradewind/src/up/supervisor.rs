//! The supervisor: runs all roles, as tasks of this process or each in its own process, and notices the end of each.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::plan::Plan;
use super::role_change::RoleChange;
use super::separate::keep_running;
use crate::health;
use crate::roles::Role;
use crate::services::StateDir;

const READY_LIMIT: Duration = Duration::from_secs(120);
const READY_POLL_INTERVAL: Duration = Duration::from_millis(200);
const STOP_LIMIT: Duration = Duration::from_secs(40);
/// The changes that may wait to be handled; the supervisor handles each at once.
const CHANGES_MAX: usize = 64;

pub struct Supervisor {
    /// In the order of [`Role::ALL`].
    tasks: Vec<(Role, CancellationToken, JoinHandle<()>)>,
    changes: mpsc::Receiver<RoleChange>,
    pids: BTreeMap<Role, i32>,
}

impl Supervisor {
    /// Runs every role as a task of this process.
    pub fn together(plan: &Plan) -> Self {
        let own_pid = i32::try_from(std::process::id()).expect("a pid fits");
        let mut supervisor = Self::spawn_all(|role, shutdown, changes| {
            let settings = plan.settings.clone();
            let work = tokio::spawn(async move { role.run(&settings, shutdown).await });
            async move {
                let cause = match work.await {
                    Ok(Ok(())) => anyhow!("it ended without a request to stop"),
                    Ok(Err(cause)) => cause,
                    Err(panic) => anyhow!(panic),
                };
                let _ = changes.send(RoleChange::GaveUp { role, cause }).await;
            }
        });
        supervisor.pids = Role::ALL.iter().map(|role| (*role, own_pid)).collect();
        supervisor
    }

    /// Runs every role in its own process; with `restart`, a role that dies is started again.
    pub fn separate(state: &StateDir, plan: &Plan, restart: bool) -> Self {
        Self::spawn_all(|role, shutdown, changes| {
            keep_running(role, plan.settings.clone(), state.clone(), restart, changes, shutdown)
        })
    }

    /// Spawns one task for each role, in the order of [`Role::ALL`].
    fn spawn_all<F>(mut start: impl FnMut(Role, CancellationToken, mpsc::Sender<RoleChange>) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (sender, changes) = mpsc::channel(CHANGES_MAX);
        let tasks = Role::ALL
            .iter()
            .map(|&role| {
                let shutdown = CancellationToken::new();
                let task = tokio::spawn(start(role, shutdown.clone(), sender.clone()));
                (role, shutdown, task)
            })
            .collect();
        Self { tasks, changes, pids: BTreeMap::new() }
    }

    /// The pid of each running role.
    pub fn pids(&self) -> &BTreeMap<Role, i32> {
        &self.pids
    }

    /// # Errors
    /// When a role dies first, or is not ready within the limit; the message says what the role waits for.
    pub async fn wait_until_ready(&mut self, plan: &Plan) -> anyhow::Result<()> {
        let give_up = Instant::now() + READY_LIMIT;
        for &role in Role::ALL {
            let url = format!("{}/readyz", plan.url(role));
            loop {
                while let Ok(change) = self.changes.try_recv() {
                    match change {
                        RoleChange::Died { role, how } => bail!("{} died while starting: {how}", role.name()),
                        change => self.note(change)?,
                    }
                }
                match health::check(&url).await {
                    Ok(()) => break,
                    Err(why) if Instant::now() > give_up => {
                        return Err(why)
                            .with_context(|| format!("{} is not ready after {READY_LIMIT:?}", role.name()));
                    }
                    Err(_) => sleep(READY_POLL_INTERVAL).await,
                }
            }
        }
        Ok(())
    }

    /// Returns when [`Self::pids`] has changed.
    ///
    /// # Errors
    /// When a role ended and is not started again.
    pub async fn changed(&mut self) -> anyhow::Result<()> {
        match self.changes.recv().await {
            Some(change) => self.note(change),
            // Every role has ended; the last change said why.
            None => bail!("no role is running"),
        }
    }

    fn note(&mut self, change: RoleChange) -> anyhow::Result<()> {
        match change {
            RoleChange::Started { role, pid } => {
                self.pids.insert(role, pid);
                Ok(())
            }
            RoleChange::Died { role, how } => {
                tracing::error!(role = role.name(), %how, "a role died");
                self.pids.remove(&role);
                Ok(())
            }
            RoleChange::GaveUp { role, cause } => Err(cause.context(format!("{} ended", role.name()))),
        }
    }

    /// Stops the roles one after the other, in the order of [`Role::ALL`].
    pub async fn stop(mut self) {
        // No change is read from here on; a role must not wait for space in the channel.
        self.changes.close();
        for (role, shutdown, task) in self.tasks {
            shutdown.cancel();
            let abort = task.abort_handle();
            if timeout(STOP_LIMIT, task).await.is_err() {
                tracing::warn!(role = role.name(), limit = ?STOP_LIMIT, "did not stop in time");
                abort.abort();
            }
        }
    }
}
