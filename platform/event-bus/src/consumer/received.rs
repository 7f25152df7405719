//! The result of a librdkafka poll, as our types.

use std::collections::HashMap;
use std::sync::Arc;

use event_log::ContextName;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::types::RDKafkaErrorCode;

use super::positions::Partition;
use crate::stop_marker::{epoch_in, stop_marker_in};
use crate::{BusConfig, Record};

/// The topics that are read, by their full names.
pub(super) type Topics = HashMap<String, (ContextName, Arc<str>)>;

pub(super) fn topics_of(config: &BusConfig, contexts: impl IntoIterator<Item = ContextName>) -> Topics {
    let topic = |context| (config.topic(context), (context, Arc::from(config.topic(context))));
    contexts.into_iter().map(topic).collect()
}

/// A record, or an interruption.
pub(super) type Received = Result<Arrived, Interruption>;

/// A record that is not decoded yet.
pub(super) struct Arrived {
    pub partition: Partition,
    pub offset: i64,
    /// The epoch of the log that its position belongs to.
    pub epoch: i64,
    context: ContextName,
    key: Vec<u8>,
    payload: Vec<u8>,
}

impl Arrived {
    pub fn decode(self) -> Record {
        let (topic, number) = self.partition;
        Record::read(self.context, topic, (number, self.offset), self.key, self.payload)
    }
}

pub(super) enum Interruption {
    /// Some partition's offset is not in the topic; librdkafka does not name the partition.
    OffsetOutOfRange,
    /// librdkafka retries by itself.
    Trouble(KafkaError),
    /// The relay has written a stop marker: the topic has events that its log no longer has.
    StopMarker { topic: String, reason: String },
    /// librdkafka cannot continue.
    Broken(KafkaError),
}

pub(super) fn received(topics: &Topics, outcome: KafkaResult<BorrowedMessage<'_>>) -> Received {
    match outcome {
        Ok(message) => match stop_marker_in(&message) {
            Some(reason) => Err(Interruption::StopMarker { topic: message.topic().to_owned(), reason }),
            None => Ok(arrived(topics, &message)),
        },
        Err(KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset)) => {
            Err(Interruption::OffsetOutOfRange)
        }
        Err(error @ (KafkaError::MessageConsumptionFatal(_) | KafkaError::Subscription(_))) => {
            Err(Interruption::Broken(error))
        }
        Err(error) => Err(Interruption::Trouble(error)),
    }
}

fn arrived(topics: &Topics, message: &BorrowedMessage<'_>) -> Arrived {
    let (context, topic) = topics.get(message.topic()).expect("only topics that are read are assigned");
    Arrived {
        partition: (Arc::clone(topic), message.partition()),
        offset: message.offset(),
        epoch: epoch_in(message),
        context: *context,
        key: message.key().unwrap_or_default().to_vec(),
        payload: message.payload().unwrap_or_default().to_vec(),
    }
}
