//! How far the platform is: what is relayed, consumed and settled, and which roles are ready.
//!
//! Read from outside, by SQL, HTTP and Kafka's offsets. Never: "settled" because nothing was heard.
//! Read next: `scene.rs`.

use std::collections::{BTreeMap, BTreeSet};

use events::Context;
use tokio_postgres::Client;

use crate::{Platform, kafka};

/// The head of each log.
pub type Heads = BTreeMap<&'static str, i64>;

/// The end of each topic's partitions.
pub type Ends = BTreeMap<String, Vec<(i32, i64)>>;

/// # Errors
/// When the database does not answer. So for all of these.
pub async fn heads(database: &Client) -> Result<Heads, String> {
    let mut heads = Heads::new();
    for context in Context::ALL {
        let select = format!("SELECT coalesce(max(position), 0) FROM {context}.events");
        heads.insert(context.name(), one(database, &select).await?);
    }
    Ok(heads)
}

/// Err: what is not yet relayed of these heads.
pub async fn relayed(database: &Client, heads: &Heads) -> Result<(), String> {
    for (context, head) in heads {
        let cursor = one(database, &format!("SELECT cursor FROM {context}.relay")).await?;
        if cursor < *head {
            return Err(format!("{context} is relayed up to {cursor} of {head}"));
        }
    }
    Ok(())
}

pub async fn ends(platform: &Platform) -> Result<Ends, String> {
    let brokers = platform.kafka_brokers().to_owned();
    let topics = Context::ALL.map(|context| platform.topic(context));
    let ask =
        move || topics.into_iter().map(|topic| Ok((topic.clone(), kafka::ends(&brokers, &topic)?))).collect();
    tokio::task::spawn_blocking(ask).await.expect("asking for offsets does not panic")
}

/// Err: which consumer has not yet come to these ends.
pub async fn consumed(database: &Client, ends: &Ends) -> Result<(), String> {
    let mut stands = BTreeMap::<(String, String), BTreeMap<i32, i64>>::new();
    for schema in Context::ALL.map(Context::name).into_iter().chain(["readmodel"]) {
        let select = format!("SELECT consumer, topic, partition, next_offset FROM {schema}.checkpoints");
        for row in database.query(&select, &[]).await.map_err(|error| error.to_string())? {
            stands.entry((row.get(0), row.get(1))).or_default().insert(row.get(2), row.get(3));
        }
    }
    for ((consumer, topic), stands) in &stands {
        for (partition, end) in ends.get(topic).into_iter().flatten() {
            let next = stands.get(partition).copied().unwrap_or_default();
            if next < *end {
                return Err(format!("{consumer} is at {next} of {end} in {topic}/{partition}"));
            }
        }
    }
    Ok(())
}

/// Err: how many orders are still on their way without a person to wait for.
pub async fn settled(database: &Client) -> Result<(), String> {
    let select = "SELECT count(*) FROM readmodel.processes WHERE state IN ('running', 'compensating')";
    match one(database, select).await? {
        0 => Ok(()),
        some => Err(format!("{some} orders are on their way")),
    }
}

/// Err: which roles are not ready, and what they say.
pub async fn ready(platform: &Platform, http: &reqwest::Client) -> Result<(), String> {
    let endpoints = platform.endpoints();
    let mut not_ready = BTreeSet::new();
    for (role, url) in endpoints["ops_urls"].as_object().into_iter().flatten() {
        let url = format!("{}/readyz", url.as_str().unwrap_or_default());
        match http.get(url).timeout(std::time::Duration::from_secs(5)).send().await {
            Ok(answer) if answer.status().is_success() => {}
            Ok(answer) => {
                not_ready.insert(format!("{role}: {}", answer.text().await.unwrap_or_default()));
            }
            Err(error) => {
                not_ready.insert(format!("{role}: {error}"));
            }
        }
    }
    if not_ready.is_empty() { Ok(()) } else { Err(format!("not ready: {not_ready:?}")) }
}

async fn one(database: &Client, select: &str) -> Result<i64, String> {
    Ok(database.query_one(select, &[]).await.map_err(|error| error.to_string())?.get(0))
}
