//! Every test of the topics, the publisher and the consumer on a real Kafka, in one program; `planted.rs` is another, since a mutant
//! concerns its whole process.

mod consumer;
mod consumer_stops;
mod publisher;
mod reader;
mod reader_checkpoints;
mod support;
mod tail;
