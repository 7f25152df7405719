-- How far the read models have come in the log of each context, written with every batch (docs/decisions/0023).

CREATE TABLE progress (
    context text           NOT NULL,
    applied int8multirange NOT NULL,
    seen    bigint         NOT NULL,
    CONSTRAINT progress_pkey PRIMARY KEY (context),
    CONSTRAINT progress_applied_check CHECK (applied <@ '{[1,)}'::int8multirange),
    CONSTRAINT progress_seen_check CHECK (seen >= 0)
);
COMMENT ON COLUMN progress.applied IS
    'The positions that every projection has applied or parked. Partitions advance apart, so there may be gaps for a moment; '
    'everything up to the end of the range that begins at 1 is applied.';
COMMENT ON COLUMN progress.seen IS
    'The highest position that anything shown may depend on: the highest one applied, or named by an applied event.';
-- Every batch updates these few rows: old versions are cleared away on the page itself.
ALTER TABLE progress SET (fillfactor = 50);

DO $$
BEGIN
    EXECUTE format('GRANT SELECT, INSERT, UPDATE ON progress TO %I', 'tradewind_' || current_schema());
END
$$;
