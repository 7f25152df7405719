-- Discards the first parked record of its stream, and writes down who did so and why.
SELECT set_config('search_path', format('%I, pg_temp', current_schema()), true);

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

REVOKE ALL ON FUNCTION discard_parked FROM PUBLIC;
DO $$
BEGIN
    EXECUTE format('GRANT EXECUTE ON FUNCTION discard_parked TO %I', 'tradewind_' || current_schema());
END
$$;
