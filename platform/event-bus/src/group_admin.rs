//! Consumer groups: their names and members, the offsets that they committed, and their deletion.

use std::collections::BTreeMap;
use std::time::Duration;

use event_log::{ContextName, TOPIC_PARTITIONS};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use crate::BusConfig;
use crate::config::Logged;
use crate::consumer::offset_metadata::committed_offset_of;

const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// The number of members of the consumer group.
///
/// # Errors
/// Kafka's error.
pub async fn group_members(config: &BusConfig, name: &str) -> Result<usize, KafkaError> {
    let group = config.group(name);
    let consumer: BaseConsumer<Logged> = config.client(&[], &[]).create_with_context(Logged)?;
    let asked = tokio::task::spawn_blocking(move || {
        let list = consumer.fetch_group_list(Some(&group), ANSWER_LIMIT)?;
        Ok(list.groups().iter().map(|group| group.members().len()).sum())
    });
    asked.await.expect("a call of librdkafka does not panic")
}

/// The names, without the prefix, of the existing consumer groups of one kind of readers: `sagas`,
/// `sagas.orders+shipping`.
///
/// # Errors
/// Kafka's error.
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

/// Deletes the consumer groups of one kind of readers, with the offsets that they committed.
///
/// Kafka's error; a group with members is not deleted.
pub async fn delete_groups(config: &BusConfig, kind: &str) -> Result<(), KafkaError> {
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

/// A handler's committed offsets in the contexts' topics, from all groups of its kind (the part of its name before the
/// first dot): topic, partition, offset.
///
/// # Errors
/// Kafka's error.
pub async fn committed_offsets(
    config: &BusConfig,
    contexts: &[ContextName],
    consumer: &str,
) -> Result<Vec<(String, i32, i64)>, KafkaError> {
    let kind = consumer.split('.').next().unwrap_or(consumer);
    let mut highest = BTreeMap::<(String, i32), i64>::new();
    for group in reader_groups(config, kind).await? {
        for (topic, partition, offset, metadata) in offsets_committed_by(config, contexts, &group).await? {
            // An offset without metadata applies to the handler that the group is named after.
            let applies = !metadata.is_empty() || group == consumer || group == kind;
            if let Some(offset) = committed_offset_of(consumer, offset, &metadata).filter(|_| applies) {
                let known = highest.entry((topic, partition)).or_default();
                *known = offset.max(*known);
            }
        }
    }
    Ok(highest.into_iter().map(|((topic, partition), offset)| (topic, partition, offset)).collect())
}

/// Topic, partition, offset and metadata.
async fn offsets_committed_by(
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
    let committed = asked.await.expect("a call of librdkafka does not panic")?;
    let offset = |element: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| {
        let Offset::Offset(offset) = element.offset() else { return None };
        Some((element.topic().to_owned(), element.partition(), offset, element.metadata().to_owned()))
    };
    Ok(committed.elements().iter().filter_map(offset).collect())
}
