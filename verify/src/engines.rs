//! Where everything is: who connects to a database, how Kafka is reached, what the topics are called.
//!
//! Never: a URL or a password; whoever starts a verification makes the connections. Read next: `database.rs`, `topic.rs`.

use std::sync::Arc;

use events::Context;
use futures::future::BoxFuture;
use rdkafka::ClientConfig;
use tokio_postgres::Client;

use crate::Error;

/// Makes a connection to the database of an owner (a context, `readmodel`, `provider`), as a role that may read its
/// schema, or says why not.
pub type Connect = Arc<dyn Fn(&'static str) -> BoxFuture<'static, Result<Client, String>> + Send + Sync>;

pub const READ_MODEL: &str = "readmodel";
pub const PROVIDER: &str = "provider";

/// What a verification reads.
#[derive(Clone)]
pub struct Engines {
    pub connect: Connect,
    /// Properties of librdkafka: `bootstrap.servers`, and TLS and SASL where they are needed.
    pub kafka: Vec<(String, String)>,
    /// Stands before the name of every topic.
    pub topic_prefix: String,
}

impl Engines {
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn connect(&self, owner: &'static str) -> Result<Client, Error> {
        (self.connect)(owner).await.map_err(|cause| Error::Unreachable { owner, cause })
    }

    pub fn topic(&self, context: Context) -> String {
        format!("{}{}", self.topic_prefix, context.topic())
    }

    /// The context and the place in [`Context::ALL`] of a topic that is named in full.
    pub fn context_of(&self, topic: &str) -> Option<Context> {
        Context::ALL.into_iter().find(|context| self.topic(*context) == topic)
    }

    pub(crate) fn client(&self, ours: &[(&str, &str)]) -> ClientConfig {
        let mut client = ClientConfig::new();
        for (key, value) in &self.kafka {
            client.set(key, value);
        }
        for (key, value) in ours {
            client.set(*key, *value);
        }
        client
    }
}

/// The place of a context in an array with one element for each.
pub(crate) fn index(context: Context) -> usize {
    match context {
        Context::Orders => 0,
        Context::Inventory => 1,
        Context::Payments => 2,
        Context::Shipping => 3,
    }
}
