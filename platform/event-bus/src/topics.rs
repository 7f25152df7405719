//! Creates one topic per context, once, always with the same number of partitions.
//!
//! A topic has no retention limit, and the broker never creates one on its own.

use std::time::{Duration, Instant};

use event_log::{ContextName, TOPIC_PARTITIONS};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

use crate::BusConfig;
use crate::config::Logged;

/// A broker that does not answer within this counts as unreachable.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// The time within which every broker knows a new topic.
const VISIBLE_LIMIT: Duration = Duration::from_secs(15);
const VISIBLE_POLL: Duration = Duration::from_millis(50);

/// The reason why the topics are not usable.
#[derive(Debug, thiserror::Error)]
pub enum TopicError {
    #[error(
        "topic {topic} has {given} partitions and must have {allowed}: streams would change their partition"
    )]
    OtherPartitionCount { topic: String, given: usize, allowed: i32 },
    #[error("topic {topic} cannot be created: {cause}")]
    Refused { topic: String, cause: RDKafkaErrorCode },
    #[error("topic {topic} was created and is not visible after {waited_ms} ms")]
    NotVisible { topic: String, waited_ms: u128 },
    #[error("Kafka at {brokers} does not answer: {cause}")]
    Unreachable { brokers: String, cause: KafkaError },
}

/// Creates the contexts' topics that do not exist, with `replication` copies; with three or more, two must be in sync.
///
/// [`TopicError`]: the platform cannot run; tell the user.
pub async fn ensure_topics(
    config: &BusConfig,
    contexts: &[ContextName],
    replication: i32,
) -> Result<(), TopicError> {
    let unreachable = |cause| TopicError::Unreachable { brokers: config.brokers.clone(), cause };
    let admin: AdminClient<Logged> =
        config.client(&[], &[]).create_with_context(Logged).map_err(unreachable)?;
    let topics: Vec<String> = contexts.iter().map(|context| config.topic(*context)).collect();
    let min_in_sync = if replication >= 3 { "2" } else { "1" };
    let wanted: Vec<NewTopic<'_>> = topics
        .iter()
        .map(|topic| {
            NewTopic::new(topic, TOPIC_PARTITIONS, TopicReplication::Fixed(replication))
                .set("cleanup.policy", "delete")
                .set("retention.ms", "-1")
                .set("retention.bytes", "-1")
                .set("unclean.leader.election.enable", "false")
                .set("min.insync.replicas", min_in_sync)
        })
        .collect();
    let options =
        AdminOptions::new().request_timeout(Some(ANSWER_LIMIT)).operation_timeout(Some(ANSWER_LIMIT));
    for outcome in admin.create_topics(&wanted, &options).await.map_err(unreachable)? {
        match outcome {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, cause)) => return Err(TopicError::Refused { topic, cause }),
        }
    }
    let brokers = config.brokers.clone();
    let checked = tokio::task::spawn_blocking(move || {
        topics.iter().try_for_each(|topic| check_partitions(&admin, topic, &brokers))
    });
    checked.await.expect("the check of the topics does not panic")
}

/// Waits until the topic is visible, and compares its number of partitions. Blocks.
fn check_partitions(admin: &AdminClient<Logged>, topic: &str, brokers: &str) -> Result<(), TopicError> {
    let started = Instant::now();
    loop {
        let metadata = admin
            .inner()
            .fetch_metadata(Some(topic), ANSWER_LIMIT)
            .map_err(|cause| TopicError::Unreachable { brokers: brokers.to_owned(), cause })?;
        let given = metadata
            .topics()
            .iter()
            .find(|found| found.name() == topic && found.error().is_none())
            .map_or(0, |found| found.partitions().len());
        match i32::try_from(given) {
            Ok(TOPIC_PARTITIONS) => return Ok(()),
            Ok(0) if started.elapsed() < VISIBLE_LIMIT => std::thread::sleep(VISIBLE_POLL),
            Ok(0) => {
                let waited_ms = started.elapsed().as_millis();
                return Err(TopicError::NotVisible { topic: topic.to_owned(), waited_ms });
            }
            _ => {
                return Err(TopicError::OtherPartitionCount {
                    topic: topic.to_owned(),
                    given,
                    allowed: TOPIC_PARTITIONS,
                });
            }
        }
    }
}
