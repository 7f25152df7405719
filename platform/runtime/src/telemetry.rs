//! Logs to stderr and metrics for Prometheus, set up once per process.
//!
//! Never: a payload in a log line.

use std::io::IsTerminal;
use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// The default filter: `info`, without the libraries that log too much at that level.
const QUIET: &str =
    "info,librdkafka=warn,rdkafka=warn,h2=warn,hyper=warn,refinery_core=warn,tokio_postgres=warn";

/// Upper bounds of the buckets of every histogram whose name ends in `_seconds`.
const SECONDS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// How often samples are folded into their buckets, so that they do not pile up when nothing scrapes them.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

static METRICS: OnceLock<PrometheusHandle> = OnceLock::new();

/// Starts logging (filtered by `RUST_LOG`, by default `info`; JSON lines if `json`) and metrics. `role` is the name of the
/// process in its first log line. A second call has no effect.
pub fn init(role: &str, json: bool) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(QUIET));
    let registry = tracing_subscriber::registry().with(filter);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // try_init fails only if a subscriber is already set: in tests, and under `up`.
    let _ = if json {
        registry.with(lines.json().flatten_event(true)).try_init()
    } else {
        registry.with(lines).try_init()
    };
    install_metrics();
    tracing::info!(role, version = env!("CARGO_PKG_VERSION"), pid = std::process::id(), "starting");
}

/// All metrics of the process in the Prometheus text format.
pub fn metrics_text() -> String {
    install_metrics().render()
}

pub(crate) fn install_metrics() -> &'static PrometheusHandle {
    METRICS.get_or_init(|| {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
            .expect("the list of buckets is not empty")
            .build_recorder();
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder).expect("only this function installs a recorder");
        let upkeep = handle.clone();
        std::thread::Builder::new()
            .name("metrics-upkeep".to_owned())
            .spawn(move || {
                loop {
                    std::thread::sleep(UPKEEP_EVERY);
                    upkeep.run_upkeep();
                }
            })
            .expect("a process may start a thread");
        handle
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_counter_and_a_histogram_appear_in_the_metrics_text() {
        super::init("test", true);
        metrics::counter!("telemetry_test_total", "kind" => "counted").increment(2);
        metrics::histogram!("telemetry_test_seconds").record(0.02);
        let text = super::metrics_text();
        assert!(text.contains("telemetry_test_total{kind=\"counted\"} 2"), "{text}");
        assert!(text.contains("telemetry_test_seconds_bucket{le=\"0.025\"} 1"), "{text}");
    }
}
