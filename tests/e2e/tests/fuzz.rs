//! Both doors, sent what their OpenAPI documents allow and what they forbid: a short run of a fixed seed.
//!
//! `make fuzz` runs it long. Read next: `scripts/fuzz-api`.

use std::process::Stdio;

use e2e::skipped;
use tokio::process::Command;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/fuzz-api");
const SEED: &str = "1";

#[tokio::test]
async fn whatever_both_doors_are_sent_they_answer_as_their_openapi_documents_say() {
    let output = Command::new(SCRIPT)
        .arg("--short")
        .env("SEED", SEED)
        .env("DATABASE_URL", testkit::fresh_database("fuzz").await.url)
        .env("TOPIC_PREFIX", format!("{}.", testkit::unique("fuzz")))
        .stdin(Stdio::null())
        .output()
        .await
        .expect("the script can be started");
    let said =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    if let Some(why) = said.lines().find_map(|line| line.strip_prefix("SKIPPED: ")) {
        skipped("whatever_both_doors_are_sent_they_answer_as_their_openapi_documents_say", why);
        return;
    }
    assert!(output.status.success(), "{said}");
    for door in ["commands", "queries"] {
        assert!(sent_to(door, &said) > 0, "nothing was sent to the {door}: {said}");
    }
}

/// How many requests a door was sent, as the script says.
fn sent_to(door: &str, said: &str) -> usize {
    let line = said.lines().find_map(|line| line.strip_prefix(&format!("fuzzed the {door}: ")));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}
