//! A short chaos run of a fixed seed: the same harness as `make chaos`, in every `make test`.

use std::path::Path;

use e2e::chaos::{Fault, Length, Nemesis, run};

/// Its faults: sagas that die at a crash point, both engines killed, two relays at once, the relay paused, records repeated, a
/// second query side that joins and is killed; and two roles killed in the middle of others.
const SEED: u64 = 2_541;
const FAULTS: usize = 7;

#[tokio::test(flavor = "multi_thread")]
async fn a_chaos_run_of_a_fixed_seed_breaks_no_promise() {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("chaos-seed-{SEED}"));
    let summary = run(SEED, Length::Faults(FAULTS), &out).await;
    let told = summary.json();
    println!("{told:#}");
    for step in Nemesis::new(SEED).take(FAULTS) {
        // Nobody may come by a crash point.
        let may_be_in_vain = matches!(step.fault, Fault::CrashPoint { .. });
        let happened = told["faults_by_kind"][step.fault.kind()].as_u64() > Some(0);
        assert!(happened || may_be_in_vain, "{} did not happen: {told:#}", step.fault);
    }
    assert!(summary.violations.is_empty(), "{:#?}\nhistory: {}", summary.violations, out.display());
}
