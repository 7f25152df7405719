//! `tradewind up`: it stops what it started, and the next run finds the data that it kept.

use std::net::TcpListener;

use crate::platform::{TestFolder, run, runs, signal, wait_until};
use tokio_postgres::NoTls;

#[tokio::test]
async fn data_survives_a_restart_and_a_killed_up_and_fresh_removes_it() {
    let folder = TestFolder::new("up-state");

    let first = folder.up(&[], &[]);
    let database_url = text(&first.endpoints()["database_url"]);
    execute(&database_url, "CREATE TABLE public.kept AS SELECT 42 AS answer").await;
    let (code, output) = run(&mut folder.tradewind(&["up", "--command-port", "0", "--query-port", "0"]));
    assert_eq!(code, Some(1), "{output}");
    assert!(output.contains("another Tradewind") && output.contains("--state-dir"), "{output}");
    let services =
        [first.pid("postgres"), first.pid("kafka")].map(|pid| pid.expect("the services are private"));
    assert_eq!(first.stop(), Some(0));
    assert!(!services.into_iter().any(runs), "a service outlived up");
    assert!(!folder.state().join("endpoints.json").exists(), "endpoints of a stopped platform");

    let second = folder.up(&[], &[]);
    assert_eq!(text(&second.endpoints()["database_url"]), database_url, "the port is kept");
    execute(&database_url, "SELECT answer FROM public.kept").await;
    let printed = second.printed();
    assert!(!printed.contains("fetching"), "a second run does no set-up work:\n{printed}");
    second.kill();

    let third = folder.up(&["--fresh"], &[]);
    let database_url = text(&third.endpoints()["database_url"]);
    execute(&database_url, "CREATE TABLE public.kept AS SELECT 'nothing was there' AS answer").await;
    assert_eq!(third.stop(), Some(0));
}

#[tokio::test]
async fn a_killed_role_is_restarted_while_the_others_keep_running() {
    let folder = TestFolder::new("up-restart");
    let database = testkit::fresh_database("up_restart").await;
    let up = folder.up(&["--separate"], &on_test_services(&database.url));
    let before = up.endpoints()["pids"].clone();
    let sagas = up.pid("sagas").expect("sagas runs");

    signal("KILL", sagas);
    wait_until("sagas has another pid", || up.pid("sagas").is_some_and(|pid| pid != sagas));

    for (role, pid) in before.as_object().expect("pids is an object") {
        if role != "sagas" {
            assert_eq!(up.endpoints()["pids"][role], *pid, "{role} kept running");
        }
    }
    let health = format!("{}/readyz", text(&up.endpoints()["ops_urls"]["sagas"]));
    wait_until("sagas is ready again", || run(&mut folder.tradewind(&["health", &health])).0 == Some(0));
    assert!(up.printed().contains("a role died"), "{}", up.printed());
    assert_eq!(up.stop(), Some(0));
    for (role, pid) in before.as_object().expect("pids is an object") {
        assert!(!runs(pid.as_u64().expect("a pid is a number")), "{role} outlived up");
    }
}

#[tokio::test]
async fn with_no_restart_a_killed_role_stays_down_and_can_be_started_by_hand() {
    let folder = TestFolder::new("up-by-hand");
    let database = testkit::fresh_database("up_by_hand").await;
    let up = folder.up(&["--separate", "--no-restart"], &on_test_services(&database.url));
    let health = format!("{}/readyz", text(&up.endpoints()["ops_urls"]["relay"]));
    signal("KILL", up.pid("relay").expect("the relay runs"));
    wait_until("the relay is gone from endpoints.json", || up.pid("relay").is_none());
    assert_eq!(run(&mut folder.tradewind(&["health", &health])).0, Some(1));

    let by_hand =
        format!(". '{}/env' && exec '{}' relay", folder.state().display(), env!("CARGO_BIN_EXE_tradewind"));
    let mut relay =
        std::process::Command::new("sh").args(["-c", &by_hand]).spawn().expect("there is a shell");
    wait_until("the relay is ready", || run(&mut folder.tradewind(&["health", &health])).0 == Some(0));

    signal("TERM", relay.id().into());
    assert_eq!(relay.wait().expect("a child can be waited for").code(), Some(0));
    assert_eq!(up.stop(), Some(0));
}

#[tokio::test]
async fn no_role_outlives_a_killed_up() {
    let folder = TestFolder::new("up-killed");
    let database = testkit::fresh_database("up_killed").await;
    let up = folder.up(&["--separate"], &on_test_services(&database.url));
    let pids = up.endpoints()["pids"].clone();
    up.kill();
    for (role, pid) in pids.as_object().expect("pids is an object") {
        let pid = pid.as_u64().expect("a pid is a number");
        wait_until(&format!("{role} has ended"), || !runs(pid));
    }
}

#[test]
fn a_port_in_use_is_refused_with_the_name_of_its_flag() {
    let folder = TestFolder::new("up-port");
    let taken = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let port = taken.local_addr().expect("it is bound").port().to_string();
    for (flag, other) in [("--command-port", "--query-port"), ("--query-port", "--command-port")] {
        let (code, output) = run(&mut folder.tradewind(&["up", flag, &port, other, "0"]));
        assert_eq!(code, Some(1), "{output}");
        assert!(output.contains(&format!("port {port} is in use: choose another with {flag}")), "{output}");
    }
}

fn on_test_services(database_url: &str) -> Vec<(&'static str, String)> {
    vec![
        ("DATABASE_URL", database_url.to_owned()),
        ("KAFKA_BROKERS", testkit::kafka_brokers()),
        ("TOPIC_PREFIX", format!("{}.", testkit::unique("up"))),
    ]
}

fn text(value: &serde_json::Value) -> String {
    value.as_str().expect("an endpoint is text").to_owned()
}

async fn execute(database_url: &str, sql: &str) {
    let (client, connection) =
        tokio_postgres::connect(database_url, NoTls).await.expect("the database answers");
    tokio::spawn(connection);
    client.batch_execute(sql).await.expect("the statement is accepted");
}
