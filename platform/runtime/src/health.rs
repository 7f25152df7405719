//! Health checks, and the routes for operators: `/livez`, `/readyz`, `/metrics`.
//!
//! A check is ok, degraded or failing. Failing: the role does not do its work, and `/readyz` answers 503. Degraded: it works
//! except for something that a person must look at; `/readyz` answers 200, because taking the role out of service would
//! turn one parked stream into an outage for all (docs/decisions/0010-parked-is-degraded-not-down.md).
//!
//! Never: report ok only because the process runs. Each component reports its own progress through a [`Check`], which is
//! failing until the component reports otherwise.

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

/// The checks of a process. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Health {
    checks: Arc<Mutex<BTreeMap<String, CheckState>>>,
}

/// The last report of a component.
#[derive(Debug, Clone)]
struct CheckState {
    level: Level,
    detail: String,
    /// When the level last changed; a new detail does not count.
    since: DateTime<Utc>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    Ok,
    Degraded,
    Failing,
}

/// The handle through which one component reports. Clones report to the same check.
#[derive(Debug, Clone)]
pub struct Check {
    name: String,
    health: Health,
}

/// A check that is failing or degraded, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failing {
    pub check: String,
    pub reason: String,
}

/// A check as `/readyz` shows it.
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

    /// Registers a check. It is failing ("starting") until its component reports.
    #[must_use]
    pub fn check(&self, name: impl Into<String>) -> Check {
        let name = name.into();
        let state = CheckState { level: Level::Failing, detail: STARTING.to_owned(), since: Utc::now() };
        self.lock().insert(name.clone(), state);
        Check { name, health: self.clone() }
    }

    /// # Errors
    /// When a check is failing: all that are, ordered by name.
    pub fn readiness(&self) -> Result<(), Vec<Failing>> {
        let failing = self.at(Level::Failing);
        if failing.is_empty() { Ok(()) } else { Err(failing) }
    }

    /// The checks that need a person while the role does its work.
    pub fn degraded(&self) -> Vec<Failing> {
        self.at(Level::Degraded)
    }

    fn at(&self, level: Level) -> Vec<Failing> {
        let checks = self.lock();
        let at_level = checks.iter().filter(|(_, state)| state.level == level);
        at_level
            .map(|(check, state)| Failing { check: check.clone(), reason: state.detail.clone() })
            .collect()
    }

    /// All checks, ordered by name.
    pub fn report(&self) -> Vec<Report> {
        let report = |(name, state): (&String, &CheckState)| Report {
            name: name.clone(),
            ok: state.level == Level::Ok,
            level: state.level,
            since: state.since,
            detail: state.detail.clone(),
        };
        self.lock().iter().map(report).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, CheckState>> {
        // A panic cannot leave the map in an invalid state: each change is one insert.
        self.checks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Check {
    pub fn ok(&self) {
        if self.set(Level::Ok, String::new()) {
            tracing::info!(check = self.name, "check passes");
        }
    }

    /// `why` is for the operator: what is wrong, and with what.
    pub fn failing(&self, why: impl Into<String>) {
        let why = why.into();
        if self.set(Level::Failing, why.clone()) {
            tracing::warn!(check = self.name, why, "check fails");
        }
    }

    /// The role continues. `why` is for the operator: what it continues without.
    pub fn degraded(&self, why: impl Into<String>) {
        let why = why.into();
        if self.set(Level::Degraded, why.clone()) {
            tracing::warn!(check = self.name, why, "check is degraded");
        }
    }

    /// Returns whether the level has changed.
    fn set(&self, level: Level, detail: String) -> bool {
        let mut checks = self.health.lock();
        let before = checks.get(&self.name).map(|state| (state.level, state.since));
        let since = before.filter(|(before, _)| *before == level).map_or_else(Utc::now, |(_, since)| since);
        checks.insert(self.name.clone(), CheckState { level, detail, since });
        before.is_none_or(|(before, _)| before != level)
    }
}

/// `/livez`: the process runs. `/readyz`: the state of every check. `/metrics`: Prometheus text.
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
    fn a_check_is_failing_until_its_component_reports() {
        let health = Health::new();
        let check = health.check("database");
        assert_eq!(health.readiness(), Err(vec![failing("database", "starting")]));
        check.ok();
        assert_eq!(health.readiness(), Ok(()));
    }

    #[test]
    fn readiness_names_every_failing_check_and_its_reason() {
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
    fn a_degraded_check_is_named_and_leaves_the_role_ready() {
        let health = Health::new();
        let (parked, idle) = (health.check("parked"), health.check("idle"));
        idle.ok();
        parked.degraded("order-7 is parked");
        assert_eq!(health.readiness(), Ok(()));
        assert_eq!(health.degraded(), vec![failing("parked", "order-7 is parked")]);
        let since = health.report()[1].since;
        parked.degraded("order-7 and order-8 are parked");
        let report = health.report().remove(1);
        assert_eq!((report.ok, report.since), (false, since), "the level has not changed");
        parked.failing("the table cannot be read");
        assert!(health.readiness().is_err());
    }
}
