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
    /// Does what the step says and undoes it. Returns when the fault has ended, with the kinds of what really happened:
    /// nobody may have come by a crash point.
    ///
    /// # Errors
    /// When it could not be done.
    pub async fn suffer(&mut self, step: &Step) -> Result<Vec<&'static str>, String> {
        self.history.note("begins", &step.to_string());
        let hold = step.hold;
        let mut happened = true;
        match step.fault {
            Fault::Killed(role) => {
                self.signal(role, "KILL").await;
                self.meanwhile(step).await;
            }
            Fault::Paused(role) => {
                let pid = self.signal(role, "STOP").await;
                sleep(hold).await;
                self.meanwhile(step).await;
                // It may have been the one that was killed.
                signal(pid, "CONT").await;
            }
            Fault::PostgresKilled => {
                self.postgres.as_mut().ok_or("it has no Postgres of its own")?.kill().await;
                sleep(hold).await;
                self.meanwhile(step).await;
                self.postgres.as_mut().ok_or("it has no Postgres of its own")?.start_again().await;
            }
            Fault::KafkaKilled => {
                self.kafka.as_mut().ok_or("it has no Kafka of its own")?.kill(1).await;
                sleep(hold).await;
                self.meanwhile(step).await;
                self.kafka.as_mut().ok_or("it has no Kafka of its own")?.start_again(1).await;
            }
            Fault::TwoRelays => {
                let second = self.platform.one_more("relay");
                let first = self.signal("relay", "STOP").await;
                sleep(hold).await;
                signal(first, "CONT").await;
                self.meanwhile(step).await;
                sleep(hold / 4).await;
                second.leave().await;
            }
            Fault::QuerySideJoins => {
                let second = self.platform.one_more("query-side");
                sleep(hold).await;
                self.meanwhile(step).await;
                signal(second.pid(), "KILL").await;
            }
            Fault::SagasJoin => {
                let second = self.platform.one_more("sagas");
                sleep(hold).await;
                self.meanwhile(step).await;
                second.leave().await;
            }
            Fault::RecordsRepeated => {
                let mut repeated = 0;
                for context in Context::ALL {
                    repeated += self.repeat_records(context, 5).await?;
                }
                happened = repeated > 0;
                self.meanwhile(step).await;
            }
            Fault::ProviderUnavailable => {
                self.tell_provider("unavailable").await;
                sleep(hold).await;
                self.meanwhile(step).await;
                self.tell_provider("none").await;
            }
            Fault::CrashPoint { point, role } => {
                let (control, crash) = (self.platform.faults(), fault::Crash::at(point, role));
                control.arm(std::slice::from_ref(&crash), &[]).map_err(|error| error.to_string())?;
                let started = Instant::now();
                while control.died_of(&crash).is_none() && started.elapsed() < hold {
                    sleep(POLL_INTERVAL).await;
                }
                let died = control.died_of(&crash);
                happened = died.is_some();
                let died = died.map_or("nobody came by".to_owned(), |pid| format!("{pid} died"));
                self.history.note("crash point", &died);
                self.meanwhile(step).await;
                control.arm(&[], &[]).map_err(|error| error.to_string())?;
            }
            Fault::LogLocked => {
                let database = self.database().await?;
                let lock = "BEGIN; LOCK TABLE orders.events IN ACCESS EXCLUSIVE MODE";
                database.batch_execute(lock).await.map_err(|error| error.to_string())?;
                sleep(hold).await;
                self.meanwhile(step).await;
                database.batch_execute("COMMIT").await.map_err(|error| error.to_string())?;
            }
        }
        self.history.note("ends", &step.fault.to_string());
        let also_killed = step.also_killed.map(|role| Fault::Killed(role).kind());
        Ok(happened.then(|| step.fault.kind()).into_iter().chain(also_killed).collect())
    }

    async fn meanwhile(&self, step: &Step) {
        if let Some(role) = step.also_killed {
            self.signal(role, "KILL").await;
        }
    }
}
