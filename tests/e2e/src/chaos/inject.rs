//! How each fault is done to a scene, and undone.
//!
//! Never: a fault that outlives its step. Read next: `scene.rs`.

use std::time::{Duration, Instant};

use events::Context;
use tokio::time::sleep;

use super::nemesis::{Fault, Step};
use super::scene::Scene;
use crate::platform::signal;

const POLL_INTERVAL: Duration = Duration::from_millis(50);

impl Scene {
    /// Does what the step says and undoes it. Returns when the fault has ended, with the kinds of what really happened: no
    /// process may have passed the crash point.
    ///
    /// # Errors
    /// When it could not be done.
    pub async fn suffer(&mut self, step: &Step) -> Result<Vec<&'static str>, String> {
        self.history.note("begins", &step.to_string());
        let happened = self.inject(step).await?;
        self.history.note("ends", &step.fault.to_string());
        let also_killed = step.also_killed.map(|role| Fault::Killed(role).kind());
        Ok(happened.then(|| step.fault.kind()).into_iter().chain(also_killed).collect())
    }

    /// Returns whether it happened.
    async fn inject(&mut self, step: &Step) -> Result<bool, String> {
        match step.fault {
            Fault::Killed(role) => {
                self.signal(role, "KILL").await;
                self.meanwhile(step).await;
            }
            Fault::Paused(role) => self.pause(role, step).await,
            Fault::PostgresKilled => self.kill_postgres(step).await?,
            Fault::KafkaKilled => self.kill_kafka(step).await?,
            Fault::TwoRelays => self.run_two_relays(step).await,
            Fault::QuerySideJoins => {
                let second = self.platform.one_more("query-side");
                self.hold(step).await;
                signal(second.pid(), "KILL").await;
            }
            Fault::SagasJoin => {
                let second = self.platform.one_more("sagas");
                self.hold(step).await;
                second.leave().await;
            }
            Fault::RecordsRepeated => return self.repeat_last_records(step).await,
            Fault::ProviderUnavailable => {
                self.tell_provider("unavailable").await;
                self.hold(step).await;
                self.tell_provider("none").await;
            }
            Fault::CrashPoint { point, role } => return self.crash_at(point, role, step).await,
            Fault::LogLocked => self.lock_log(step).await?,
        }
        Ok(true)
    }

    async fn pause(&self, role: &str, step: &Step) {
        let pid = self.signal(role, "STOP").await;
        self.hold(step).await;
        // It may have been the one that was killed.
        signal(pid, "CONT").await;
    }

    async fn kill_postgres(&mut self, step: &Step) -> Result<(), String> {
        let none = "it has no Postgres of its own";
        self.postgres.as_mut().ok_or(none)?.kill().await;
        self.hold(step).await;
        self.postgres.as_mut().ok_or(none)?.start_again().await;
        Ok(())
    }

    async fn kill_kafka(&mut self, step: &Step) -> Result<(), String> {
        let none = "it has no Kafka of its own";
        self.kafka.as_mut().ok_or(none)?.kill(1).await;
        self.hold(step).await;
        self.kafka.as_mut().ok_or(none)?.start_again(1).await;
        Ok(())
    }

    async fn run_two_relays(&self, step: &Step) {
        let second = self.platform.one_more("relay");
        let first = self.signal("relay", "STOP").await;
        sleep(step.hold).await;
        signal(first, "CONT").await;
        self.meanwhile(step).await;
        sleep(step.hold / 4).await;
        second.leave().await;
    }

    async fn repeat_last_records(&self, step: &Step) -> Result<bool, String> {
        let mut repeated = 0;
        for context in Context::ALL {
            repeated += self.repeat_records(context, 5).await?;
        }
        self.meanwhile(step).await;
        Ok(repeated > 0)
    }

    async fn crash_at(&self, point: &str, role: &str, step: &Step) -> Result<bool, String> {
        let (control, crash) = (self.platform.faults(), fault::Crash::at(point, role));
        control.arm(std::slice::from_ref(&crash), &[]).map_err(|error| error.to_string())?;
        let started = Instant::now();
        while control.died_of(&crash).is_none() && started.elapsed() < step.hold {
            sleep(POLL_INTERVAL).await;
        }
        let died = control.died_of(&crash);
        let told = died.map_or("nobody came by".to_owned(), |pid| format!("{pid} died"));
        self.history.note("crash point", &told);
        self.meanwhile(step).await;
        control.arm(&[], &[]).map_err(|error| error.to_string())?;
        Ok(died.is_some())
    }

    async fn lock_log(&self, step: &Step) -> Result<(), String> {
        let database = self.database().await?;
        let lock = "BEGIN; LOCK TABLE orders.events IN ACCESS EXCLUSIVE MODE";
        database.batch_execute(lock).await.map_err(|error| error.to_string())?;
        self.hold(step).await;
        database.batch_execute("COMMIT").await.map_err(|error| error.to_string())
    }

    /// The fault lasts for as long as the step says; then the role is killed that the step names besides.
    async fn hold(&self, step: &Step) {
        sleep(step.hold).await;
        self.meanwhile(step).await;
    }

    async fn meanwhile(&self, step: &Step) {
        if let Some(role) = step.also_killed {
            self.signal(role, "KILL").await;
        }
    }
}
