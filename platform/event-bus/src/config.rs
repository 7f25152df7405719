//! The Kafka cluster, and the names of topics and consumer groups in it.
//!
//! No password is logged. The properties that a guarantee depends on are set after the user's, so the user cannot
//! weaken them.

use std::fmt;
use std::str::FromStr;

use clap::Args;
use event_log::ContextName;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::{ClientConfig, ClientContext};

/// How to reach Kafka; the options of every role include it.
#[derive(Args, Clone)]
pub struct BusConfig {
    /// Kafka's bootstrap servers: host:port, comma-separated.
    #[arg(long = "kafka-brokers", env = "KAFKA_BROKERS", value_name = "HOST:PORT,…")]
    pub brokers: String,
    /// Properties for librdkafka (TLS, SASL, tuning): key=value, comma-separated.
    #[arg(
        long = "kafka-properties",
        env = "KAFKA_PROPERTIES",
        value_name = "KEY=VALUE,…",
        value_delimiter = ',',
        hide_env_values = true
    )]
    pub properties: Vec<KafkaProperty>,
    /// Prefix of topics and consumer groups, so that several Tradewinds can share a cluster
    #[arg(long = "topic-prefix", env = "TOPIC_PREFIX", value_name = "PREFIX", default_value = "")]
    pub topic_prefix: String,
}

impl BusConfig {
    /// A plain cluster: no TLS, no further properties.
    pub fn plain(brokers: impl Into<String>, topic_prefix: impl Into<String>) -> Self {
        Self { brokers: brokers.into(), properties: Vec::new(), topic_prefix: topic_prefix.into() }
    }

    /// The full name of the context's topic.
    pub fn topic(&self, context: impl Into<ContextName>) -> String {
        format!("{}{}", self.topic_prefix, context.into().topic())
    }

    /// The context whose topic has this full name; none if it is not a topic of ours.
    pub fn context_of(&self, topic: &str) -> Option<ContextName> {
        ContextName::from_topic(topic.strip_prefix(&self.topic_prefix)?)
    }

    /// The full name of a consumer group.
    pub fn group(&self, name: &str) -> String {
        format!("{}{name}", self.topic_prefix)
    }

    /// Sets tuning first, then the user's properties, then the properties that a guarantee depends on.
    pub(crate) fn client(&self, tuning: &[(&str, &str)], guarantees: &[(&str, &str)]) -> ClientConfig {
        let mut client = ClientConfig::new();
        let defaults = [
            ("reconnect.backoff.ms", "50"),
            ("reconnect.backoff.max.ms", "1000"),
            ("topic.metadata.refresh.interval.ms", "10000"),
            ("log.connection.close", "false"),
        ];
        for (key, value) in defaults.iter().chain(tuning) {
            client.set(*key, *value);
        }
        for property in &self.properties {
            client.set(&property.key, &property.value);
        }
        client.set("bootstrap.servers", &self.brokers);
        for (key, value) in guarantees {
            client.set(*key, *value);
        }
        client
    }
}

impl fmt::Debug for BusConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BusConfig")
            .field("brokers", &self.brokers)
            .field("properties", &self.properties)
            .field("topic_prefix", &self.topic_prefix)
            .finish()
    }
}

/// One property of librdkafka.
#[derive(Clone, PartialEq, Eq)]
pub struct KafkaProperty {
    pub key: String,
    pub value: String,
}

impl fmt::Debug for KafkaProperty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secret = ["password", "secret", "pem", "jaas"].iter().any(|word| self.key.contains(word));
        write!(f, "{}={}", self.key, if secret { "***" } else { &self.value })
    }
}

/// An invalid property.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be key=value, such as security.protocol=ssl")]
pub struct InvalidProperty;

impl FromStr for KafkaProperty {
    type Err = InvalidProperty;
    fn from_str(text: &str) -> Result<Self, InvalidProperty> {
        match text.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => {
                Ok(Self { key: key.trim().to_owned(), value: value.trim().to_owned() })
            }
            _ => Err(InvalidProperty),
        }
    }
}

/// Forwards librdkafka's log lines to our log.
pub(crate) fn log_line(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        // Remarks on settings that are intended here.
        _ if facility == "CONFWARN" => tracing::debug!(target: "librdkafka", facility, "{message}"),
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error
        | RDKafkaLogLevel::Warning => tracing::warn!(target: "librdkafka", facility, "{message}"),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
            tracing::info!(target: "librdkafka", facility, "{message}");
        }
        RDKafkaLogLevel::Debug => tracing::debug!(target: "librdkafka", facility, "{message}"),
    }
}

/// A client context that only logs.
pub(crate) struct Logged;

impl ClientContext for Logged {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log_line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "client");
    }
}

impl ConsumerContext for Logged {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_goes_before_topics_and_groups() {
        let config = BusConfig::plain("127.0.0.1:9092", "test-");
        assert_eq!(config.topic(ContextName::new("orders")), "test-orders.events");
        assert_eq!(config.group("projections"), "test-projections");
    }

    #[test]
    fn a_password_is_never_printed() {
        let mut config = BusConfig::plain("127.0.0.1:9092", "");
        config.properties = vec!["sasl.password=hunter2".parse().expect("key=value")];
        assert_eq!(
            format!("{config:?}"),
            r#"BusConfig { brokers: "127.0.0.1:9092", properties: [sasl.password=***], topic_prefix: "" }"#
        );
    }

    #[test]
    fn a_property_without_a_key_is_refused() {
        assert_eq!("=x".parse::<KafkaProperty>(), Err(InvalidProperty));
        assert_eq!("ssl".parse::<KafkaProperty>(), Err(InvalidProperty));
    }

    #[test]
    fn a_property_of_the_user_cannot_weaken_a_guarantee() {
        let mut config = BusConfig::plain("127.0.0.1:9092", "");
        config.properties = vec!["acks=1".parse().expect("key=value")];
        assert_eq!(config.client(&[], &[("acks", "all")]).get("acks"), Some("all"));
    }
}
