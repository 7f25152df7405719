-- Records that a projection could not apply, and every later one of the same stream, so that they stay in order
-- (docs/decisions/0009). A record leaves by unpark() or discard_parked(), the first of its stream first: the role may not delete.

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
    parked_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT parked_events_pkey PRIMARY KEY (consumer, topic, partition, record_offset)
);
CREATE INDEX parked_events_consumer_stream_idx ON parked_events (consumer, stream);
-- A batch asks for its streams, whichever projection they are parked for.
CREATE INDEX parked_events_stream_idx ON parked_events (stream);

CREATE TABLE discarded_events (
    discarded_no  bigint      GENERATED ALWAYS AS IDENTITY,
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
    discarded_at  timestamptz NOT NULL,
    discarded_by  text        NOT NULL,
    because       text        NOT NULL,
    CONSTRAINT discarded_events_no PRIMARY KEY (discarded_no),
    CONSTRAINT discarded_events_by_somebody CHECK (length(discarded_by) BETWEEN 1 AND 200),
    CONSTRAINT discarded_events_for_a_reason CHECK (length(because) BETWEEN 1 AND 2000)
);
COMMENT ON TABLE discarded_events IS 'Parked records that a person discarded, as they were, with who, when and why.';
COMMENT ON COLUMN discarded_events.reason IS 'why it had been parked';
COMMENT ON COLUMN discarded_events.because IS 'why it was discarded';

DO $$
DECLARE
    role text := 'tradewind_' || current_schema();
BEGIN
    EXECUTE format('GRANT SELECT, INSERT ON parked_events TO %I', role);
    REVOKE ALL ON discarded_events FROM PUBLIC;
    EXECUTE format('GRANT SELECT ON discarded_events TO %I', role);
END
$$;
