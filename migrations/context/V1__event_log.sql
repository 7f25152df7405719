-- The event log of one context, and what is written together with it.
--
-- Applied to each context's schema (orders, inventory, payments, shipping) by the owner of the database, with
-- search_path set to that schema: no schema is named here. The context's processes connect as tradewind_<schema>, who may
-- read everything here, and write through the function append() alone (the grants stand at the end).
--
-- The promise of the log: positions are 1, 2, 3, ... without a gap, and whoever sees a position sees all below it.

-- A temporary table must never stand in for one of these: pg_temp is searched last. For this migration only; the
-- function below keeps it.
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
    -- What does not fit into a record on Kafka (1,048,576 bytes by default) must not enter: the relay could never pass it.
    CONSTRAINT events_fit_the_broker CHECK (octet_length(payload::text) + octet_length(metadata::text) <= 921600)
);
COMMENT ON TABLE events IS 'The facts, in the order in which they were committed. Written by append() alone, never changed.';
COMMENT ON COLUMN events.position IS '1, 2, 3, ... without a gap, in commit order';
COMMENT ON COLUMN events.version IS '1, 2, 3, ... within the stream';
COMMENT ON COLUMN events.payload IS 'json, not jsonb: it is passed on as it came, byte by byte';
COMMENT ON COLUMN events.recorded_at IS 'when it was appended, by this server''s clock; the order is position, not this';

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
COMMENT ON TABLE idempotency_keys IS 'The answer that each request got, for whoever repeats the request. Positions are 0 when it wrote no events.';

CREATE TABLE checkpoints (
    consumer      text    NOT NULL,
    topic         text    NOT NULL,
    partition     integer NOT NULL,
    next_offset   bigint  NOT NULL,
    last_position bigint  NOT NULL,

    CONSTRAINT checkpoints_consumer_topic_partition PRIMARY KEY (consumer, topic, partition),
    CONSTRAINT checkpoints_next_offset_from_0 CHECK (next_offset >= 0)
);
COMMENT ON TABLE checkpoints IS 'What each consumer has handled. Moved in the transaction that holds the effect; Kafka''s committed offset is a courtesy.';

CREATE TABLE deadlines (
    id      text        NOT NULL,
    stream  text        NOT NULL,
    due_at  timestamptz NOT NULL,
    command json        NOT NULL,

    CONSTRAINT deadlines_id PRIMARY KEY (id)
);
CREATE INDEX deadlines_due_at ON deadlines (due_at, id);
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
COMMENT ON COLUMN parked_events.position IS 'null when the record could not be read so far';

-- The relay's one row: who relays, until when, and how far it is.
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
COMMENT ON COLUMN relay.lease_epoch IS 'raised with each taking of the lease: a holder of an older epoch moves nothing';
COMMENT ON COLUMN relay.cursor IS 'the last position that the broker acknowledged';

-- A position is (epoch, number). The epoch changes only when the log is restored from a backup.
CREATE TABLE log_epoch (
    only_row boolean NOT NULL DEFAULT true,
    epoch    bigint  NOT NULL,

    CONSTRAINT log_epoch_only_row PRIMARY KEY (only_row),
    CONSTRAINT log_epoch_one_row CHECK (only_row),
    CONSTRAINT log_epoch_from_1 CHECK (epoch >= 1)
);
INSERT INTO log_epoch (epoch) VALUES (1);

---------------------------------------------------------------------------------------------------------------------
-- append(): the one way into the log
---------------------------------------------------------------------------------------------------------------------
--
-- Takes a batch of commands, judges them one after another, and writes what those that pass have to write. Returns one
-- row for each command, in order. `outcome` is one of
--
--   appended         first_position and last_position say where (both 0 when the command has no events)
--   answered         its idempotency key was answered before, for the same request: answer_*, first_ and last_position
--   key_reused       its idempotency key was used for another request
--   checkpoint_lost  the checkpoint of its move number `subject` is at `actual`
--   conflict         the stream of its write number `subject` is at version `actual`
--
-- A command that does not pass writes nothing and touches no other command of the batch; later commands see what
-- earlier ones did. It must be the last thing that its transaction does: the lock is held until the commit.
--
-- Why it is right:
--   1. The transaction's advisory lock comes first: one batch at a time, from the judgement to the visible commit
--      (PostgreSQL releases locks after the commit is visible to others).
--   2. The head, the keys and the versions are read after it, each by a statement with a snapshot of its own. That is
--      so under READ COMMITTED alone: under any other level the snapshot could be older than the lock. Others are refused.
--   3. So positions are given in commit order, and a position is never given twice or lost.
--   4. Lock, then keys, then checkpoints, then versions, always: two batches cannot wait for each other.
--
-- How the batch is written down: as parallel arrays. Streams, keys and checkpoints are named once and referred to by
-- their ordinal (from 1). command_* has one element for each command; it says how many moves, writes and events are its
-- own, and these follow one another in the order of the commands.
CREATE FUNCTION append(
    streams              text[],     -- each stream once
    keys                 text[],     -- each idempotency key once
    command_keys         integer[],  -- ordinal in keys, or null
    command_fingerprints bytea[],
    command_statuses     smallint[],
    command_bodies       json[],
    command_moves        integer[],
    command_writes       integer[],
    command_events       integer[],

    checkpoint_consumers  text[],    -- each checkpoint once
    checkpoint_topics     text[],
    checkpoint_partitions integer[],
    move_checkpoints      integer[], -- ordinal in checkpoint_*
    move_from_offsets     bigint[],
    move_to_offsets       bigint[],
    move_last_positions   bigint[],

    write_streams  integer[],        -- ordinal in streams
    write_versions integer[],        -- the version that the stream must have
    write_events   integer[],        -- 0: check only

    event_commands        integer[], -- ordinal of its command
    event_ordinals        integer[], -- 1, 2, 3, ... within its command
    event_streams         integer[], -- ordinal in streams
    event_versions        integer[],
    event_ids             uuid[],
    event_types           text[],
    event_schema_versions smallint[],
    event_payloads        json[],
    event_metadata        json[],

    deadline_commands integer[],     -- ordinal of its command
    deadline_ids      text[],
    deadline_streams  text[],
    deadline_due_ats  timestamptz[], -- null: the deadline is cleared
    deadline_bodies   json[],

    parked_commands   integer[],     -- ordinal of its command
    parked_consumers  text[],
    parked_topics     text[],
    parked_partitions integer[],
    parked_offsets    bigint[],
    parked_streams    text[],
    parked_positions  bigint[],
    parked_keys       bytea[],
    parked_payloads   bytea[],
    parked_reasons    text[]
)
RETURNS TABLE (
    outcome            text,
    first_position     bigint,
    last_position      bigint,
    recorded_at        timestamptz,
    subject            integer,
    actual             bigint,
    answer_status      smallint,
    answer_body        json,
    answer_fingerprint bytea
)
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
SET search_path FROM CURRENT
-- Plans are kept for the life of the connection. One that was made while the tables were empty must not scan them when
-- they have grown: every look-up here is by index.
SET enable_seqscan = off
SET plan_cache_mode = force_generic_plan
-- Somebody holds the log: better an error than a pile of waiting backends.
SET lock_timeout = '10s'
AS $$
DECLARE
    commands integer := cardinality(command_writes);
    head     bigint;
    at_time  timestamptz;

    -- By ordinal: how the streams, checkpoints and keys stand, first in the tables, then with what this batch changes.
    versions         integer[];
    offsets          bigint[];
    last_positions   bigint[];
    key_fingerprints bytea[];
    key_statuses     smallint[];
    key_bodies       json[];
    key_firsts       bigint[];
    key_lasts        bigint[];
    key_times        timestamptz[];

    -- By ordinal: what this batch changed.
    claimed boolean[] := array_fill(false, ARRAY[cardinality(keys)]);
    moved   boolean[] := array_fill(false, ARRAY[cardinality(checkpoint_topics)]);

    -- By command: what became of it. `bases` is the position before its first event, null when it did not pass.
    outcomes text[]    := array_fill(NULL::text, ARRAY[commands]);
    bases    bigint[]  := array_fill(NULL::bigint, ARRAY[commands]);
    subjects integer[] := array_fill(NULL::integer, ARRAY[commands]);
    actuals  bigint[]  := array_fill(NULL::bigint, ARRAY[commands]);

    k           integer; -- the command's key
    s           integer; -- the write's stream
    moves_from  integer;
    moves_to    integer := 0;
    writes_from integer;
    writes_to   integer := 0;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'append() needs the isolation level read committed, not %', current_setting('transaction_isolation')
            USING ERRCODE = 'TW001';
    END IF;

    -- First the lock. The table's oid makes it this log's own; 0x5457 is "TW".
    PERFORM pg_advisory_xact_lock(x'5457'::integer, 'events'::regclass::oid::integer);

    -- How things stand, now that nobody else changes them.
    at_time := clock_timestamp();
    SELECT coalesce(max(e.position), 0) INTO head FROM events e;

    IF cardinality(keys) > 0 THEN
        SELECT array_agg(i.fingerprint ORDER BY named.ordinal), array_agg(i.status ORDER BY named.ordinal),
               array_agg(i.body ORDER BY named.ordinal), array_agg(i.first_position ORDER BY named.ordinal),
               array_agg(i.last_position ORDER BY named.ordinal), array_agg(i.answered_at ORDER BY named.ordinal)
          INTO key_fingerprints, key_statuses, key_bodies, key_firsts, key_lasts, key_times
          FROM unnest(keys) WITH ORDINALITY AS named (key, ordinal)
          LEFT JOIN LATERAL (SELECT * FROM idempotency_keys i WHERE i.key = named.key LIMIT 1) i ON true;
    END IF;
    IF cardinality(checkpoint_topics) > 0 THEN
        SELECT array_agg(coalesce(p.next_offset, 0) ORDER BY named.ordinal),
               array_agg(coalesce(p.last_position, 0) ORDER BY named.ordinal)
          INTO offsets, last_positions
          FROM unnest(checkpoint_consumers, checkpoint_topics, checkpoint_partitions)
               WITH ORDINALITY AS named (consumer, topic, partition, ordinal)
          LEFT JOIN LATERAL (
               SELECT * FROM checkpoints p
                WHERE p.consumer = named.consumer AND p.topic = named.topic AND p.partition = named.partition LIMIT 1
          ) p ON true;
    END IF;
    SELECT array_agg(
               coalesce((SELECT e.version FROM events e WHERE e.stream = named.stream ORDER BY e.version DESC LIMIT 1), 0)
               ORDER BY named.ordinal)
      INTO versions
      FROM unnest(streams) WITH ORDINALITY AS named (stream, ordinal);

    -- One command after another.
    <<each_command>> -- c a command, m one of its moves, w one of its writes
    FOR c IN 1 .. commands LOOP
        moves_from  := moves_to + 1;
        moves_to    := moves_to + command_moves[c];
        writes_from := writes_to + 1;
        writes_to   := writes_to + command_writes[c];

        -- Is its key answered already, before this batch or within it?
        k := command_keys[c];
        IF key_fingerprints[k] IS NOT NULL THEN
            outcomes[c] := CASE WHEN key_fingerprints[k] = command_fingerprints[c] THEN 'answered' ELSE 'key_reused' END;
            CONTINUE each_command;
        END IF;

        -- Are its checkpoints where it left them? Before the versions: a consumer that was replaced must hear that.
        FOR m IN moves_from .. moves_to LOOP
            IF offsets[move_checkpoints[m]] <> move_from_offsets[m] THEN
                outcomes[c] := 'checkpoint_lost';
                subjects[c] := m;
                actuals[c]  := offsets[move_checkpoints[m]];
                CONTINUE each_command;
            END IF;
        END LOOP;

        -- Are its streams at the versions that it decided on? Each write moves its stream on, for those after it.
        FOR w IN writes_from .. writes_to LOOP
            s := write_streams[w];
            IF versions[s] <> write_versions[w] THEN
                FOR undone IN writes_from .. w - 1 LOOP
                    versions[write_streams[undone]] := versions[write_streams[undone]] - write_events[undone];
                END LOOP;
                outcomes[c] := 'conflict';
                subjects[c] := w;
                actuals[c]  := versions[s];
                CONTINUE each_command;
            END IF;
            versions[s] := versions[s] + write_events[w];
        END LOOP;

        -- It passes.
        FOR m IN moves_from .. moves_to LOOP
            offsets[move_checkpoints[m]]        := move_to_offsets[m];
            last_positions[move_checkpoints[m]] := move_last_positions[m];
            moved[move_checkpoints[m]]          := true;
        END LOOP;
        outcomes[c] := 'appended';
        bases[c]    := head;
        head        := head + command_events[c];
        IF k IS NOT NULL THEN
            claimed[k]          := true;
            key_fingerprints[k] := command_fingerprints[c];
            key_statuses[k]     := command_statuses[c];
            key_bodies[k]       := command_bodies[c];
            key_firsts[k]       := CASE WHEN command_events[c] > 0 THEN bases[c] + 1 ELSE 0 END;
            key_lasts[k]        := CASE WHEN command_events[c] > 0 THEN head ELSE 0 END;
            key_times[k]        := at_time;
        END IF;
    END LOOP;

    -- Everything is judged. Write. There is no ON CONFLICT on events: what the loop let pass fits.
    INSERT INTO events (position, stream, version, event_id, type, schema_version, payload, metadata, recorded_at)
    SELECT bases[e.command] + e.ordinal, streams[e.stream], e.version, e.id, e.type, e.schema_version, e.payload,
           e.metadata, at_time
      FROM unnest(event_commands, event_ordinals, event_streams, event_versions, event_ids, event_types,
                  event_schema_versions, event_payloads, event_metadata)
           AS e (command, ordinal, stream, version, id, type, schema_version, payload, metadata)
     WHERE bases[e.command] IS NOT NULL;

    IF cardinality(keys) > 0 THEN
        INSERT INTO idempotency_keys (key, fingerprint, status, body, first_position, last_position, answered_at)
        SELECT a.key, a.fingerprint, a.status, a.body, a.first_position, a.last_position, a.answered_at
          FROM unnest(keys, key_fingerprints, key_statuses, key_bodies, key_firsts, key_lasts, key_times, claimed)
               AS a (key, fingerprint, status, body, first_position, last_position, answered_at, is_new)
         WHERE a.is_new;
    END IF;

    IF cardinality(checkpoint_topics) > 0 THEN
        INSERT INTO checkpoints AS p (consumer, topic, partition, next_offset, last_position)
        SELECT n.consumer, n.topic, n.partition, n.next_offset, n.last_position
          FROM unnest(checkpoint_consumers, checkpoint_topics, checkpoint_partitions, offsets, last_positions, moved)
               AS n (consumer, topic, partition, next_offset, last_position, is_moved)
         WHERE n.is_moved
            ON CONFLICT ON CONSTRAINT checkpoints_consumer_topic_partition
            DO UPDATE SET next_offset = excluded.next_offset, last_position = excluded.last_position;
    END IF;

    IF cardinality(deadline_ids) > 0 THEN
        -- Of several changes to one deadline the last one counts.
        WITH changes AS (
            SELECT DISTINCT ON (d.id) d.id, d.stream, d.due_at, d.body
              FROM unnest(deadline_commands, deadline_ids, deadline_streams, deadline_due_ats, deadline_bodies)
                   WITH ORDINALITY AS d (command, id, stream, due_at, body, ordinal)
             WHERE bases[d.command] IS NOT NULL
             ORDER BY d.id, d.ordinal DESC
        ), cleared AS (
            DELETE FROM deadlines USING changes WHERE deadlines.id = changes.id AND changes.due_at IS NULL
        )
        INSERT INTO deadlines (id, stream, due_at, command)
        SELECT changes.id, changes.stream, changes.due_at, changes.body FROM changes WHERE changes.due_at IS NOT NULL
            ON CONFLICT ON CONSTRAINT deadlines_id
            DO UPDATE SET stream = excluded.stream, due_at = excluded.due_at, command = excluded.command;
    END IF;

    IF cardinality(parked_topics) > 0 THEN
        -- The same record parked again is the same record.
        INSERT INTO parked_events
               (consumer, topic, partition, record_offset, stream, position, key, payload, reason, parked_at)
        SELECT r.consumer, r.topic, r.partition, r.record_offset, r.stream, r.position, r.key, r.payload, r.reason, at_time
          FROM unnest(parked_commands, parked_consumers, parked_topics, parked_partitions, parked_offsets, parked_streams,
                      parked_positions, parked_keys, parked_payloads, parked_reasons)
               AS r (command, consumer, topic, partition, record_offset, stream, position, key, payload, reason)
         WHERE bases[r.command] IS NOT NULL
            ON CONFLICT ON CONSTRAINT parked_events_record DO NOTHING;
    END IF;

    RETURN QUERY
    SELECT o.outcome,
           CASE WHEN o.outcome = 'answered' THEN key_firsts[o.key] WHEN o.events > 0 THEN o.base + 1 ELSE 0 END,
           CASE WHEN o.outcome = 'answered' THEN key_lasts[o.key] WHEN o.events > 0 THEN o.base + o.events ELSE 0 END,
           CASE WHEN o.outcome = 'answered' THEN key_times[o.key] ELSE at_time END,
           o.subject,
           o.actual,
           CASE WHEN o.outcome = 'answered' THEN key_statuses[o.key] END,
           CASE WHEN o.outcome = 'answered' THEN key_bodies[o.key] END,
           CASE WHEN o.outcome = 'answered' THEN key_fingerprints[o.key] END
      FROM unnest(outcomes, bases, command_events, command_keys, subjects, actuals)
           WITH ORDINALITY AS o (outcome, base, events, key, subject, actual, ordinal)
     ORDER BY o.ordinal;
END
$$;
COMMENT ON FUNCTION append IS 'The one way into the log: judges a batch of commands under the log''s lock and writes those that pass.';

---------------------------------------------------------------------------------------------------------------------
-- Who may do what: append-only is a fact of these grants
---------------------------------------------------------------------------------------------------------------------

DO $$
DECLARE
    role text := format('tradewind_%s', current_schema());
BEGIN
    EXECUTE format('REVOKE ALL ON SCHEMA %I FROM PUBLIC', current_schema());
    EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA %I FROM PUBLIC, %I', current_schema(), role);
    EXECUTE 'REVOKE ALL ON FUNCTION append FROM PUBLIC';

    EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', current_schema(), role);
    EXECUTE format('GRANT EXECUTE ON FUNCTION append TO %I', role);
    EXECUTE format('GRANT SELECT ON events, idempotency_keys, checkpoints, deadlines, parked_events, relay, log_epoch TO %I', role);
    -- The relay's lease and cursor are moved by compare-and-set (platform/event-store/src/relay_state.rs).
    EXECUTE format('GRANT UPDATE ON relay TO %I', role);
    -- Every query of these processes is a look-up by an index. A plan that was made while a table was small must not scan it
    -- when it has grown.
    EXECUTE format('ALTER ROLE %I IN DATABASE %I SET enable_seqscan = off', role, current_database());
    -- Old answers are forgotten; none is changed (platform/event-store/src/answers.rs).
    EXECUTE format('GRANT DELETE ON idempotency_keys TO %I', role);
END
$$;
