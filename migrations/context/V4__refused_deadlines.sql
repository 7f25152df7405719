-- Questions that the payment provider refused for good: readiness names them, every few seconds.
SELECT set_config('search_path', format('%I, pg_temp', current_schema()), true);

CREATE INDEX deadlines_refused ON deadlines (id) WHERE command->>'refused' IS NOT NULL;
