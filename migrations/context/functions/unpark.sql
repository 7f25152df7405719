-- Removes the first parked record of its stream. Call it in the transaction of the record's effect. TW002: the record
-- is not parked (any more), or not the first.
CREATE OR REPLACE FUNCTION unpark(of_consumer text, of_topic text, of_partition integer, of_offset bigint) RETURNS void
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
