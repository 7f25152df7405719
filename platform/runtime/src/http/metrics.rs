//! Counts requests and measures their duration, by method, route and status.
//!
//! The handles of each combination are cached: looking them up in the registry costs more than counting.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use axum::http::{Method, StatusCode};
use metrics::{Counter, Histogram};

use crate::telemetry;

pub(super) struct RequestMetrics {
    /// By route. A route has few combinations of method and status.
    routes: RwLock<HashMap<String, Vec<Series>>>,
}

/// The metrics of one combination of method, route and status.
struct Series {
    method: &'static str,
    status: StatusCode,
    requests: Counter,
    seconds: Histogram,
}

impl RequestMetrics {
    pub(super) fn new() -> Self {
        // A handle that is created before the registry exists counts nothing.
        telemetry::install_metrics();
        Self { routes: RwLock::default() }
    }

    pub(super) fn record(&self, method: &Method, route: &str, status: StatusCode, duration: Duration) {
        let method = label(method);
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        let series = routes.get(route).and_then(|series| series.iter().find(|one| one.is(method, status)));
        if let Some(series) = series {
            return series.record(duration);
        }
        drop(routes);
        let series = Series::new(method, route, status);
        series.record(duration);
        let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        let known = routes.entry(route.to_owned()).or_default();
        // Another request may have added it in the meantime.
        if !known.iter().any(|one| one.is(method, status)) {
            known.push(series);
        }
    }
}

impl Series {
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

    fn record(&self, duration: Duration) {
        self.requests.increment(1);
        self.seconds.record(duration);
    }
}

/// Limits the label's values: a client may send any method.
fn label(method: &Method) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("other")
}
