//! What the clients did and what they were told, as it happened: in memory, and as JSON lines in a file.
//!
//! As Jepsen records it: each operation is invoked, and ends ok (it was done), fail (it was certainly not done) or
//! unknown. Its id is the correlation id of its requests, so that its events can be found in the log.
//! Never: fail where something may have been done. Read next: `check.rs`, which holds it against the log.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde_json::{Value, json};
use uuid::Uuid;

/// What a client wants. `value` of the file's lines.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    Place { order_id: Uuid, body: Value },
    Cancel { order_id: Uuid, reason: String },
    Receive { sku: String, quantity: i64, reference: String },
    Dispatch { order_id: Uuid, tracking: String },
    Deliver { order_id: Uuid },
}

impl What {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Place { .. } => "place",
            Self::Cancel { .. } => "cancel",
            Self::Receive { .. } => "receive",
            Self::Dispatch { .. } => "dispatch",
            Self::Deliver { .. } => "deliver",
        }
    }

    pub fn path(&self) -> String {
        match self {
            Self::Place { .. } => "/v1/orders".to_owned(),
            Self::Cancel { order_id, .. } => format!("/v1/orders/{order_id}/cancel"),
            Self::Receive { sku, .. } => format!("/v1/stock/{sku}/receive"),
            Self::Dispatch { order_id, .. } => format!("/v1/shipments/{order_id}/dispatch"),
            Self::Deliver { order_id } => format!("/v1/shipments/{order_id}/deliver"),
        }
    }

    pub fn body(&self) -> Value {
        match self {
            Self::Place { body, .. } => body.clone(),
            Self::Cancel { reason, .. } => json!({"reason": reason}),
            Self::Receive { quantity, reference, .. } => {
                json!({"quantity": quantity, "reference": reference})
            }
            Self::Dispatch { tracking, .. } => json!({"carrier": "Chaos Mail", "tracking": tracking}),
            Self::Deliver { .. } => json!({}),
        }
    }
}

/// How an operation ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    Ok(Value),
    Fail(String),
    Unknown(String),
}

impl Outcome {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ok(_) => "ok",
            Self::Fail(_) => "fail",
            Self::Unknown(_) => "unknown",
        }
    }

    fn value(&self) -> Value {
        match self {
            Self::Ok(body) => body.clone(),
            Self::Fail(why) | Self::Unknown(why) => json!(why),
        }
    }
}

/// What was wanted, and how it ended. One that is still under way is unknown.
#[derive(Debug, Clone, PartialEq)]
pub struct Operation {
    pub what: What,
    pub outcome: Outcome,
}

pub struct History {
    started: Instant,
    file: Mutex<BufWriter<File>>,
    operations: Mutex<HashMap<Uuid, Operation>>,
    violations: Mutex<Vec<String>>,
}

impl History {
    /// # Panics
    /// When the file cannot be written.
    pub fn create(file: &Path) -> Self {
        let file = File::create(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        Self {
            started: Instant::now(),
            file: Mutex::new(BufWriter::new(file)),
            operations: Mutex::default(),
            violations: Mutex::default(),
        }
    }

    pub fn invoke(&self, process: &str, what: What) -> Uuid {
        let id = Uuid::now_v7();
        let mut value = what.body();
        value["path"] = json!(what.path());
        self.line(json!({"process": process, "type": "invoke", "f": what.name(), "op": id, "value": value}));
        let outcome = Outcome::Unknown("no answer yet".to_owned());
        lock(&self.operations).insert(id, Operation { what, outcome });
        id
    }

    pub fn end(&self, process: &str, id: Uuid, outcome: Outcome) {
        let mut operations = lock(&self.operations);
        let operation = operations.get_mut(&id).expect("it was invoked");
        let (f, how) = (operation.what.name(), outcome.name());
        self.line(json!({"process": process, "type": how, "f": f, "op": id, "value": outcome.value()}));
        operation.outcome = outcome;
    }

    /// What the nemesis did, between the lines of the clients.
    pub fn note(&self, f: &str, value: &str) {
        self.line(json!({"process": "nemesis", "type": "info", "f": f, "value": value}));
    }

    /// A promise that was seen to be broken while the load ran.
    pub fn violation(&self, what: String) {
        self.line(json!({"process": "checker", "type": "violation", "value": what}));
        lock(&self.violations).push(what);
    }

    pub fn violations(&self) -> Vec<String> {
        lock(&self.violations).clone()
    }

    pub fn operations(&self) -> HashMap<Uuid, Operation> {
        lock(&self.operations).clone()
    }

    /// How many operations failed so far for a reason that says this.
    pub fn failed_with(&self, what: &str) -> usize {
        let failed =
            |operation: &&Operation| matches!(&operation.outcome, Outcome::Fail(why) if why.contains(what));
        lock(&self.operations).values().filter(failed).count()
    }

    /// How many operations of each kind ended how: "place ok" → 17.
    pub fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for Operation { what, outcome } in lock(&self.operations).values() {
            *counts.entry(format!("{} {}", what.name(), outcome.name())).or_default() += 1;
        }
        counts
    }

    fn line(&self, mut entry: Value) {
        entry["at_ms"] = json!(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX));
        let mut file = lock(&self.file);
        // Flushed line by line: a run that is killed leaves its history too.
        writeln!(file, "{entry}").and_then(|()| file.flush()).expect("the history can be written");
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
