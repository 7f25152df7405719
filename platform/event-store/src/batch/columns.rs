//! The columns of a batch: the commands, encoded as parameters of the SQL function.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::LazyLock;

use chrono::{DateTime, Utc};
use event_log::CheckpointMove;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio_postgres::types::{Json, ToSql};
use uuid::Uuid;

use super::Command;
use crate::append::{DeadlineChange, IdempotencyClaim, ParkedEvent, Prepared, StreamWrite};

/// Declares the columns of a batch once. Each is a parameter of the same name of the SQL function `append`.
macro_rules! columns {
    ($($name:ident: $type:ty,)+) => {
        #[derive(Default)]
        pub(super) struct Columns<'a> {
            $($name: $type,)+
            checkpoints: Ordinals<(&'a str, &'a str, i32)>,
            /// Indexed by the ordinals that the function's `subject` refers to.
            pub(super) moves: Vec<&'a CheckpointMove>,
            pub(super) writes: Vec<&'a StreamWrite>,
        }

        /// Parameters are named in the call, so their order does not matter.
        pub(super) static STATEMENT: LazyLock<String> = LazyLock::new(|| {
            let names = [$(stringify!($name)),+];
            let parameters = (1..).zip(names).map(|(number, name)| format!("{name} => ${number}"));
            format!("SELECT * FROM append({})", parameters.collect::<Vec<_>>().join(", "))
        });

        impl Columns<'_> {
            pub(super) fn parameters(&self) -> Vec<&(dyn ToSql + Sync)> {
                vec![$(self.$name.column()),+]
            }
        }
    };
}

columns! {
    streams: Ordinals<&'a str>,
    keys: Ordinals<&'a str>,
    command_keys: Vec<Option<i32>>,
    command_fingerprints: Vec<Option<&'a [u8]>>,
    command_statuses: Vec<Option<i16>>,
    command_bodies: Vec<Option<Json<&'a Value>>>,
    command_moves: Vec<i32>,
    command_writes: Vec<i32>,
    command_events: Vec<i32>,

    checkpoint_consumers: Vec<&'a str>,
    checkpoint_topics: Vec<&'a str>,
    checkpoint_partitions: Vec<i32>,
    move_checkpoints: Vec<i32>,
    move_from_offsets: Vec<i64>,
    move_to_offsets: Vec<i64>,
    move_last_positions: Vec<i64>,

    write_streams: Vec<i32>,
    write_versions: Vec<i32>,
    write_events: Vec<i32>,

    event_commands: Vec<i32>,
    event_ordinals: Vec<i32>,
    event_streams: Vec<i32>,
    event_versions: Vec<i32>,
    event_ids: Vec<Uuid>,
    event_types: Vec<&'static str>,
    event_schema_versions: Vec<i16>,
    event_payloads: Vec<Json<&'a RawValue>>,
    event_metadata: Vec<Json<&'a RawValue>>,

    deadline_commands: Vec<i32>,
    deadline_ids: Vec<&'a str>,
    deadline_streams: Vec<Option<&'a str>>,
    deadline_due_ats: Vec<Option<DateTime<Utc>>>,
    deadline_bodies: Vec<Option<Json<&'a Value>>>,

    parked_commands: Vec<i32>,
    parked_consumers: Vec<&'a str>,
    parked_topics: Vec<&'a str>,
    parked_partitions: Vec<i32>,
    parked_offsets: Vec<i64>,
    parked_streams: Vec<&'a str>,
    parked_positions: Vec<Option<i64>>,
    parked_keys: Vec<&'a [u8]>,
    parked_payloads: Vec<&'a [u8]>,
    parked_reasons: Vec<&'a str>,

    dependent_commands: Vec<i32>,
    dependencies: Vec<i32>,
}

/// A column as a parameter.
trait Column {
    fn column(&self) -> &(dyn ToSql + Sync);
}

impl<T: ToSql + Sync> Column for Vec<T> {
    fn column(&self) -> &(dyn ToSql + Sync) {
        self
    }
}

impl<T: ToSql + Sync> Column for Ordinals<T> {
    fn column(&self) -> &(dyn ToSql + Sync) {
        &self.values
    }
}

impl<'a> Columns<'a> {
    pub(super) fn of(batch: &[Command<'a>]) -> Self {
        let mut columns = Self::default();
        for (command, Command { prepared, depends_on }) in (1..).zip(batch) {
            for index in depends_on {
                columns.dependent_commands.push(command);
                columns.dependencies.push(i32::try_from(*index).expect("a batch has few commands") + 1);
            }
            columns.add_claim(prepared);
            columns.add_moves(prepared);
            columns.add_writes(command, prepared);
            columns.add_deadlines(command, &prepared.append.deadlines);
            columns.add_parked(command, &prepared.append.parked);
        }
        columns
    }

    fn add_claim(&mut self, prepared: &'a Prepared) {
        let claim = prepared.append.claim.as_ref();
        self.command_keys.push(claim.map(|claim| self.keys.of(&claim.key)));
        self.command_fingerprints.push(claim.map(|claim| &claim.fingerprint[..]));
        // The table's constraint refuses an invalid status.
        let status = |claim: &IdempotencyClaim| i16::try_from(claim.answer.status).unwrap_or(i16::MAX);
        self.command_statuses.push(claim.map(status));
        self.command_bodies.push(claim.map(|claim| Json(&claim.answer.body)));
    }

    fn add_moves(&mut self, prepared: &'a Prepared) {
        self.command_moves.push(count(&prepared.append.checkpoints));
        for checkpoint in &prepared.append.checkpoints {
            let key = (checkpoint.consumer.as_str(), checkpoint.topic.as_str(), checkpoint.partition);
            let ordinal = self.checkpoints.of(key);
            if self.checkpoint_topics.len() < self.checkpoints.values.len() {
                self.checkpoint_consumers.push(key.0);
                self.checkpoint_topics.push(key.1);
                self.checkpoint_partitions.push(key.2);
            }
            self.move_checkpoints.push(ordinal);
            self.move_from_offsets.push(checkpoint.from_offset);
            self.move_to_offsets.push(checkpoint.to_offset);
            self.move_last_positions.push(checkpoint.last_position);
            self.moves.push(checkpoint);
        }
    }

    fn add_writes(&mut self, command: i32, prepared: &'a Prepared) {
        self.command_writes.push(count(&prepared.append.writes));
        self.command_events.push(count(&prepared.metadata));
        let mut encoded = (1..).zip(&prepared.metadata);
        for write in &prepared.append.writes {
            let stream = self.streams.of(write.stream.as_str());
            self.write_streams.push(stream);
            self.write_versions.push(write.expected_version);
            self.write_events.push(count(&write.events));
            self.writes.push(write);
            for (version, (new, (ordinal, metadata))) in
                (write.expected_version.saturating_add(1)..).zip(write.events.iter().zip(&mut encoded))
            {
                self.event_commands.push(command);
                self.event_ordinals.push(ordinal);
                self.event_streams.push(stream);
                self.event_versions.push(version);
                self.event_ids.push(new.event_id);
                self.event_types.push(new.event_type);
                self.event_schema_versions
                    .push(i16::try_from(new.schema_version).expect("schema versions are small"));
                self.event_payloads.push(Json(&new.payload));
                self.event_metadata.push(Json(metadata));
            }
        }
    }

    fn add_deadlines(&mut self, command: i32, changes: &'a [DeadlineChange]) {
        for change in changes {
            let (id, set) = match change {
                DeadlineChange::Set { id, stream, due_at, command } => (id, Some((stream, due_at, command))),
                DeadlineChange::Clear { id } => (id, None),
            };
            self.deadline_commands.push(command);
            self.deadline_ids.push(id);
            self.deadline_streams.push(set.map(|(stream, ..)| stream.as_str()));
            self.deadline_due_ats.push(set.map(|(_, due_at, _)| *due_at));
            self.deadline_bodies.push(set.map(|(.., body)| Json(body)));
        }
    }

    fn add_parked(&mut self, command: i32, parked: &'a [ParkedEvent]) {
        for record in parked {
            self.parked_commands.push(command);
            self.parked_consumers.push(&record.consumer);
            self.parked_topics.push(&record.topic);
            self.parked_partitions.push(record.partition);
            self.parked_offsets.push(record.offset);
            self.parked_streams.push(record.stream.as_str());
            self.parked_positions.push(record.position);
            self.parked_keys.push(&record.key);
            self.parked_payloads.push(&record.payload);
            self.parked_reasons.push(&record.reason);
        }
    }
}

fn count<T>(items: &[T]) -> i32 {
    i32::try_from(items.len()).expect("a command is bounded by its queue's bytes")
}

/// Numbers distinct values from 1, in the order of their first occurrence.
struct Ordinals<T> {
    values: Vec<T>,
    ordinals: HashMap<T, i32>,
}

impl<T> Default for Ordinals<T> {
    fn default() -> Self {
        Self { values: Vec::new(), ordinals: HashMap::new() }
    }
}

impl<T: Copy + Eq + Hash> Ordinals<T> {
    fn of(&mut self, value: T) -> i32 {
        *self.ordinals.entry(value).or_insert_with(|| {
            self.values.push(value);
            count(&self.values)
        })
    }
}
