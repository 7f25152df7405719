//! How many requests of each kind there were and how long they took. A kind is (method, route, status); its counter and its
//! histogram are asked of the registry once: to ask for them by name costs more than to count.
//!
//! Never: a label that a client may invent. Read next: `guard.rs`, which measures each request.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use axum::http::{Method, StatusCode};
use metrics::{Counter, Histogram};

use crate::telemetry;

/// By route: its kinds, which are few.
pub(super) struct Meter {
    routes: RwLock<HashMap<String, Vec<Kind>>>,
}

struct Kind {
    method: &'static str,
    status: StatusCode,
    requests: Counter,
    seconds: Histogram,
}

impl Meter {
    pub(super) fn new() -> Self {
        // What is asked for before there is a registry counts nothing, for ever.
        telemetry::install_metrics();
        Self { routes: RwLock::default() }
    }

    pub(super) fn note(&self, method: &Method, route: &str, status: StatusCode, took: Duration) {
        let method = label(method);
        let known = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(kind) =
            known.get(route).and_then(|kinds| kinds.iter().find(|kind| kind.is(method, status)))
        {
            return kind.note(took);
        }
        drop(known);
        let kind = Kind::new(method, route, status);
        kind.note(took);
        let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        let kinds = routes.entry(route.to_owned()).or_default();
        // Another request of this kind may have been here in between.
        if !kinds.iter().any(|kind| kind.is(method, status)) {
            kinds.push(kind);
        }
    }
}

impl Kind {
    fn new(method: &'static str, route: &str, status: StatusCode) -> Self {
        let labels = [
            ("method", method.to_owned()),
            ("route", route.to_owned()),
            ("status", status.as_str().to_owned()),
        ];
        let requests = metrics::counter!("http_requests_total", &labels);
        let seconds = metrics::histogram!("http_request_duration_seconds", &labels);
        Self { method, status, requests, seconds }
    }

    fn is(&self, method: &str, status: StatusCode) -> bool {
        self.method == method && self.status == status
    }

    fn note(&self, took: Duration) {
        self.requests.increment(1);
        self.seconds.record(took);
    }
}

/// A client may invent methods; a label has few values.
fn label(method: &Method) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("other")
}
