//! Postgres is restored to a backup that is older than what Kafka and the read models hold: everything that would act on
//! what no longer exists stops and says why, `tradewind reconcile` lists exactly that and puts it right, and all goes on.

use std::collections::{BTreeMap, BTreeSet};

use e2e::{Platform, Shop, TestEnvironment, eventually, line, readiness};
use events::Context;
use fault::{CRASH_POINTS, Crash};
use serde_json::Value;
use testkit::{copy_database, read_topic};
use uuid::Uuid;

const RECONCILE: &str = "reconcile";

/// Everything that acts on events, by role, as its readiness calls it.
const STOPPED: [(&str, &[&str]); 3] = [
    ("relay", &["relay orders", "relay inventory", "relay payments", "relay shipping"]),
    (
        "sagas",
        &[
            "sagas.orders",
            "sagas.inventory",
            "sagas.payments",
            "sagas.shipping",
            "sagas.payment-gateway",
            "payment deadlines",
        ],
    ),
    (
        "query-side",
        &[
            "projection orders",
            "projection order-events",
            "projection payments",
            "projection processes",
            "projection sales",
            "projection stock",
        ],
    ),
];

/// What `reconcile` has to say of the records that no log has.
async fn lost(platform: &Platform) -> BTreeSet<String> {
    let database = platform.database().await;
    let mut lost = BTreeSet::new();
    for context in Context::ALL {
        let ids = database.query(&format!("SELECT event_id FROM {context}.events"), &[]).await;
        let logged: BTreeSet<Uuid> =
            ids.expect("a log can be read").iter().map(|row| row.get("event_id")).collect();
        for record in read_topic(&platform.topic(context)).await {
            // A halt is no event.
            let Ok(event) = serde_json::from_slice::<Value>(&record.value) else { continue };
            let id = event["id"].as_str().expect("an id");
            if !logged.contains(&id.parse().expect("a UUID")) {
                let kind = event["type"].as_str().expect("a type");
                let kind = kind.trim_start_matches(&format!("tradewind.{context}."));
                lost.insert(format!(
                    "lost {context}:{} {} {kind} {id}",
                    event["position"],
                    event["subject"].as_str().expect("a subject"),
                ));
            }
        }
    }
    lost
}

/// What `reconcile` has to say of the projections that have applied more than the logs have.
async fn ahead(platform: &Platform, read_models: &str) -> BTreeSet<String> {
    let database = platform.database().await;
    let mut heads = BTreeMap::new();
    for context in Context::ALL {
        let head = format!("SELECT coalesce(max(position), 0) AS head FROM {context}.events");
        let head = database.query_one(&head, &[]).await.expect("a log can be read");
        heads.insert(platform.topic(context), head.get::<_, i64>("head"));
    }
    let (read_models, connection) =
        tokio_postgres::connect(read_models, tokio_postgres::NoTls).await.expect("the database answers");
    tokio::spawn(connection);
    let query = "SELECT consumer, topic, partition, last_position FROM readmodel.checkpoints";
    let rows = read_models.query(query, &[]).await.expect("a readable table");
    rows.iter()
        .filter_map(|row| {
            let (topic, last): (String, i64) = (row.get("topic"), row.get("last_position"));
            let (consumer, partition): (String, i32) = (row.get("consumer"), row.get("partition"));
            let head = heads[&topic];
            (last > head).then(|| {
                format!(
                    "read model {consumer}: {topic}/{partition} applied up to position {last}, the log ends at {head}"
                )
            })
        })
        .collect()
}

/// The lines of an output that begin so.
fn lines(output: &str, begin: &str) -> BTreeSet<String> {
    output.lines().map(str::trim).filter(|line| line.starts_with(begin)).map(str::to_owned).collect()
}

async fn each_part_says_why_it_stopped(endpoints: &Value, roles: &[(&str, &[&str])], why: &str) {
    for (role, parts) in roles {
        let url = endpoints["ops_urls"][role].as_str().expect("every role has one");
        eventually(&format!("{role}: each of {parts:?} says why it stopped"), || async {
            let (status, told) = readiness(url).await?;
            let failing = told["failing"].as_array().cloned().unwrap_or_default();
            let says = |part: &&&str| {
                let reason = failing.iter().find(|failing| failing["check"] == **part);
                reason.is_some_and(|failing| failing["reason"].to_string().contains(why))
            };
            let silent: Vec<&&str> = parts.iter().filter(|part| !says(part)).collect();
            if status == 503 && silent.is_empty() { Ok(()) } else { Err(format!("{silent:?} in {told}")) }
        })
        .await;
    }
}

async fn settles(shop: &Shop, customer: &str) -> Uuid {
    let order_id = shop.places_order(customer, &[line("VASE", 1, 700)]).await;
    shop.sees_order(order_id, "confirmed").await;
    order_id
}

#[tokio::test]
async fn after_a_restore_everything_stops_and_says_why_and_reconcile_brings_it_to_the_restored_truth() {
    let mut platform = Platform::start("restore", &[]).await;
    let shop = platform.shop();
    let endpoints = platform.endpoints();
    shop.receives_stock("VASE", 10).await;
    let before = settles(&shop, "ada").await;
    let open = settles(&shop, "ben").await;
    platform.stop().await;
    let database = platform.database_url().to_owned();
    let (_, name) = database.rsplit_once('/').expect("a database url ends in /<database>");
    let backup = copy_database(&database, &format!("{name}_backup")).await;

    platform.start_again();
    platform.wait_until_ready().await;
    let gone = settles(&shop, "cy").await;
    shop.dispatches(open).await;
    shop.sees_payment(open, "captured").await;
    shop.sees_stock("VASE", 10, 7, 2, 1).await;
    platform.stop().await;
    copy_database(&backup.url, name).await;

    platform.start_again();
    each_part_says_why_it_stopped(&endpoints, &STOPPED, "tradewind reconcile").await;
    platform.stop().await;
    assert!(platform.log().contains("relaying stopped"), "the log says so too");

    let expected = lost(&platform).await;
    assert!(expected.iter().any(|line| line.contains(&gone.to_string())), "{expected:?}");
    for dry_run in ["first", "second, for the first has changed nothing"] {
        let (code, output) = platform.tradewind(&["reconcile", "--dry-run"]).await;
        assert_eq!(code, 0, "{dry_run}: {output}");
        assert_eq!(lines(&output, "lost "), expected, "{dry_run}: {output}");
    }
    let (code, output) = platform.tradewind(&["reconcile"]).await;
    assert!(code != 0 && output.contains("--yes"), "nobody is asked who is not there: {output}");
    let (code, output) = platform.tradewind(&["reconcile", "--yes"]).await;
    assert_eq!(code, 0, "{output}");

    platform.start_again();
    platform.wait_until_ready().await;
    assert_eq!(shop.get(&format!("/v1/orders/{gone}")).await.status.as_u16(), 404);
    assert_eq!(shop.sees_order(before, "confirmed").await["customer_id"], "ada");
    shop.sees_stock("VASE", 10, 8, 2, 0).await;
    let after = settles(&shop, "dot").await;
    for order_id in [open, after] {
        shop.dispatches(order_id).await;
        shop.delivers(order_id).await;
        shop.sees_order(order_id, "delivered").await;
        shop.sees_payment(order_id, "captured").await;
    }
    shop.sees_stock("VASE", 10, 7, 1, 2).await;
    let (code, output) = platform.tradewind(&["replay", "--all", "--check"]).await;
    assert_eq!(code, 0, "{output}");
    let (code, output) = platform.tradewind(&["verify"]).await;
    assert_eq!(code, 0, "{output}");
    let (code, output) = platform.tradewind(&["reconcile"]).await;
    assert!(code == 0 && output.contains("nothing to reconcile"), "{output}");
}

/// At each, the logs as the restore left them; what topics and read models hold by then is of the reconciliation before.
async fn dies_at_every_crash_point_and_is_run_again(
    platform: &mut Platform,
    reconcile: &[&str],
    endpoints: &Value,
) {
    let database = platform.database_url().to_owned();
    let (_, name) = database.rsplit_once('/').expect("a database url ends in /<database>");
    let restored = copy_database(&database, &format!("{name}_restored")).await;
    let points = CRASH_POINTS.iter().filter(|point| point.roles.contains(&RECONCILE));
    for (nth, point) in points.enumerate() {
        if nth > 0 {
            copy_database(&restored.url, name).await;
            // What a role finds set in a database is of that database, and of no copy. (Before the first, `up` has seen to it.)
            let contexts = Context::ALL.map(|context| ["--owner", context.name()]).concat();
            let (code, said) = platform.tradewind(&[&["migrate"], &contexts[..]].concat()).await;
            assert_eq!(code, 0, "{said}");
        }
        let crash = Crash::at(point.name, RECONCILE);
        platform.faults().arm(std::slice::from_ref(&crash), &[]).expect("the control file can be written");
        let (code, said) = platform.tradewind(reconcile).await;
        assert!(platform.faults().died_of(&crash).is_some(), "nobody died at {crash:?}: {said}");
        assert_ne!(code, 0, "{said}");
        if nth == 0 {
            platform.start_again();
            let why = "not finished; run `tradewind reconcile` again";
            each_part_says_why_it_stopped(endpoints, &STOPPED[..1], why).await;
            platform.stop().await;
        }
        let (code, said) = platform.tradewind(reconcile).await;
        assert_eq!(code, 0, "after {crash:?}: {said}");
        let (code, said) = platform.tradewind(reconcile).await;
        assert!(code == 0 && said.contains("nothing to reconcile"), "after {crash:?}: {said}");
    }
}

/// The read models and the provider's ledger lie in another database, and nobody restores that one.
#[tokio::test]
async fn when_the_logs_alone_are_restored_what_is_ahead_of_them_is_named_and_a_killed_reconcile_is_run_again()
{
    let (environment, beside) = TestEnvironment::with_read_models_beside("restore_logs").await;
    let mut platform = Platform::start_on("restore_logs", environment, &[]).await;
    let shop = platform.shop();
    let endpoints = platform.endpoints();
    shop.receives_stock("VASE", 10).await;
    let before = settles(&shop, "ada").await;
    let open = settles(&shop, "ben").await;
    shop.shipment_is_prepared(open).await;
    platform.stop().await;
    let database = platform.database_url().to_owned();
    let (_, name) = database.rsplit_once('/').expect("a database url ends in /<database>");
    let backup = copy_database(&database, &format!("{name}_backup")).await;

    platform.start_again();
    platform.wait_until_ready().await;
    let gone = settles(&shop, "cy").await;
    shop.dispatches(open).await;
    shop.sees_payment(open, "captured").await;
    shop.sees_stock("VASE", 10, 7, 2, 1).await;
    platform.stop().await;
    copy_database(&backup.url, name).await;

    platform.start_again();
    each_part_says_why_it_stopped(&endpoints, &STOPPED, "tradewind reconcile").await;
    // The command side goes on: at the positions of what no longer exists.
    let meanwhile = Uuid::now_v7();
    let placed = Shop::order(meanwhile, "eve", &[line("VASE", 1, 700)]);
    shop.post_until_answered("/v1/orders", placed).await.accepted();
    platform.stop().await;

    let reconcile = ["reconcile", "--readmodel-owner-url", &beside];
    let run = async |more: &[&str]| platform.tradewind(&[&reconcile[..], more].concat()).await;
    let (code, said) = run(&["--dry-run"]).await;
    assert_eq!(code, 0, "{said}");
    assert_eq!(lines(&said, "lost "), lost(&platform).await, "{said}");
    let projections_ahead = ahead(&platform, &beside).await;
    assert!(!projections_ahead.is_empty());
    assert_eq!(lines(&said, "read model "), projections_ahead, "{said}");
    assert!(said.contains("the timelines of orders show "), "{said}");
    assert!(said.contains(&format!("what the provider did counts: payment-{open}\n")), "{said}");
    assert!(said.contains(&format!("may hold money: ask it about payment-{gone}\n")), "{said}");

    let yes = [&reconcile[..], &["--yes"]].concat();
    dies_at_every_crash_point_and_is_run_again(&mut platform, &yes, &endpoints).await;

    platform.start_again();
    platform.wait_until_ready().await;
    assert_eq!(shop.get(&format!("/v1/orders/{gone}")).await.status.as_u16(), 404);
    assert_eq!(shop.sees_order(before, "confirmed").await["customer_id"], "ada");
    assert_eq!(shop.sees_order(meanwhile, "confirmed").await["customer_id"], "eve");
    shop.sees_stock("VASE", 10, 7, 3, 0).await;
    shop.dispatches(open).await;
    shop.delivers(open).await;
    shop.sees_order(open, "delivered").await;
    shop.sees_payment(open, "captured").await;
    assert_eq!(shop.provider_books().await["counts"]["captured"], 1, "it was asked, and not told again");
    settles(&shop, "dot").await;
    let (code, said) = platform.tradewind(&yes).await;
    assert!(code == 0 && said.contains("nothing to reconcile"), "{said}");

    // The provider holds what nobody remembers, and nothing else is wrong.
    assert_eq!(shop.provider_payment(gone).await.accepted()["state"], "authorised");
    let (code, said) = platform.tradewind(&["verify"]).await;
    let fails: Vec<&str> = said.lines().filter(|line| line.starts_with("FAIL")).collect();
    let [money] = fails.as_slice() else { panic!("money alone: {said}") };
    let named =
        money.contains("money") && money.contains("1 violation,") && money.contains(&gone.to_string());
    assert!(code == 1 && named, "{said}");
}
