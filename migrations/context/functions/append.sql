-- append(): the only function that writes to the log.
--
-- Takes a batch of commands, checks them one after another, and writes the events and other rows of those that pass.
-- Returns one row for each command, in order. `outcome` is one of
--
--   appended           first_position and last_position are its positions (both 0 if the command has no events)
--   answered           its idempotency key was answered before, for the same request: answer_*, first_ and last_position
--   key_reused         its idempotency key was used for another request
--   dependency_failed  the command number `subject`, which it depends on, did not pass
--   checkpoint_lost    the checkpoint of its move number `subject` is at `actual`
--   conflict           the stream of its write number `subject` is at version `actual`
--
-- A command that does not pass writes nothing and affects no other command of the batch except its dependents; later commands see
-- the effects of earlier ones. The call must be the last statement of its transaction: the lock is held until the commit.
--
-- Why it is correct:
--   1. The transaction's advisory lock comes first: one batch at a time, from the check to the visible commit
--      (PostgreSQL releases locks after the commit is visible to others).
--   2. The head, the keys and the versions are read after it, each by a statement with its own snapshot. That
--      only holds under READ COMMITTED: under any other level the snapshot could be older than the lock. Others are refused.
--   3. So positions are assigned in commit order, and no position is assigned twice or lost.
--   4. Lock, then keys, then checkpoints, then versions, always: two batches cannot wait for each other.
--
-- The batch is encoded as parallel arrays. Streams, keys and checkpoints are named once and referred to by
-- their ordinal (from 1). command_* has one element for each command; it says how many moves, writes and events are its
-- own, and these follow one another in the order of the commands.
CREATE OR REPLACE FUNCTION append(
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
    parked_reasons    text[],

    -- Which command depends on which earlier one of the batch (docs/decisions/0014), in the order of the former. The
    -- version alone is not enough: another process may have brought the stream to the same version with other events.
    dependent_commands integer[] DEFAULT '{}',
    dependencies       integer[] DEFAULT '{}'
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
-- Plans are kept for the life of the connection. A plan that was made while the tables were empty must not scan them
-- when they have grown: every query here is an index look-up.
SET enable_seqscan = off
SET plan_cache_mode = force_generic_plan
-- If another session holds the log's lock for long, an error is better than a queue of waiting backends.
SET lock_timeout = '10s'
AS $$
DECLARE
    commands integer := cardinality(command_writes);
    head     bigint;
    at_time  timestamptz;

    -- By ordinal: the state of streams, checkpoints and keys, first from the tables, then with the changes of this
    -- batch.
    versions         integer[];
    offsets          bigint[];
    last_positions   bigint[];
    key_fingerprints bytea[];
    key_statuses     smallint[];
    key_bodies       json[];
    key_firsts       bigint[];
    key_lasts        bigint[];
    key_times        timestamptz[];

    -- By ordinal: what this batch changed. For a key, the command that claimed it.
    key_commands integer[];
    moved        boolean[] := array_fill(false, ARRAY[cardinality(checkpoint_topics)]);

    -- By command: its outcome. `bases` is the position before its first event, null if it did not pass.
    outcomes text[]    := array_fill(NULL::text, ARRAY[commands]);
    bases    bigint[]  := array_fill(NULL::bigint, ARRAY[commands]);
    subjects integer[] := array_fill(NULL::integer, ARRAY[commands]);
    actuals  bigint[]  := array_fill(NULL::bigint, ARRAY[commands]);

    keys_are_new boolean := true;

    k           integer; -- the command's key
    dependency  integer := 1;
    failed      integer; -- a dependency of the command that did not pass
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

    -- First the lock. The table's oid makes it specific to this log; 0x5457 is "TW".
    PERFORM pg_advisory_xact_lock(x'5457'::integer, 'events'::regclass::oid::integer);

    -- The current state, which no other session can change now.
    at_time := clock_timestamp();
    SELECT coalesce(max(e.position), 0) INTO head FROM events e;

    IF cardinality(keys) > 0 THEN
        -- A key is seldom a repeated one, and checking whether any is costs less than reading each.
        PERFORM FROM idempotency_keys i WHERE i.key = ANY (keys);
        keys_are_new     := NOT FOUND;
        key_fingerprints := array_fill(NULL::bytea, ARRAY[cardinality(keys)]);
        key_commands     := array_fill(NULL::integer, ARRAY[cardinality(keys)]);
    END IF;
    IF NOT keys_are_new THEN
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

    -- Often all streams are new. An existing stream has a version 1.
    IF 0 = ALL (write_versions) THEN
        PERFORM FROM events e WHERE e.stream = ANY (streams) AND e.version = 1;
        IF NOT FOUND THEN
            versions := array_fill(0, ARRAY[cardinality(streams)]);
        END IF;
    END IF;
    IF versions IS NULL THEN
        SELECT array_agg(
                   coalesce((SELECT e.version FROM events e WHERE e.stream = named.stream ORDER BY e.version DESC LIMIT 1), 0)
                   ORDER BY named.ordinal)
          INTO versions
          FROM unnest(streams) WITH ORDINALITY AS named (stream, ordinal);
    END IF;

    -- The fast path (docs/decisions/0016): no command depends on another or moves a checkpoint, each key is new and given
    -- once, each stream is written once and has the expected version. Then the loop below would let all of them pass.
    IF keys_are_new
       AND cardinality(array_remove(command_keys, NULL)) = cardinality(keys)
       AND cardinality(dependencies) = 0
       AND cardinality(checkpoint_topics) = 0
       AND write_streams = ARRAY(SELECT generate_series(1, cardinality(streams)))
       AND write_versions = versions
    THEN
        outcomes := array_fill('appended'::text, ARRAY[commands]);
        FOR c IN 1 .. commands LOOP
            bases[c] := head;
            head     := head + command_events[c];
        END LOOP;
        commands := 0; -- none is left to check
    END IF;

    -- One command after another.
    <<each_command>> -- c a command, m one of its moves, w one of its writes
    FOR c IN 1 .. commands LOOP
        moves_from  := moves_to + 1;
        moves_to    := moves_to + command_moves[c];
        writes_from := writes_to + 1;
        writes_to   := writes_to + command_writes[c];

        failed := NULL;
        WHILE dependent_commands[dependency] = c LOOP
            IF bases[dependencies[dependency]] IS NULL THEN
                failed := dependencies[dependency];
            END IF;
            dependency := dependency + 1;
        END LOOP;

        -- Was its key used before, in an earlier batch or in this one?
        k := command_keys[c];
        IF key_fingerprints[k] IS NOT NULL THEN
            outcomes[c] := CASE WHEN key_fingerprints[k] = command_fingerprints[c] THEN 'answered' ELSE 'key_reused' END;
            CONTINUE each_command;
        END IF;

        -- Did its dependencies pass?
        IF failed IS NOT NULL THEN
            outcomes[c] := 'dependency_failed';
            subjects[c] := failed;
            CONTINUE each_command;
        END IF;

        -- Are its checkpoints at the expected offsets? Checked before the versions: a replaced consumer must learn this
        -- first.
        FOR m IN moves_from .. moves_to LOOP
            IF offsets[move_checkpoints[m]] <> move_from_offsets[m] THEN
                outcomes[c] := 'checkpoint_lost';
                subjects[c] := m;
                actuals[c]  := offsets[move_checkpoints[m]];
                CONTINUE each_command;
            END IF;
        END LOOP;

        -- Are its streams at the expected versions? Each write raises its stream's version for later commands.
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
            key_fingerprints[k] := command_fingerprints[c];
            key_commands[k]     := c;
        END IF;
    END LOOP;

    -- Everything is checked. Write. There is no ON CONFLICT on events: the loop has excluded conflicts.
    INSERT INTO events (position, stream, version, event_id, type, schema_version, payload, metadata, recorded_at)
    SELECT bases[e.command] + e.ordinal, streams[e.stream], e.version, e.id, e.type, e.schema_version, e.payload,
           e.metadata, at_time
      FROM unnest(event_commands, event_ordinals, event_streams, event_versions, event_ids, event_types,
                  event_schema_versions, event_payloads, event_metadata)
           AS e (command, ordinal, stream, version, id, type, schema_version, payload, metadata)
     WHERE bases[e.command] IS NOT NULL;

    IF cardinality(keys) > 0 THEN
        INSERT INTO idempotency_keys (key, fingerprint, status, body, first_position, last_position, answered_at)
        SELECT keys[c.key], c.fingerprint, c.status, c.body,
               CASE WHEN c.events > 0 THEN c.base + 1 ELSE 0 END,
               CASE WHEN c.events > 0 THEN c.base + c.events ELSE 0 END,
               at_time
          FROM unnest(command_keys, command_fingerprints, command_statuses, command_bodies, command_events, bases)
               AS c (key, fingerprint, status, body, events, base)
         WHERE c.key IS NOT NULL AND c.base IS NOT NULL;
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
        -- A record that is parked again is not duplicated.
        INSERT INTO parked_events
               (consumer, topic, partition, record_offset, stream, position, key, payload, reason, parked_at)
        SELECT r.consumer, r.topic, r.partition, r.record_offset, r.stream, r.position, r.key, r.payload, r.reason, at_time
          FROM unnest(parked_commands, parked_consumers, parked_topics, parked_partitions, parked_offsets, parked_streams,
                      parked_positions, parked_keys, parked_payloads, parked_reasons)
               AS r (command, consumer, topic, partition, record_offset, stream, position, key, payload, reason)
         WHERE bases[r.command] IS NOT NULL
            ON CONFLICT ON CONSTRAINT parked_events_record DO NOTHING;
    END IF;

    -- A repeated key gets the answer of the command of this batch that claimed it, or the one in the table.
    RETURN QUERY
    SELECT o.outcome,
           CASE WHEN o.answerer IS NULL THEN key_firsts[o.key] WHEN command_events[o.answerer] > 0 THEN bases[o.answerer] + 1 ELSE 0 END,
           CASE WHEN o.answerer IS NULL THEN key_lasts[o.key]
                WHEN command_events[o.answerer] > 0 THEN bases[o.answerer] + command_events[o.answerer] ELSE 0 END,
           CASE WHEN o.answerer IS NULL THEN key_times[o.key] ELSE at_time END,
           o.subject,
           o.actual,
           CASE WHEN o.outcome = 'answered' THEN coalesce(command_statuses[o.answerer], key_statuses[o.key]) END,
           CASE WHEN o.outcome = 'answered' THEN coalesce(command_bodies[o.answerer], key_bodies[o.key]) END,
           CASE WHEN o.outcome = 'answered' THEN key_fingerprints[o.key] END
      FROM (SELECT c.outcome, c.key, c.subject, c.actual, c.ordinal,
                   CASE WHEN c.outcome = 'answered' THEN key_commands[c.key] ELSE c.ordinal::integer END AS answerer
              FROM unnest(outcomes, command_keys, subjects, actuals)
                   WITH ORDINALITY AS c (outcome, key, subject, actual, ordinal)) o
     ORDER BY o.ordinal;
END
$$;
COMMENT ON FUNCTION append IS 'The only function that writes to the log: checks a batch of commands under the log''s lock and writes those that pass.';
