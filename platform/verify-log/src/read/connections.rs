//! How a verification reaches the databases and Kafka. The caller makes the connections: no URL and no password comes in here.

use std::sync::Arc;

use futures::future::BoxFuture;
use rdkafka::ClientConfig;
use tokio_postgres::Client;

use crate::{Domain, Error};
use event_log::ContextName;

/// Connects to the database of an owner (a context, the read models, or another schema that a domain's own checks read), as a role that may read its schema, or says
/// why it cannot.
pub type Connect = Arc<dyn Fn(&str) -> BoxFuture<'static, Result<Client, String>> + Send + Sync>;

/// What a verification reads.
#[derive(Clone)]
pub struct Connections {
    pub connect: Connect,
    /// Properties of librdkafka: `bootstrap.servers`, and TLS and SASL where they are needed.
    pub kafka: Vec<(String, String)>,
    /// The first part of every topic's name.
    pub topic_prefix: String,
    /// How many partitions every topic has.
    pub topic_partitions: i32,
}

impl Connections {
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn connect(&self, owner: &str) -> Result<Client, Error> {
        (self.connect)(owner).await.map_err(|cause| Error::Unreachable { owner: owner.to_owned(), cause })
    }

    pub(crate) fn topic(&self, context: ContextName) -> String {
        format!("{}{}", self.topic_prefix, context.topic())
    }

    /// The context of a topic's full name.
    pub(crate) fn context_of_topic(&self, domain: &Domain, topic: &str) -> Option<ContextName> {
        domain.contexts.iter().copied().find(|context| self.topic(*context) == topic)
    }

    /// The caller's properties, and those of this crate over them.
    pub(crate) fn kafka_client(&self, properties: &[(&str, &str)]) -> ClientConfig {
        let mut client = ClientConfig::new();
        for (key, value) in &self.kafka {
            client.set(key, value);
        }
        for (key, value) in properties {
            client.set(*key, *value);
        }
        client
    }
}
