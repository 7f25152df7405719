//! The tools without a running platform and without addresses.

use crate::platform::{TestFolder, run};

/// clap's exit code of a usage error.
const USAGE_ERROR: Option<i32> = Some(2);

/// Every tool that reads the database of a platform, and the options that it requires.
const TOOLS: [(&[&str], &[&str]); 10] = [
    (&["relay", "status"], &["--database-url"]),
    (&["events", "tail"], &["--database-url"]),
    (&["events", "show", "stock-TEAPOT"], &["--database-url"]),
    (&["parked", "list"], &["--database-url"]),
    (&["parked", "show", "stock-TEAPOT"], &["--database-url"]),
    (&["parked", "retry", "--all"], &["--database-url"]),
    (&["parked", "discard", "stock-TEAPOT", "--reason", "none"], &["--database-url"]),
    (&["replay", "--all"], &["--database-url"]),
    (&["verify"], &["--database-url", "--kafka-brokers"]),
    (&["reconcile"], &["--database-url", "--kafka-brokers"]),
];

#[test]
fn without_a_platform_every_tool_says_so_and_what_to_do() {
    let folder = TestFolder::new("tools-no-platform");
    let state = folder.state();
    for (words, options) in TOOLS {
        let (code, output) = run(&mut folder.tradewind(words));
        assert_eq!(code, USAGE_ERROR, "{words:?}: {output}");
        let said = format!("no platform runs here: there is no endpoints.json in {}", state.display());
        assert!(output.contains(&said), "{words:?}: {output}");
        for wanted in [&["bin/tradewind up", "DATABASE_URL", "TRADEWIND_STATE_DIR"], options].concat() {
            assert!(output.contains(wanted), "{words:?} does not name {wanted}: {output}");
        }
        assert!(!output.contains("required argument"), "{words:?}: {output}");
        assert_eq!(
            output.contains("--kafka-brokers"),
            options.contains(&"--kafka-brokers"),
            "{words:?}: {output}"
        );
    }
}

#[test]
fn a_tool_with_a_database_and_without_kafka_asks_only_for_kafka() {
    let folder = TestFolder::new("tools-no-kafka");
    let named = "--database-url=postgres://nobody@localhost/nothing";
    let (code, output) = run(&mut folder.tradewind(&["verify", named]));
    assert_eq!(code, USAGE_ERROR, "{output}");
    assert!(output.contains("or give --kafka-brokers (or KAFKA_BROKERS)."), "{output}");
    assert!(!output.contains("--database-url"), "{output}");
}

#[test]
fn a_role_without_a_database_is_refused_with_the_name_of_the_option() {
    let folder = TestFolder::new("role-no-database");
    let (code, output) = run(&mut folder.tradewind(&["relay"]));
    assert_eq!(code, USAGE_ERROR, "{output}");
    assert!(output.contains("--database-url") && !output.contains("no platform runs here"), "{output}");
}
