//! Everybody against the log at once: writers in several processes that conflict with each other, rolled-back appends,
//! killed backends, lost answers, a killed process; and a reader who asserts at every moment that nothing was skipped.
//!
//! The processes are this test binary, started again for the same test. Each tells on its standard output what it tries
//! and what it was told: `try <id> …`, then `ok <id>` or `no <id>`. Afterwards the log is held against that.
//! Read next: `tests/outage.rs` (one cut connection at a time, and exactly where).

use std::collections::{HashMap, HashSet};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::proxy::{Cut, Proxy};
use crate::support::{TestLog, append_statement, connect, fresh_log, open, received, stock};
use event_store::{Append, AppendError, EventStore, NewEvent, StoreError, StoreOptions, StreamWrite};
use events::{Position, StreamId, Version};
use futures::future::join_all;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use uuid::Uuid;

/// With the module that it is in.
const TEST: &str = "attack::no_attack_makes_a_gap_a_loss_or_a_double";
/// Where a writer process finds the log; its absence makes this process the one that judges.
const LOG_URL: &str = "TRADEWIND_TEST_LOG_URL";
const WRITERS: usize = 4;
const TASKS_PER_WRITER: usize = 8;
const APPENDS_PER_TASK: usize = 60;
const HOT_STREAMS: usize = 3;
/// The head of the log after which one writer process is killed.
const KILL_A_PROCESS_AT: Position = 600;
/// A backend is killed, and an answer lost, each time the log has grown by that much.
const KILL_A_BACKEND_EACH: Position = 60;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_attack_makes_a_gap_a_loss_or_a_double() {
    match std::env::var(LOG_URL) {
        Ok(url) => write(&open(&url, StoreOptions::default()).await).await,
        Err(_) => judge().await,
    }
}

async fn judge() {
    let log = fresh_log("attack").await;
    let done = Arc::new(AtomicBool::new(false));
    let reader = tokio::spawn(read_without_gaps(log.store().await, Arc::clone(&done)));
    let rollbacks = tokio::spawn(roll_back(log.role_url.clone(), Arc::clone(&done)));

    let proxy = Proxy::before(&log.role_url).await;
    let mut writers: Vec<Child> = (0..WRITERS).map(|_| start_writer(&proxy.url)).collect();
    let told: Vec<_> = writers.iter_mut().map(|writer| tokio::spawn(listen(writer))).collect();
    let killed_backends = disturb(&log, &proxy, &mut writers).await;
    for (n, mut writer) in writers.into_iter().enumerate() {
        let status = writer.wait().await.expect("it was started here");
        assert!(status.success() || n == 0, "writer {n} failed: {status}");
    }
    let mut history = History::default();
    for told in told {
        history.add(told.await.expect("no panic"));
    }
    done.store(true, Ordering::SeqCst);
    let rolled_back = rollbacks.await.expect("no panic");
    let read = reader.await.expect("the reader met no gap");

    assert!(killed_backends >= 5, "{killed_backends} backends were killed");
    assert!(rolled_back >= 5, "{rolled_back} appends were rolled back");
    history.hold_against(&read);
    assert_eq!(log.count("events").await, i64::try_from(read.len()).expect("countable"));
}

fn start_writer(url: &str) -> Child {
    Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", TEST, "--nocapture"])
        .env(LOG_URL, url)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("this binary can be started again")
}

fn listen(writer: &mut Child) -> impl Future<Output = Vec<String>> + use<> {
    let mut lines = BufReader::new(writer.stdout.take().expect("it is piped")).lines();
    async move {
        let mut told = Vec::new();
        while let Ok(Some(line)) = lines.next_line().await {
            told.push(line);
        }
        told
    }
}

/// As the log grows, kills backends, loses answers, and kills one process; how many backends. Returns when no writer is
/// left.
async fn disturb(log: &TestLog, proxy: &Proxy, writers: &mut [Child]) -> usize {
    let (mut killed, mut next_kill, mut process_lives) = (0, KILL_A_BACKEND_EACH, true);
    loop {
        let head = log.count("events").await;
        // On a busy machine no backend may be appending just now: then one is looked for again.
        if head >= next_kill && log.kill_appending_backends(1).await > 0 {
            killed += 1;
            proxy.cut(Cut::Answer);
            next_kill = head + KILL_A_BACKEND_EACH;
        }
        if process_lives && head >= KILL_A_PROCESS_AT {
            writers[0].start_kill().expect("it runs");
            process_lives = false;
        }
        let ended = |writer: &mut Child| writer.try_wait().expect("it was started here").is_some();
        if writers.iter_mut().all(ended) {
            return killed;
        }
    }
}

/// Reads on from the last position, always; what it read.
async fn read_without_gaps(store: EventStore, done: Arc<AtomicBool>) -> Vec<Seen> {
    let mut read: Vec<Seen> = Vec::new();
    loop {
        let finished = done.load(Ordering::SeqCst);
        let last = read.last().map_or(0, |seen| seen.position);
        let Ok(page) = store.scan(last, 100).await else { continue };
        for event in &page {
            let expected = read.last().map_or(0, |seen| seen.position) + 1;
            assert_eq!(event.position, expected, "the reader was at {expected}");
            let (stream, version) = (event.stream.clone(), event.version);
            read.push(Seen { position: event.position, stream, version, event_id: event.event_id });
        }
        if finished && page.is_empty() {
            return read;
        }
    }
}

/// Appends in transactions that are rolled back, until all is done; how many.
async fn roll_back(url: String, done: Arc<AtomicBool>) -> usize {
    let (mut client, mut rolled_back) = (connect(&url).await, 0);
    while !done.load(Ordering::SeqCst) {
        let name = format!("rolled-back-{rolled_back}");
        let append = append_statement(&stock(&name), 0, Uuid::now_v7());
        match client.batch_execute(&format!("BEGIN; {append}; ROLLBACK")).await {
            Ok(()) => rolled_back += 1,
            Err(_) => client = connect(&url).await, // its backend was killed
        }
    }
    rolled_back
}

struct Seen {
    position: Position,
    stream: StreamId,
    version: Version,
    event_id: Uuid,
}

/// What the writers tried, and what they were told.
#[derive(Default)]
struct History {
    /// By the try: the ids of all its events.
    tried: HashMap<String, Vec<Uuid>>,
    appended: HashSet<String>,
    refused: HashSet<String>,
}

impl History {
    fn add(&mut self, told: Vec<String>) {
        for line in told {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["try", id, ref events @ ..] => {
                    let parse = |id: &&str| id.parse().ok();
                    // A killed process may leave half a line; what it tried then was never sent.
                    if let Some(events) = events.iter().map(parse).collect() {
                        self.tried.insert(id.to_owned(), events);
                    }
                }
                ["ok", id] => drop(self.appended.insert(id.to_owned())),
                ["no", id] => drop(self.refused.insert(id.to_owned())),
                _ => {} // the test harness of the process
            }
        }
    }

    fn hold_against(&self, read: &[Seen]) {
        let mut positions: HashMap<Uuid, Vec<Position>> = HashMap::new();
        let mut versions: HashMap<&StreamId, Version> = HashMap::new();
        for seen in read {
            positions.entry(seen.event_id).or_default().push(seen.position);
            let version = versions.entry(&seen.stream).or_default();
            *version += 1;
            assert_eq!(seen.version, *version, "{} at position {}", seen.stream, seen.position);
        }
        assert!(positions.values().all(|at| at.len() == 1), "an event is in the log twice");
        assert!(versions.keys().all(|stream| !stream.as_str().contains("rolled-back")));
        let (mut open, mut in_log) = (0, 0);
        for (id, events) in &self.tried {
            let there = events.iter().filter(|event| positions.contains_key(*event)).count();
            assert!(there == 0 || there == events.len(), "half of {id} is in the log");
            match (self.appended.contains(id), self.refused.contains(id)) {
                (true, false) => assert_eq!(there, events.len(), "{id} was appended and is not there"),
                (false, true) => assert_eq!(there, 0, "{id} was refused and is there"),
                (false, false) => open += 1,
                (true, true) => panic!("{id} was told two things"),
            }
            in_log += there;
        }
        assert_eq!(in_log, read.len(), "every event in the log was tried by somebody");
        assert!(self.appended.len() >= (WRITERS - 1) * TASKS_PER_WRITER, "{} appended", self.appended.len());
        assert!(!self.refused.is_empty(), "the hot streams made conflicts");
        assert!(open <= TASKS_PER_WRITER, "{open} open outcomes; only the killed process leaves any");
    }
}

/// A writer process: some tasks, each appending to a stream of its own, to hot ones, to both.
async fn write(store: &EventStore) {
    let tasks = (0..TASKS_PER_WRITER).map(|task| write_task(store, task));
    let appended: usize = join_all(tasks).await.into_iter().sum();
    assert!(appended >= TASKS_PER_WRITER, "{appended} appended");
}

async fn write_task(store: &EventStore, task: usize) -> usize {
    let own = format!("own-{}-{task}", Uuid::now_v7().simple());
    let mut versions: HashMap<String, Version> = HashMap::new();
    let mut appended = 0;
    for n in 0..APPENDS_PER_TASK {
        let hot = format!("hot-{}", (n + task) % HOT_STREAMS);
        let names = match n % 3 {
            0 => vec![own.clone()],
            1 => vec![own.clone(), hot],
            _ => vec![hot, own.clone(), format!("fresh-{}", Uuid::now_v7().simple())],
        };
        appended += usize::from(attempt(store, &names, &mut versions).await);
    }
    appended
}

/// One append of one event to each of the streams, at the versions last heard of; whether it went in.
async fn attempt(store: &EventStore, names: &[String], versions: &mut HashMap<String, Version>) -> bool {
    let events: Vec<NewEvent> = names.iter().map(|name| received(name, 1)).collect();
    let ids: Vec<String> = events.iter().map(|event| event.event_id.to_string()).collect();
    let id = Uuid::now_v7();
    let writes = names.iter().zip(events).map(|(name, event)| StreamWrite {
        stream: stock(name),
        expected_version: versions.get(name).copied().unwrap_or(0),
        events: vec![event],
    });
    let append = Append { writes: writes.collect(), ..Append::default() };
    println!("try {id} {}", ids.join(" "));
    match store.append(append).await {
        Ok(_) => {
            println!("ok {id}");
            names.iter().for_each(|name| *versions.entry(name.clone()).or_default() += 1);
            return true;
        }
        Err(AppendError::Conflict { stream, actual, .. }) => {
            println!("no {id}");
            versions.insert(stream.key().to_owned(), actual);
        }
        Err(AppendError::Store(StoreError::OutcomeUnknown { .. })) => {}
        Err(_) => println!("no {id}"),
    }
    false
}
