//! Private services: a command gets its own PostgreSQL and Kafka, and nothing of them remains.

use std::fs;
use std::process::{Command, Stdio};

use crate::platform::{TestFolder, run, runs, signal, wait_until};

#[test]
fn a_command_gets_services_below_a_closed_folder_and_its_exit_code_is_returned() {
    let folder = TestFolder::new("services-run");
    let show =
        "echo postgres at $DATABASE_URL, kafka at $KAFKA_BROKERS, jars in $TRADEWIND_KAFKA_HOME; exit 7";
    let (code, output) = run(&mut folder.tradewind(&["engines", "run", "--", "sh", "-c", show]));
    assert_eq!(code, Some(7), "{output}");
    let jars = folder.state().join("kafka-home");
    assert!(output.contains("postgres at postgres://tradewind:"), "{output}");
    assert!(output.contains(", kafka at 127.0.0.1:"), "{output}");
    assert!(output.contains(&format!("jars in {}", jars.display())), "{output}");
    assert!(!output.contains("fetching"), "the jars existed already:\n{output}");
    let left: Vec<_> = fs::read_dir(folder.state().join("engine-runs")).expect("the folder exists").collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn durable_services_wait_for_the_disk_and_pass_on_their_pids() {
    let folder = TestFolder::new("services-durable");
    let show = "tr '\\0' ' ' </proc/$TRADEWIND_POSTGRES_PID/cmdline; cat /proc/$TRADEWIND_KAFKA_PID/comm";
    for (durable, expected) in [(true, false), (false, true)] {
        let flag: &[&str] = if durable { &["--durable"] } else { &[] };
        let args = [&["engines", "run"], flag, &["--", "sh", "-c", show]].concat();
        let (code, output) = run(&mut folder.tradewind(&args));
        assert_eq!(code, Some(0), "{output}");
        assert!(output.contains("synchronous_commit=on"), "{output}");
        assert_eq!(output.contains("fsync=off"), expected, "{output}");
        assert!(output.contains("java"), "{output}");
    }
}

#[test]
fn the_next_run_removes_everything_that_a_killed_run_left() {
    let folder = TestFolder::new("services-killed");
    let mut killed = folder
        .tradewind(&["engines", "run", "--", "sleep", "600"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary was built with the test");
    let runs_folder = folder.state().join("engine-runs");
    let pid_file = runs_folder.join(killed.id().to_string()).join("pids").join("kafka.pid");
    let mut kafka = 0;
    wait_until("Kafka has been started", || {
        kafka = fs::read_to_string(&pid_file).ok().and_then(|pid| pid.parse().ok()).unwrap_or_default();
        kafka != 0
    });
    signal("KILL", killed.id().into());
    killed.wait().expect("a child can be waited for");
    wait_until("Kafka has ended", || !runs(kafka));

    let (code, output) = run(&mut folder.tradewind(&["engines", "run", "--", "true"]));
    assert_eq!(code, Some(0), "{output}");
    assert_eq!(fs::read_dir(&runs_folder).expect("the folder exists").count(), 0);
}

#[test]
fn where_no_service_is_available_the_message_names_every_way_to_get_one() {
    let folder = TestFolder::new("services-none");
    let binary = env!("CARGO_BIN_EXE_tradewind");
    let mut without_programs = Command::new(binary);
    without_programs
        .args(["engines", "run", "--", "true"])
        .env_clear()
        .env("PATH", "/nowhere")
        .env("TRADEWIND_STATE_DIR", folder.state())
        .env("DATABASE_URL", "postgres://somewhere/else");
    let (code, output) = run(&mut without_programs);
    assert_eq!(code, Some(1), "{output}");
    for way in ["KAFKA_BROKERS=", "Maven Central", "Java 17", "docker"] {
        assert!(output.contains(way), "{way} is missing in:\n{output}");
    }
}

#[test]
fn a_second_set_up_does_nothing() {
    let setup = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/setup");
    let (code, output) = run(&mut Command::new(setup));
    assert_eq!((code, output.as_str()), (Some(0), ""));
}
