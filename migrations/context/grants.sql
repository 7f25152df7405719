-- The rights of the context's role: these grants keep the log append-only. Applied after every migration.
DO $$
DECLARE
    role text := format('tradewind_%s', current_schema());
BEGIN
    EXECUTE format('REVOKE ALL ON SCHEMA %I FROM PUBLIC', current_schema());
    EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA %I FROM PUBLIC, %I', current_schema(), role);
    EXECUTE 'REVOKE ALL ON FUNCTION append, unpark, discard_parked, behind_a_parked_record FROM PUBLIC';

    EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', current_schema(), role);
    EXECUTE format('GRANT EXECUTE ON FUNCTION append, unpark, discard_parked TO %I', role);
    EXECUTE format('GRANT SELECT ON events, idempotency_keys, checkpoints, deadlines, parked_events, discarded_events, relay, log_epoch TO %I', role);
    -- The relay's lease and cursor move by compare-and-set (platform/event-store/src/relay_lease.rs).
    EXECUTE format('GRANT UPDATE ON relay TO %I', role);
    -- Every query of these processes is an index look-up. A plan that was made while a table was small must not scan it
    -- when it has grown.
    EXECUTE format('ALTER ROLE %I IN DATABASE %I SET enable_seqscan = off', role, current_database());
    -- Old idempotency keys are removed; none is changed (platform/event-store/src/idempotency.rs).
    EXECUTE format('GRANT DELETE ON idempotency_keys TO %I', role);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON snapshots TO %I', role);
END
$$;
