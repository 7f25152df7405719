//! Why something could not be checked. It says nothing about what the check would have found.

use rdkafka::error::KafkaError;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the database of {owner} cannot be reached: {cause}")]
    Unreachable { owner: String, cause: String },
    #[error("the database of {owner} fails")]
    Database { owner: String, source: tokio_postgres::Error },
    #[error("Kafka fails for topic {topic}")]
    Kafka { topic: String, source: KafkaError },
    #[error("Kafka returns no record of topic {topic} from offset {offset} on")]
    Silent { topic: String, offset: i64 },
    #[error("stopped before the end")]
    Stopped,
    #[error("the verification itself failed: {cause}")]
    Broken { cause: String },
}

impl Error {
    pub fn database(owner: &str, source: tokio_postgres::Error) -> Self {
        Self::Database { owner: owner.to_owned(), source }
    }

    pub(crate) fn kafka(topic: &str, source: KafkaError) -> Self {
        Self::Kafka { topic: topic.to_owned(), source }
    }

    /// With its causes, in one line.
    pub fn in_full(&self) -> String {
        let causes = std::iter::successors(std::error::Error::source(self), |cause| cause.source());
        causes.fold(self.to_string(), |text, cause| format!("{text}: {cause}"))
    }
}

/// A task of this crate that ended by a panic.
pub(crate) fn panicked(panic: tokio::task::JoinError) -> Error {
    Error::Broken { cause: panic.to_string() }
}
