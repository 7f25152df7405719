//! `tradewind verify --watch`: a violation shows in the metrics and in the readiness.

use std::net::TcpListener;
use std::process::Stdio;

use e2e::eventually;
use tokio::process::{Child, Command};

use super::filled::{Resting, filled};

const ORDERS_ARE_RIGHT: &str = r#"tradewind_verify_holds{property="read-model-orders"} 1"#;
const ORDERS_ARE_WRONG: &str = r#"tradewind_verify_holds{property="read-model-orders"} 0"#;

#[tokio::test]
async fn a_watch_reports_a_violation_and_its_end() {
    let filled = filled().await;
    let copy = filled.copy_database().await;
    let address = free_address();
    let mut watch = start(&copy, &address);
    sees(&address, "/metrics", ORDERS_ARE_RIGHT).await;
    sees(&address, "/metrics", r#"tradewind_verify_runs_total{outcome="holds"}"#).await;

    let set = |status: &str| {
        format!("UPDATE readmodel.orders SET status = '{status}' WHERE order_id = '{}'", filled.delivered)
    };
    copy.execute(&set("confirmed")).await;
    sees(&address, "/metrics", ORDERS_ARE_WRONG).await;
    sees(&address, "/readyz", &filled.delivered.to_string()).await;

    copy.execute(&set("delivered")).await;
    sees(&address, "/metrics", ORDERS_ARE_RIGHT).await;
    let pid = watch.id().expect("it runs").to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().await.expect("there is a kill").success());
    assert_eq!(watch.wait().await.expect("it ends").code(), Some(0));
}

fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    listener.local_addr().expect("it has an address").to_string()
}

fn start(copy: &Resting, address: &str) -> Child {
    Command::new(std::env::var_os("TRADEWIND_BIN").expect("TRADEWIND_BIN is set by `make test`"))
        .args(["verify", "--watch", "--interval-seconds", "1", "--listen", address])
        .env("DATABASE_URL", &copy.url)
        .env("KAFKA_BROKERS", testkit::kafka_brokers())
        .env("TOPIC_PREFIX", &copy.topic_prefix)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("TRADEWIND_BIN is the tradewind binary")
}

async fn sees(address: &str, path: &str, wanted: &str) {
    let url = format!("http://{address}{path}");
    eventually(&format!("{wanted} at {url}"), || async {
        let answer = reqwest::get(&url).await.map_err(|error| error.to_string())?;
        let text = answer.text().await.map_err(|error| error.to_string())?;
        if text.contains(wanted) { Ok(()) } else { Err(text) }
    })
    .await;
}
