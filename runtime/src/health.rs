//! What works and what does not, named; and the routes that tell: `/livez`, `/readyz`, `/metrics`.
//!
//! Never: "up" because the process runs. Each part of a role reports on its own progress through a [`Check`], and is
//! failing until it has said otherwise. Read next: `http/mod.rs`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;

const STARTING: &str = "starting";

/// The state of a process's parts. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct Health {
    /// For each check, why it fails; nothing when it does not.
    checks: Arc<Mutex<BTreeMap<String, Option<String>>>>,
}

/// The voice of one part. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Check {
    name: String,
    health: Health,
}

/// A part that is not ready, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failing {
    pub check: String,
    pub reason: String,
}

impl Health {
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a part. Until it says [`Check::ok`] it is failing, because it is starting.
    #[must_use]
    pub fn check(&self, name: impl Into<String>) -> Check {
        let name = name.into();
        self.lock().insert(name.clone(), Some(STARTING.to_owned()));
        Check { name, health: self.clone() }
    }

    /// # Errors
    /// When a part is failing: every one that is, by name.
    pub fn readiness(&self) -> Result<(), Vec<Failing>> {
        let failing: Vec<Failing> = self
            .lock()
            .iter()
            .filter_map(|(check, why)| {
                why.as_ref().map(|reason| Failing { check: check.clone(), reason: reason.clone() })
            })
            .collect();
        if failing.is_empty() { Ok(()) } else { Err(failing) }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Option<String>>> {
        // A panic cannot leave the map half-written: each change is one insert.
        self.checks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Check {
    pub fn ok(&self) {
        let before = self.health.lock().insert(self.name.clone(), None).flatten();
        if before.is_some() {
            tracing::info!(check = self.name, "check passes");
        }
    }

    /// `why` is for the person who was paged: what is wrong, and with what.
    pub fn failing(&self, why: impl Into<String>) {
        let why = why.into();
        let before = self.health.lock().insert(self.name.clone(), Some(why.clone())).flatten();
        if before.is_none() {
            tracing::warn!(check = self.name, why, "check fails");
        }
    }
}

/// `/livez`: the process answers. `/readyz`: every check passes, or which do not. `/metrics`: Prometheus text.
pub fn ops_router(health: Health) -> Router {
    Router::new()
        .route("/livez", get(async || Json(Status { status: "alive", failing: Vec::new() })))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(health)
}

#[derive(Serialize)]
struct Status {
    status: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failing: Vec<Failing>,
}

async fn readyz(State(health): State<Health>) -> Response {
    match health.readiness() {
        Ok(()) => Json(Status { status: "ready", failing: Vec::new() }).into_response(),
        Err(failing) => {
            (StatusCode::SERVICE_UNAVAILABLE, Json(Status { status: "not_ready", failing })).into_response()
        }
    }
}

async fn metrics() -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], crate::metrics_text())
        .into_response()
}

#[cfg(test)]
mod tests {
    use super::{Failing, Health};

    fn failing(check: &str, reason: &str) -> Failing {
        Failing { check: check.to_owned(), reason: reason.to_owned() }
    }

    #[test]
    fn a_part_is_not_ready_until_it_says_so() {
        let health = Health::new();
        let check = health.check("database");
        assert_eq!(health.readiness(), Err(vec![failing("database", "starting")]));
        check.ok();
        assert_eq!(health.readiness(), Ok(()));
    }

    #[test]
    fn readiness_names_every_part_that_fails_and_why() {
        let health = Health::new();
        let (relay, store) = (health.check("relay"), health.check("store"));
        health.check("idle").ok();
        relay.failing("12 s behind");
        store.failing("connection refused");
        assert_eq!(
            health.readiness(),
            Err(vec![failing("relay", "12 s behind"), failing("store", "connection refused")])
        );
        relay.ok();
        assert_eq!(health.readiness(), Err(vec![failing("store", "connection refused")]));
    }
}
