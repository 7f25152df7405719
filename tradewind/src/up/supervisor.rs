//! The roles while they run: as tasks of this process, or each in a process of its own.
//!
//! Never: a role whose end goes unnoticed.
//! Read next: `separate.rs`, what becomes of a process that dies.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::plan::Plan;
use super::separate::supervise;
use crate::engines::StateDir;
use crate::health;
use crate::roles::Role;

const READY_LIMIT: Duration = Duration::from_secs(120);
const READY_POLL_INTERVAL: Duration = Duration::from_millis(200);
const STOP_LIMIT: Duration = Duration::from_secs(40);
/// Every change is taken up at once; more than this many cannot be waiting.
const CHANGES_MAX: usize = 64;

/// What happened to a role.
#[derive(Debug)]
pub enum Change {
    Started {
        role: Role,
        pid: i32,
    },
    Died {
        role: Role,
        how: String,
    },
    /// It ended, and nobody starts it again.
    GaveUp {
        role: Role,
        cause: anyhow::Error,
    },
}

pub struct Crew {
    /// In the order of [`Role::ALL`].
    tasks: Vec<(Role, CancellationToken, JoinHandle<()>)>,
    changes: mpsc::Receiver<Change>,
    pids: BTreeMap<Role, i32>,
}

impl Crew {
    /// Every role as tasks of this process.
    pub fn together(plan: &Plan) -> Self {
        let own_pid = i32::try_from(std::process::id()).expect("a pid fits");
        let mut crew = Self::muster(|role, shutdown, changes| {
            let settings = plan.settings.clone();
            let work = tokio::spawn(async move { role.run(&settings, shutdown).await });
            async move {
                let cause = match work.await {
                    Ok(Ok(())) => anyhow!("it ended without being told to"),
                    Ok(Err(cause)) => cause,
                    Err(panic) => anyhow!(panic),
                };
                let _ = changes.send(Change::GaveUp { role, cause }).await;
            }
        });
        crew.pids = Role::ALL.map(|role| (role, own_pid)).into();
        crew
    }

    /// Every role in a process of its own; one that dies is started again where `restart`.
    pub fn separate(state: &StateDir, plan: &Plan, restart: bool) -> Self {
        Self::muster(|role, shutdown, changes| {
            supervise(role, plan.settings.clone(), state.clone(), restart, changes, shutdown)
        })
    }

    fn muster<F>(mut start: impl FnMut(Role, CancellationToken, mpsc::Sender<Change>) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (sender, changes) = mpsc::channel(CHANGES_MAX);
        let tasks = Role::ALL
            .into_iter()
            .map(|role| {
                let shutdown = CancellationToken::new();
                let task = tokio::spawn(start(role, shutdown.clone(), sender.clone()));
                (role, shutdown, task)
            })
            .collect();
        Self { tasks, changes, pids: BTreeMap::new() }
    }

    /// The process of each role that runs.
    pub fn pids(&self) -> &BTreeMap<Role, i32> {
        &self.pids
    }

    /// # Errors
    /// When a role dies first, or is not ready within the limit: the message says what it waits for.
    pub async fn wait_until_ready(&mut self, plan: &Plan) -> anyhow::Result<()> {
        let give_up = Instant::now() + READY_LIMIT;
        for role in Role::ALL {
            let url = format!("{}/readyz", plan.url(role));
            loop {
                while let Ok(change) = self.changes.try_recv() {
                    match change {
                        Change::Died { role, how } => bail!("{} died while starting: {how}", role.name()),
                        change => self.note(change)?,
                    }
                }
                match health::ask(&url).await {
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
    /// When a role ended and nobody starts it again.
    pub async fn changed(&mut self) -> anyhow::Result<()> {
        match self.changes.recv().await {
            Some(change) => self.note(change),
            // Every role has ended; the last one's change said why.
            None => bail!("no role is running"),
        }
    }

    fn note(&mut self, change: Change) -> anyhow::Result<()> {
        match change {
            Change::Started { role, pid } => {
                self.pids.insert(role, pid);
                Ok(())
            }
            Change::Died { role, how } => {
                tracing::error!(role = role.name(), %how, "a role died");
                self.pids.remove(&role);
                Ok(())
            }
            Change::GaveUp { role, cause } => Err(cause.context(format!("{} ended", role.name()))),
        }
    }

    /// Stops the roles, the doors first, each before the next.
    pub async fn stop(mut self) {
        // Nobody reads the changes any more; a supervisor must not wait for us.
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
