-- Parked records can be put right: retried (unpark, in the transaction of the effect) or given up (discard_parked).
--
-- The role may no longer delete from parked_events or change it: what leaves it leaves by one of the two functions, one
-- record at a time, the first of its stream first. The protocol is in docs/decisions/0009.
SELECT set_config('search_path', format('%I, pg_temp', current_schema()), true);

---------------------------------------------------------------------------------------------------------------------
-- What was discarded, and by whom: written by discard_parked() alone, never changed
---------------------------------------------------------------------------------------------------------------------

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
COMMENT ON TABLE discarded_events IS 'Parked records that a person gave up, as they were, with who, when and why.';
COMMENT ON COLUMN discarded_events.reason IS 'why it had been parked';
COMMENT ON COLUMN discarded_events.because IS 'why it was given up';

---------------------------------------------------------------------------------------------------------------------
-- The two ways out of parked_events, both in the order of the stream
---------------------------------------------------------------------------------------------------------------------

-- Takes the first parked record of its stream away. To be called in the transaction that holds its effect.
-- TW002: it is not there (any more), or not the first.
CREATE FUNCTION unpark(of_consumer text, of_topic text, of_partition integer, of_offset bigint) RETURNS void
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
DECLARE
    gone parked_events;
BEGIN
    DELETE FROM parked_events p
     WHERE p.consumer = of_consumer AND p.topic = of_topic AND p.partition = of_partition AND p.record_offset = of_offset
    RETURNING * INTO gone;
    IF gone.consumer IS NULL THEN
        RAISE EXCEPTION 'the record at %/% offset % is not parked for %', of_topic, of_partition, of_offset, of_consumer
            USING ERRCODE = 'TW002';
    END IF;
    IF EXISTS (SELECT FROM parked_events p
                WHERE p.consumer = gone.consumer AND p.stream = gone.stream
                  AND (p.topic, p.partition, p.record_offset) < (gone.topic, gone.partition, gone.record_offset)) THEN
        RAISE EXCEPTION 'an earlier record of % is parked for %', gone.stream, gone.consumer USING ERRCODE = 'TW002';
    END IF;
END
$$;

-- Gives the first parked record of its stream up, and writes down who did so and why.
CREATE FUNCTION discard_parked(
    of_consumer text, of_topic text, of_partition integer, of_offset bigint, by_whom text, for_reason text
) RETURNS void
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
SET search_path FROM CURRENT
AS $$
BEGIN
    INSERT INTO discarded_events (consumer, topic, partition, record_offset, stream, position, key, payload, reason,
                                  parked_at, discarded_at, discarded_by, because)
    SELECT p.consumer, p.topic, p.partition, p.record_offset, p.stream, p.position, p.key, p.payload, p.reason,
           p.parked_at, clock_timestamp(), by_whom, for_reason
      FROM parked_events p
     WHERE p.consumer = of_consumer AND p.topic = of_topic AND p.partition = of_partition AND p.record_offset = of_offset;
    PERFORM unpark(of_consumer, of_topic, of_partition, of_offset);
END
$$;

REVOKE UPDATE, DELETE ON parked_events FROM tradewind_readmodel;
REVOKE ALL ON discarded_events FROM PUBLIC, tradewind_readmodel;
REVOKE ALL ON FUNCTION unpark, discard_parked FROM PUBLIC;
GRANT SELECT ON discarded_events TO tradewind_readmodel;
GRANT EXECUTE ON FUNCTION unpark, discard_parked TO tradewind_readmodel;
