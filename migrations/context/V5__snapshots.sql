-- The state of aggregates with a long history, so that a command need not read all of it.
--
-- A shortcut and never a truth: any row may be deleted at any time, and is then made again. A row counts only while its
-- shape is that of the code that reads it, and while the log has that very event at that version
-- (platform/event-store/src/snapshots.rs).

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
COMMENT ON COLUMN snapshots.event_id IS 'of the last event in it: a log that was restored may have another one at that version';
COMMENT ON COLUMN snapshots.shape IS 'of the sources that folded it (domain/src/aggregate.rs)';

DO $$
DECLARE
    role text := format('tradewind_%s', current_schema());
BEGIN
    EXECUTE format('REVOKE ALL ON snapshots FROM PUBLIC, %I', role);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON snapshots TO %I', role);
END
$$;
