//! The name of a stream.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The name of a stream, `<category>-<key>`: `order-<uuid>`, `stock-<sku>`. Also the key of the stream's records on Kafka.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StreamId(String);

impl StreamId {
    /// The stream of `category` with this key. A category holds no hyphen; a key may.
    pub fn new(category: &str, key: impl fmt::Display) -> Self {
        debug_assert!(!category.contains('-'), "{category:?} holds a hyphen");
        Self(format!("{category}-{key}"))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `order`, `stock`, …: the text before the first hyphen.
    pub fn category(&self) -> &str {
        self.0.split_once('-').map_or(self.0.as_str(), |(category, _)| category)
    }

    /// The text after the first hyphen: a uuid, or a SKU.
    pub fn key(&self) -> &str {
        self.0.split_once('-').map_or("", |(_, key)| key)
    }
}

impl From<String> for StreamId {
    /// For names read back from the log or the wire; new ones are made by [`StreamId::new`].
    fn from(name: String) -> Self {
        Self(name)
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
