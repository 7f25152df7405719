//! The contexts, their topics, and which partition a stream lands on.
//!
//! Never: a context that is not in [`Context::ALL`]. Read next: [`crate::Event`].

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Partitions of every context's topic. Changing it moves streams between partitions: never on a live topic.
pub const TOPIC_PARTITIONS: i32 = 12;

/// A bounded context: it owns one schema, one role, one log and one topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Context {
    Orders,
    Inventory,
    Payments,
    Shipping,
}

impl Context {
    pub const ALL: [Self; 4] = [Self::Orders, Self::Inventory, Self::Payments, Self::Shipping];

    /// The name in lower case: the Postgres schema, the first part of the topic and of a position token.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Orders => "orders",
            Self::Inventory => "inventory",
            Self::Payments => "payments",
            Self::Shipping => "shipping",
        }
    }

    pub const fn topic(self) -> &'static str {
        match self {
            Self::Orders => "orders.events",
            Self::Inventory => "inventory.events",
            Self::Payments => "payments.events",
            Self::Shipping => "shipping.events",
        }
    }

    pub fn from_topic(topic: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|context| context.topic() == topic)
    }
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The name of no context.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be one of orders, inventory, payments, shipping; is {given:?}")]
pub struct UnknownContext {
    pub given: String,
}

impl FromStr for Context {
    type Err = UnknownContext;
    fn from_str(text: &str) -> Result<Self, UnknownContext> {
        Self::ALL
            .into_iter()
            .find(|context| context.name() == text)
            .ok_or_else(|| UnknownContext { given: text.chars().take(32).collect() })
    }
}

/// The partition that Kafka's Java clients choose for this key, out of `partitions`.
///
/// librdkafka chooses the same one with `partitioner=murmur2_random`. Source of the algorithm:
/// Apache Kafka, `org.apache.kafka.common.utils.Utils.murmur2` and `toPositive`.
pub fn partition_of(key: &str, partitions: i32) -> i32 {
    let positive = (murmur2(key.as_bytes()) & 0x7fff_ffff) as i32;
    positive % partitions
}

fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c_u32 ^ data.len() as u32;
    let (chunks, rest) = data.as_chunks::<4>();
    for chunk in chunks {
        let mut k = u32::from_le_bytes(*chunk).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !rest.is_empty() {
        let mut tail = [0; 4];
        tail[..rest.len()].copy_from_slice(rest);
        hash = (hash ^ u32::from_le_bytes(tail)).wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers of Kafka's own `UtilsTest.testMurmur2`.
    #[test]
    fn murmur2_gives_the_known_answers_of_kafkas_own_test() {
        let known: [(&str, i32); 5] = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
        ];
        for (key, hash) in known {
            assert_eq!(murmur2(key.as_bytes()) as i32, hash, "{key}");
        }
    }

    #[test]
    fn every_topic_leads_back_to_its_context() {
        for context in Context::ALL {
            assert_eq!(Context::from_topic(context.topic()), Some(context));
            assert_eq!(context.name().parse(), Ok(context));
        }
    }
}
