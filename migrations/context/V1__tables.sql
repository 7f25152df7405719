-- The event log of one context, and the tables that are written together with it.
--
-- The owner of the database applies this to each context's schema, with search_path set to that schema, so no schema is
-- named here. The context's processes connect as tradewind_<schema>. That role may read everything here and write only
-- through the functions (functions/*.sql, grants.sql).
--
-- The invariant of the log: positions are 1, 2, 3, ... without a gap, and a reader that sees a position sees all below it.

-- pg_temp is searched last, so that no temporary table can replace one of these. For this migration only.
SELECT set_config('search_path', format('%I, pg_temp', current_schema()), true);

---------------------------------------------------------------------------------------------------------------------
-- Tables
---------------------------------------------------------------------------------------------------------------------

CREATE TABLE events (
    position       bigint      NOT NULL,
    stream         text        NOT NULL,
    version        integer     NOT NULL,
    event_id       uuid        NOT NULL,
    type           text        NOT NULL,
    schema_version smallint    NOT NULL,
    payload        json        NOT NULL,
    metadata       json        NOT NULL,
    recorded_at    timestamptz NOT NULL,

    CONSTRAINT events_position PRIMARY KEY (position),
    CONSTRAINT events_stream_version UNIQUE (stream, version),
    CONSTRAINT events_position_from_1 CHECK (position >= 1),
    CONSTRAINT events_version_from_1 CHECK (version >= 1),
    CONSTRAINT events_schema_version_from_1 CHECK (schema_version >= 1),
    CONSTRAINT events_stream_named CHECK (length(stream) BETWEEN 1 AND 200),
    -- An event that does not fit into a record on Kafka (1,048,576 bytes by default) must not enter the log: the relay
    -- could never publish it.
    CONSTRAINT events_fit_the_broker CHECK (octet_length(payload::text) + octet_length(metadata::text) <= 921600)
);
COMMENT ON TABLE events IS 'The facts, in the order in which they were committed. Written by append() alone, never changed.';
COMMENT ON COLUMN events.position IS '1, 2, 3, ... without a gap, in commit order';
COMMENT ON COLUMN events.version IS '1, 2, 3, ... within the stream';
COMMENT ON COLUMN events.payload IS 'json, not jsonb: it is passed on byte for byte';
COMMENT ON COLUMN events.recorded_at IS 'when it was appended, by this server''s clock; events are ordered by position, not by this';

CREATE TABLE idempotency_keys (
    key            text        NOT NULL,
    fingerprint    bytea       NOT NULL,
    status         smallint    NOT NULL,
    body           json        NOT NULL,
    first_position bigint      NOT NULL,
    last_position  bigint      NOT NULL,
    answered_at    timestamptz NOT NULL,

    CONSTRAINT idempotency_keys_key PRIMARY KEY (key),
    CONSTRAINT idempotency_keys_key_named CHECK (length(key) BETWEEN 1 AND 255),
    CONSTRAINT idempotency_keys_fingerprint_is_sha256 CHECK (octet_length(fingerprint) = 32),
    CONSTRAINT idempotency_keys_status_is_http CHECK (status BETWEEN 100 AND 599)
);
CREATE INDEX idempotency_keys_answered_at ON idempotency_keys (answered_at);
COMMENT ON TABLE idempotency_keys IS 'The answer to each request, for its repetitions. Positions are 0 when it wrote no events.';

CREATE TABLE checkpoints (
    consumer      text    NOT NULL,
    topic         text    NOT NULL,
    partition     integer NOT NULL,
    next_offset   bigint  NOT NULL,
    last_position bigint  NOT NULL,
    epoch         bigint  NOT NULL DEFAULT 1,

    CONSTRAINT checkpoints_consumer_topic_partition PRIMARY KEY (consumer, topic, partition),
    CONSTRAINT checkpoints_next_offset_from_0 CHECK (next_offset >= 0)
);
COMMENT ON TABLE checkpoints IS 'What each consumer has handled. Moved in the transaction of the effect; Kafka''s committed offset is only for tools that show lag.';
COMMENT ON COLUMN checkpoints.epoch IS 'the epoch of the log that last_position belongs to; `tradewind reconcile` sets it, and the default with it';

CREATE TABLE deadlines (
    id      text        NOT NULL,
    stream  text        NOT NULL,
    due_at  timestamptz NOT NULL,
    command json        NOT NULL,

    CONSTRAINT deadlines_id PRIMARY KEY (id)
);
CREATE INDEX deadlines_due_at ON deadlines (due_at, id);
-- Requests that the payment provider refused permanently: the readiness check lists them every few seconds.
CREATE INDEX deadlines_refused ON deadlines (id) WHERE command->>'refused' IS NOT NULL;
COMMENT ON TABLE deadlines IS 'The commands to give when a wait ran out. Set and cleared in the transaction that starts and ends the wait.';

CREATE TABLE parked_events (
    consumer      text        NOT NULL,
    topic         text        NOT NULL,
    partition     integer     NOT NULL,
    record_offset bigint      NOT NULL,
    stream        text        NOT NULL,
    position      bigint,
    key           bytea       NOT NULL,
    payload       bytea       NOT NULL,
    reason        text        NOT NULL,
    parked_at     timestamptz NOT NULL,

    CONSTRAINT parked_events_record PRIMARY KEY (consumer, topic, partition, record_offset)
);
CREATE INDEX parked_events_consumer_stream ON parked_events (consumer, stream);
COMMENT ON TABLE parked_events IS 'Records that a consumer cannot handle, and the later ones of the same streams behind them.';
COMMENT ON COLUMN parked_events.position IS 'null if the record''s position could not be read';

-- Only discard_parked() writes this table; its rows never change.
CREATE TABLE discarded_events (
    discarded_no  bigint      GENERATED ALWAYS AS IDENTITY,
    consumer      text        NOT NULL,
    topic         text        NOT NULL,
    partition     integer     NOT NULL,
    record_offset bigint      NOT NULL,
    stream        text        NOT NULL,
    position      bigint,
    key           bytea       NOT NULL,
    payload       bytea       NOT NULL,
    reason        text        NOT NULL,
    parked_at     timestamptz NOT NULL,
    discarded_at  timestamptz NOT NULL,
    discarded_by  text        NOT NULL,
    because       text        NOT NULL,

    CONSTRAINT discarded_events_no PRIMARY KEY (discarded_no),
    CONSTRAINT discarded_events_by_somebody CHECK (length(discarded_by) BETWEEN 1 AND 200),
    CONSTRAINT discarded_events_for_a_reason CHECK (length(because) BETWEEN 1 AND 2000)
);
COMMENT ON TABLE discarded_events IS 'Parked records that a person gave up, as they were, with who, when and why.';
COMMENT ON COLUMN discarded_events.reason IS 'why it was parked';
COMMENT ON COLUMN discarded_events.because IS 'why it was discarded';

-- The relay's row: lease holder, expiry, cursor.
CREATE TABLE relay (
    only_row         boolean     NOT NULL DEFAULT true,
    holder           text        NOT NULL,
    lease_epoch      bigint      NOT NULL,
    lease_expires_at timestamptz NOT NULL,
    cursor           bigint      NOT NULL,

    CONSTRAINT relay_only_row PRIMARY KEY (only_row),
    CONSTRAINT relay_one_row CHECK (only_row),
    CONSTRAINT relay_cursor_from_0 CHECK (cursor >= 0)
);
INSERT INTO relay (holder, lease_epoch, lease_expires_at, cursor) VALUES ('', 0, 'epoch', 0);
COMMENT ON COLUMN relay.lease_epoch IS 'raised with each acquisition of the lease: a holder with an older epoch moves nothing';
COMMENT ON COLUMN relay.cursor IS 'the last position that the broker acknowledged';

-- A position is (epoch, number). The epoch changes only when the log is restored from a backup.
CREATE TABLE log_epoch (
    only_row       boolean NOT NULL DEFAULT true,
    epoch          bigint  NOT NULL,
    reconciling_to bigint,

    CONSTRAINT log_epoch_only_row PRIMARY KEY (only_row),
    CONSTRAINT log_epoch_one_row CHECK (only_row),
    CONSTRAINT log_epoch_from_1 CHECK (epoch >= 1)
);
INSERT INTO log_epoch (epoch) VALUES (1);
COMMENT ON COLUMN log_epoch.reconciling_to IS 'set while a reconciliation runs: the epoch after it';

-- Snapshots of aggregates with a long history, so that a command need not read all of it. Any row may be deleted at any
-- time, and is then written again. A row is only used while its shape is that of the code that reads it, and while the
-- log has the same event at that version (platform/event-store/src/snapshots.rs).
CREATE TABLE snapshots (
    stream   text        NOT NULL,
    version  integer     NOT NULL,
    event_id uuid        NOT NULL,
    shape    bigint      NOT NULL,
    state    text        NOT NULL,
    taken_at timestamptz NOT NULL,

    CONSTRAINT snapshots_stream PRIMARY KEY (stream),
    CONSTRAINT snapshots_version_from_1 CHECK (version >= 1)
);
COMMENT ON TABLE snapshots IS 'States of long streams. Written after the fact, beside the commands; deleting any or all of them is safe.';
COMMENT ON COLUMN snapshots.event_id IS 'of the last event in it: a restored log may have another event at that version';
COMMENT ON COLUMN snapshots.shape IS 'of the sources that folded it (platform/event-log/src/state.rs)';
