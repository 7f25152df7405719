//! What works and what does not, named; and the routes that tell: `/livez`, `/readyz`, `/metrics`.
//!
//! A part is ok, degraded or failing. Failing: the role does not do its work, and `/readyz` answers 503. Degraded: it does
//! its work but for something that a person has to look at, which is named; `/readyz` answers 200, since taking the role
//! out of service would make one stuck stream everybody's outage (docs/decisions/0010).
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
use chrono::{DateTime, Utc};
use serde::Serialize;

const STARTING: &str = "starting";

/// The state of a process's parts. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct Health {
    checks: Arc<Mutex<BTreeMap<String, Told>>>,
}

/// What a part has said of itself.
#[derive(Debug, Clone)]
struct Told {
    level: Level,
    detail: String,
    /// The level's, not the detail's.
    since: DateTime<Utc>,
}

/// How a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    Ok,
    Degraded,
    Failing,
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

/// A part as `/readyz` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    pub name: String,
    pub ok: bool,
    pub level: Level,
    pub since: DateTime<Utc>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

impl Health {
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a part. Until it says [`Check::ok`] it is failing, because it is starting.
    #[must_use]
    pub fn check(&self, name: impl Into<String>) -> Check {
        let name = name.into();
        let told = Told { level: Level::Failing, detail: STARTING.to_owned(), since: Utc::now() };
        self.lock().insert(name.clone(), told);
        Check { name, health: self.clone() }
    }

    /// # Errors
    /// When a part is failing: every one that is, by name.
    pub fn readiness(&self) -> Result<(), Vec<Failing>> {
        let failing = self.at(Level::Failing);
        if failing.is_empty() { Ok(()) } else { Err(failing) }
    }

    /// The parts that need a person while the role does its work.
    pub fn degraded(&self) -> Vec<Failing> {
        self.at(Level::Degraded)
    }

    fn at(&self, level: Level) -> Vec<Failing> {
        let named =
            |(check, told): (&String, &Told)| Failing { check: check.clone(), reason: told.detail.clone() };
        self.lock().iter().filter(|(_, told)| told.level == level).map(named).collect()
    }

    /// Every part, by name.
    pub fn report(&self) -> Vec<Report> {
        let report = |(name, told): (&String, &Told)| Report {
            name: name.clone(),
            ok: told.level == Level::Ok,
            level: told.level,
            since: told.since,
            detail: told.detail.clone(),
        };
        self.lock().iter().map(report).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Told>> {
        // A panic cannot leave the map half-written: each change is one insert.
        self.checks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Check {
    pub fn ok(&self) {
        if self.tell(Level::Ok, String::new()) {
            tracing::info!(check = self.name, "check passes");
        }
    }

    /// `why` is for the person who was paged: what is wrong, and with what.
    pub fn failing(&self, why: impl Into<String>) {
        let why = why.into();
        if self.tell(Level::Failing, why.clone()) {
            tracing::warn!(check = self.name, why, "check fails");
        }
    }

    /// The role goes on; `why` is for the person who has to look at what it goes on without.
    pub fn degraded(&self, why: impl Into<String>) {
        let why = why.into();
        if self.tell(Level::Degraded, why.clone()) {
            tracing::warn!(check = self.name, why, "check is degraded");
        }
    }

    /// Whether that is another level than before.
    fn tell(&self, level: Level, detail: String) -> bool {
        let mut checks = self.health.lock();
        let before = checks.get(&self.name).map(|told| (told.level, told.since));
        let since = before.filter(|(before, _)| *before == level).map_or_else(Utc::now, |(_, since)| since);
        checks.insert(self.name.clone(), Told { level, detail, since });
        before.is_none_or(|(before, _)| before != level)
    }
}

/// `/livez`: the process answers. `/readyz`: every check passes, or which do not. `/metrics`: Prometheus text.
pub fn ops_router(health: Health) -> Router {
    let alive = || Status { status: "alive", failing: Vec::new(), checks: Vec::new() };
    Router::new()
        .route("/livez", get(async move || Json(alive())))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(health)
}

#[derive(Serialize)]
struct Status {
    status: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failing: Vec<Failing>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    checks: Vec<Report>,
}

async fn readyz(State(health): State<Health>) -> Response {
    let checks = health.report();
    match health.readiness() {
        Ok(()) => {
            let ok = checks.iter().all(|check| check.ok);
            let status = if ok { "ready" } else { "degraded" };
            Json(Status { status, failing: Vec::new(), checks }).into_response()
        }
        Err(failing) => {
            let body = Status { status: "not_ready", failing, checks };
            (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
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

    #[test]
    fn what_is_degraded_is_named_and_takes_nothing_out_of_service() {
        let health = Health::new();
        let (parked, idle) = (health.check("parked"), health.check("idle"));
        idle.ok();
        parked.degraded("order-7 is parked");
        assert_eq!(health.readiness(), Ok(()));
        assert_eq!(health.degraded(), vec![failing("parked", "order-7 is parked")]);
        let since = health.report()[1].since;
        parked.degraded("order-7 and order-8 are parked");
        let report = health.report().remove(1);
        assert_eq!((report.ok, report.since), (false, since), "the level has not changed since");
        parked.failing("the table cannot be read");
        assert!(health.readiness().is_err());
    }
}
