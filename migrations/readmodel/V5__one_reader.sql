-- All projections of a process are applied together: one reader, one transaction for a batch, one set of checkpoints, filed
-- under the consumer `query-side`; what a projection has parked is filed under its own name as before. How far the read
-- models have come in each context's log is written in the same transaction (docs/decisions/0023).
SELECT set_config('search_path', format('%I, pg_temp', current_schema()), true);

CREATE TABLE progress (
    context text           NOT NULL,
    applied int8multirange NOT NULL,
    seen    bigint         NOT NULL,
    CONSTRAINT progress_pkey PRIMARY KEY (context),
    CONSTRAINT progress_applied_check CHECK (applied <@ '{[1,)}'::int8multirange),
    CONSTRAINT progress_seen_check CHECK (seen >= 0)
);
COMMENT ON TABLE progress IS 'How far the read models have come in the log of each context.';
COMMENT ON COLUMN progress.applied IS
    'The positions that every projection has applied or parked. Partitions advance apart, so there may be gaps for a moment; '
    'everything up to the end of the range that begins at 1 is applied.';
COMMENT ON COLUMN progress.seen IS
    'The highest position that anything shown may depend on: the highest one applied, or named by an applied event.';
-- Every batch updates these few rows: old versions are cleared away on the page itself.
ALTER TABLE progress SET (fillfactor = 50);

-- A batch asks for its streams, whichever projection they are parked for.
CREATE INDEX ON parked_events (stream);

GRANT SELECT, INSERT, UPDATE ON progress TO tradewind_readmodel;

-- The projections stood apart. They read the topics once more from the beginning; a row that knows an event already does
-- not change. What was parked is parked with its whole stream, and what was discarded because nobody could read it is parked once
-- more: look at `tradewind parked list` afterwards. The tables that the last replay kept were kept with checkpoints of their own: they cannot come back.
DELETE FROM checkpoints;
DROP SCHEMA IF EXISTS readmodel_old CASCADE;
