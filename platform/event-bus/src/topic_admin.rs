//! Administration of a topic, for `tradewind reconcile`: deletes it, and reads its replication factor.

use std::time::{Duration, Instant};

use event_log::ContextName;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

use crate::BusConfig;
use crate::config::Logged;

const ANSWER_LIMIT: Duration = Duration::from_secs(30);
const GONE_LIMIT: Duration = Duration::from_secs(60);
const POLL_EVERY: Duration = Duration::from_millis(100);

/// The reason why a topic was not read, described or deleted.
#[derive(Debug, thiserror::Error)]
pub enum TopicAdminError {
    #[error("topic {topic}: {cause}")]
    Kafka { topic: String, cause: KafkaError },
    #[error("topic {topic} cannot be deleted: {cause}")]
    NotDeleted { topic: String, cause: RDKafkaErrorCode },
    #[error("topic {topic} was deleted and still exists after {waited_ms} ms")]
    StillThere { topic: String, waited_ms: u128 },
    #[error("topic {topic} returned nothing for {waited_ms} ms before its end")]
    Silent { topic: String, waited_ms: u128 },
}

/// Deletes the context's topic, and waits until it is gone. A missing topic is not an error.
///
/// # Errors
/// [`TopicAdminError`].
pub async fn delete_topic(
    config: &BusConfig,
    context: impl Into<ContextName>,
) -> Result<(), TopicAdminError> {
    let context = context.into();
    let topic = config.topic(context);
    let kafka = |cause| TopicAdminError::Kafka { topic: topic.clone(), cause };
    let admin: AdminClient<Logged> = config.client(&[], &[]).create_with_context(Logged).map_err(kafka)?;
    let options =
        AdminOptions::new().request_timeout(Some(ANSWER_LIMIT)).operation_timeout(Some(ANSWER_LIMIT));
    for outcome in admin.delete_topics(&[&topic], &options).await.map_err(kafka)? {
        match outcome {
            Ok(_) | Err((_, RDKafkaErrorCode::UnknownTopicOrPartition)) => {}
            Err((topic, cause)) => return Err(TopicAdminError::NotDeleted { topic, cause }),
        }
    }
    let gone = topic.clone();
    let waited = tokio::task::spawn_blocking(move || wait_until_gone(&admin, &gone));
    waited.await.expect("the wait for a deleted topic does not panic")
}

/// Blocks. It requests the metadata of all topics, because a request for one topic by name may create it.
fn wait_until_gone(admin: &AdminClient<Logged>, topic: &str) -> Result<(), TopicAdminError> {
    let started = Instant::now();
    loop {
        let metadata = admin
            .inner()
            .fetch_metadata(None, ANSWER_LIMIT)
            .map_err(|cause| TopicAdminError::Kafka { topic: topic.to_owned(), cause })?;
        if !metadata.topics().iter().any(|found| found.name() == topic) {
            return Ok(());
        }
        if started.elapsed() > GONE_LIMIT {
            let waited_ms = started.elapsed().as_millis();
            return Err(TopicAdminError::StillThere { topic: topic.to_owned(), waited_ms });
        }
        std::thread::sleep(POLL_EVERY);
    }
}

/// The number of copies of each record of the context's topic; none if there is no such topic.
///
/// # Errors
/// [`TopicAdminError`].
pub async fn replication_factor(
    config: &BusConfig,
    context: impl Into<ContextName>,
) -> Result<Option<i32>, TopicAdminError> {
    let context = context.into();
    let topic = config.topic(context);
    let kafka = |cause| TopicAdminError::Kafka { topic: topic.clone(), cause };
    let admin: AdminClient<Logged> = config.client(&[], &[]).create_with_context(Logged).map_err(kafka)?;
    let asked = tokio::task::spawn_blocking(move || admin.inner().fetch_metadata(None, ANSWER_LIMIT));
    let metadata = asked.await.expect("a call of librdkafka does not panic").map_err(kafka)?;
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    Ok(found
        .and_then(|found| found.partitions().first())
        .and_then(|first| i32::try_from(first.replicas().len()).ok()))
}
