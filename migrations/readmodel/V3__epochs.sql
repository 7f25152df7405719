-- A position is (epoch, number). Each checkpoint knows the epoch of the log that its position belongs to: a consumer that
-- meets a record of another one stops (docs/decisions/0012). `tradewind reconcile` sets them, and the default with them.
SELECT set_config('search_path', format('%I, pg_temp', current_schema()), true);

ALTER TABLE checkpoints ADD COLUMN epoch bigint NOT NULL DEFAULT 1;
-- What the last replay kept, if there was one, has the same form.
ALTER TABLE IF EXISTS readmodel_old.checkpoints ADD COLUMN IF NOT EXISTS epoch bigint NOT NULL DEFAULT 1;
