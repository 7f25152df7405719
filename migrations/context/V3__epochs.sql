-- A position is (epoch, number). Each checkpoint knows the epoch of the log that its position belongs to: a consumer that
-- meets a record of another one stops (docs/decisions/0012). `tradewind reconcile` sets them, and the default with them.
SELECT set_config('search_path', format('%I, pg_temp', current_schema()), true);

ALTER TABLE checkpoints ADD COLUMN epoch bigint NOT NULL DEFAULT 1;
COMMENT ON COLUMN checkpoints.epoch IS 'the epoch of the log whose positions last_position counts';

ALTER TABLE log_epoch ADD COLUMN reconciling_to bigint;
COMMENT ON COLUMN log_epoch.reconciling_to IS 'set while a reconciliation is under way: the epoch that it will end in';
