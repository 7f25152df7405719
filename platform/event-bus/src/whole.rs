//! A whole topic, and what it takes to make one anew: for `tradewind reconcile` alone.
//!
//! Never: a topic removed while a consumer group of ours has members. Read next: `tradewind/src/tools/reconcile/`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use event_log::{ContextName, RawEvent, TOPIC_PARTITIONS, cloud_event};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::consumer::{BaseConsumer, Consumer, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use crate::BusConfig;
use crate::config::Logged;
use crate::consumer::told::told_of;
use crate::halt::{epoch_in, halt_in};

const ANSWER_LIMIT: Duration = Duration::from_secs(30);
const GONE_LIMIT: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A topic that gives nothing for this long is given up.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// What lies in a topic besides events of ours, and how many records there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TopicSum {
    pub records: u64,
    pub halts: u64,
    /// Records that are no events of this topic.
    pub strangers: u64,
    /// The highest epoch of any record; 0 when there is none.
    pub epoch: i64,
}

/// Why a topic was not read or made anew.
#[derive(Debug, thiserror::Error)]
pub enum WholeTopicError {
    #[error("topic {topic}: {cause}")]
    Kafka { topic: String, cause: KafkaError },
    #[error("topic {topic} can't be removed: {cause}")]
    NotRemoved { topic: String, cause: RDKafkaErrorCode },
    #[error("topic {topic} was removed and is still there after {waited_ms} ms")]
    StillThere { topic: String, waited_ms: u128 },
    #[error("topic {topic} gave nothing for {waited_ms} ms before its end")]
    Silent { topic: String, waited_ms: u128 },
}

/// Gives every event of the context's topic to `each`, in the order of its partition, up to the ends as they are now.
///
/// # Errors
/// [`WholeTopicError`]: try again.
pub async fn read_whole(
    config: &BusConfig,
    context: impl Into<ContextName>,
    mut each: impl FnMut(i32, RawEvent),
) -> Result<TopicSum, WholeTopicError> {
    let context = context.into();
    let topic = config.topic(context);
    let kafka = |cause| WholeTopicError::Kafka { topic: topic.clone(), cause };
    let group = config.group("reconcile");
    let client = config.client(
        &[],
        &[
            ("group.id", group.as_str()), // librdkafka wants one for assign; nothing joins or commits
            ("enable.auto.commit", "false"),
            ("enable.partition.eof", "true"),
            ("auto.offset.reset", "earliest"),
        ],
    );
    let consumer: StreamConsumer<Logged> = client.create_with_context(Logged).map_err(kafka)?;
    let mut assignment = TopicPartitionList::new();
    for partition in 0..TOPIC_PARTITIONS {
        assignment.add_partition_offset(&topic, partition, Offset::Beginning).map_err(kafka)?;
    }
    consumer.assign(&assignment).map_err(kafka)?;
    let mut sum = TopicSum::default();
    let mut unread: BTreeSet<i32> = (0..TOPIC_PARTITIONS).collect();
    while !unread.is_empty() {
        match tokio::time::timeout(SILENCE_MAX, consumer.recv()).await {
            Ok(Ok(message)) => {
                sum.records += 1;
                if halt_in(&message).is_some() {
                    sum.halts += 1;
                    continue;
                }
                sum.epoch = sum.epoch.max(epoch_in(&message));
                match cloud_event::decode_raw(context, message.payload().unwrap_or_default()) {
                    Ok(event) => each(message.partition(), event),
                    Err(_) => sum.strangers += 1,
                }
            }
            Ok(Err(KafkaError::PartitionEOF(partition))) => {
                unread.remove(&partition);
            }
            Ok(Err(KafkaError::MessageConsumption(RDKafkaErrorCode::UnknownTopicOrPartition))) => break,
            Ok(Err(KafkaError::MessageConsumption(cause))) => {
                tracing::debug!(%cause, "while reading a whole topic");
            }
            Ok(Err(cause)) => return Err(kafka(cause)),
            Err(_) => {
                return Err(WholeTopicError::Silent {
                    topic: topic.clone(),
                    waited_ms: SILENCE_MAX.as_millis(),
                });
            }
        }
    }
    // Closing blocks.
    std::thread::spawn(move || drop(consumer));
    Ok(sum)
}

/// Removes the context's topic, and waits until it is gone. One that is not there is gone.
///
/// # Errors
/// [`WholeTopicError`].
pub async fn remove_topic(
    config: &BusConfig,
    context: impl Into<ContextName>,
) -> Result<(), WholeTopicError> {
    let context = context.into();
    let topic = config.topic(context);
    let kafka = |cause| WholeTopicError::Kafka { topic: topic.clone(), cause };
    let admin: AdminClient<Logged> = config.client(&[], &[]).create_with_context(Logged).map_err(kafka)?;
    let options =
        AdminOptions::new().request_timeout(Some(ANSWER_LIMIT)).operation_timeout(Some(ANSWER_LIMIT));
    for outcome in admin.delete_topics(&[&topic], &options).await.map_err(kafka)? {
        match outcome {
            Ok(_) | Err((_, RDKafkaErrorCode::UnknownTopicOrPartition)) => {}
            Err((topic, cause)) => return Err(WholeTopicError::NotRemoved { topic, cause }),
        }
    }
    let gone = topic.clone();
    let waited = tokio::task::spawn_blocking(move || wait_until_gone(&admin, &gone));
    waited.await.expect("the wait for a topic's end does not panic")
}

/// Blocks. All topics are asked for: to ask for one by its name may make it.
fn wait_until_gone(admin: &AdminClient<Logged>, topic: &str) -> Result<(), WholeTopicError> {
    let started = Instant::now();
    loop {
        let metadata = admin
            .inner()
            .fetch_metadata(None, ANSWER_LIMIT)
            .map_err(|cause| WholeTopicError::Kafka { topic: topic.to_owned(), cause })?;
        if !metadata.topics().iter().any(|there| there.name() == topic) {
            return Ok(());
        }
        if started.elapsed() > GONE_LIMIT {
            let waited_ms = started.elapsed().as_millis();
            return Err(WholeTopicError::StillThere { topic: topic.to_owned(), waited_ms });
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Copies of each record of the context's topic; none when there is no such topic.
///
/// # Errors
/// [`WholeTopicError`].
pub async fn replication_of(
    config: &BusConfig,
    context: impl Into<ContextName>,
) -> Result<Option<i32>, WholeTopicError> {
    let context = context.into();
    let topic = config.topic(context);
    let kafka = |cause| WholeTopicError::Kafka { topic: topic.clone(), cause };
    let admin: AdminClient<Logged> = config.client(&[], &[]).create_with_context(Logged).map_err(kafka)?;
    let asked = tokio::task::spawn_blocking(move || admin.inner().fetch_metadata(None, ANSWER_LIMIT));
    let metadata = asked.await.expect("a call of librdkafka does not panic").map_err(kafka)?;
    let found = metadata.topics().iter().find(|there| there.name() == topic);
    Ok(found
        .and_then(|found| found.partitions().first())
        .and_then(|first| i32::try_from(first.replicas().len()).ok()))
}

/// How many members the consumer group has now.
///
/// # Errors
/// Kafka's.
pub async fn group_members(config: &BusConfig, name: &str) -> Result<usize, KafkaError> {
    let group = config.group(name);
    let consumer: BaseConsumer<Logged> = config.client(&[], &[]).create_with_context(Logged)?;
    let asked = tokio::task::spawn_blocking(move || {
        let list = consumer.fetch_group_list(Some(&group), ANSWER_LIMIT)?;
        Ok(list.groups().iter().map(|group| group.members().len()).sum())
    });
    asked.await.expect("a call of librdkafka does not panic")
}

/// The names, without the prefix, of the consumer groups that there are of a kind of readers: `sagas`, `sagas.orders+shipping`.
///
/// # Errors
/// Kafka's.
pub async fn reader_groups(config: &BusConfig, kind: &str) -> Result<Vec<String>, KafkaError> {
    let consumer: BaseConsumer<Logged> = config.client(&[], &[]).create_with_context(Logged)?;
    let asked = tokio::task::spawn_blocking(move || {
        let list = consumer.fetch_group_list(None, ANSWER_LIMIT)?;
        Ok::<Vec<String>, KafkaError>(list.groups().iter().map(|group| group.name().to_owned()).collect())
    });
    let of_kind = |name: &String| {
        let name = name.strip_prefix(&config.topic_prefix)?;
        let rest = name.strip_prefix(kind)?;
        (rest.is_empty() || rest.starts_with('.')).then(|| name.to_owned())
    };
    let groups = asked.await.expect("a call of librdkafka does not panic")?;
    let mut names: Vec<String> = groups.iter().filter_map(of_kind).collect();
    names.sort_unstable();
    Ok(names)
}

/// Deletes the consumer groups of a kind of readers: what Kafka was told of them is forgotten.
///
/// # Errors
/// Kafka's; one that has members is not deleted.
pub async fn forget_groups(config: &BusConfig, kind: &str) -> Result<(), KafkaError> {
    let names = reader_groups(config, kind).await?;
    if names.is_empty() {
        return Ok(());
    }
    let admin: AdminClient<Logged> = config.client(&[], &[]).create_with_context(Logged)?;
    let options = AdminOptions::new().request_timeout(Some(ANSWER_LIMIT));
    let groups: Vec<String> = names.iter().map(|name| config.group(name)).collect();
    let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
    for outcome in admin.delete_groups(&groups, &options).await? {
        match outcome {
            Ok(_) | Err((_, RDKafkaErrorCode::GroupIdNotFound)) => {}
            Err((_, cause)) => return Err(KafkaError::AdminOp(cause)),
        }
    }
    Ok(())
}

/// How far Kafka was told that a handler is in the contexts' topics, by any reader of its kind (the part of its name
/// before the first point): topic, partition, offset.
///
/// # Errors
/// Kafka's.
pub async fn told_offsets(
    config: &BusConfig,
    contexts: &[ContextName],
    consumer: &str,
) -> Result<Vec<(String, i32, i64)>, KafkaError> {
    let kind = consumer.split('.').next().unwrap_or(consumer);
    let mut highest = BTreeMap::<(String, i32), i64>::new();
    for group in reader_groups(config, kind).await? {
        for (topic, partition, offset, metadata) in told_by(config, contexts, &group).await? {
            // An offset without metadata speaks of the handler that the group is named after.
            let speaks = !metadata.is_empty() || group == consumer || group == kind;
            if let Some(told) = told_of(consumer, offset, &metadata).filter(|_| speaks) {
                let known = highest.entry((topic, partition)).or_default();
                *known = told.max(*known);
            }
        }
    }
    Ok(highest.into_iter().map(|((topic, partition), told)| (topic, partition, told)).collect())
}

/// Topic, partition, offset and metadata.
async fn told_by(
    config: &BusConfig,
    contexts: &[ContextName],
    group: &str,
) -> Result<Vec<(String, i32, i64, String)>, KafkaError> {
    let mut client = config.client(&[], &[("enable.auto.commit", "false")]);
    client.set("group.id", config.group(group));
    let consumer: BaseConsumer<Logged> = client.create_with_context(Logged)?;
    let mut list = TopicPartitionList::new();
    for context in contexts {
        list.add_partition_range(&config.topic(*context), 0, TOPIC_PARTITIONS - 1);
    }
    let asked = tokio::task::spawn_blocking(move || consumer.committed_offsets(list, ANSWER_LIMIT));
    let told = asked.await.expect("a call of librdkafka does not panic")?;
    let offset = |element: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| {
        let Offset::Offset(offset) = element.offset() else { return None };
        Some((element.topic().to_owned(), element.partition(), offset, element.metadata().to_owned()))
    };
    Ok(told.elements().iter().filter_map(offset).collect())
}
