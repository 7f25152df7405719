-- How far the reader has come in each partition. A row moves by compare-and-set in the transaction of the effect.
--
-- Every migration here runs with search_path set to the schema of the read models, and names no schema. The role of the schema
-- is tradewind_<schema>.

CREATE TABLE checkpoints (
    consumer      text    NOT NULL,
    topic         text    NOT NULL,
    partition     integer NOT NULL,
    next_offset   bigint  NOT NULL,
    last_position bigint  NOT NULL,
    epoch         bigint  NOT NULL DEFAULT 1,
    CONSTRAINT checkpoints_pkey PRIMARY KEY (consumer, topic, partition),
    CONSTRAINT checkpoints_next_offset_check CHECK (next_offset >= 0),
    CONSTRAINT checkpoints_last_position_check CHECK (last_position >= 0)
);
COMMENT ON COLUMN checkpoints.epoch IS
    'The epoch of the log that last_position belongs to: a reader that meets a record of another epoch stops '
    '(docs/decisions/0012). `tradewind reconcile` sets it, and the default with it.';

DO $$
BEGIN
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON checkpoints TO %I', 'tradewind_' || current_schema());
END
$$;
