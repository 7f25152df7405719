-- A consumer reads which streams are parked, and then appends. If the last parked record of a stream was retried in
-- between, the consumer would park the stream's next event behind nothing, where it would wait for an operator in vain.
-- append() and the retry both hold the log's lock here, so one of them is first, and this trigger sees its result.
CREATE OR REPLACE FUNCTION behind_a_parked_record() RETURNS trigger
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM parked_events p WHERE p.consumer = NEW.consumer AND p.stream = NEW.stream) THEN
        RAISE EXCEPTION '% is not parked for % any more', NEW.stream, NEW.consumer
            -- serialization_failure: the state that it was decided on has changed; read again and retry.
            USING ERRCODE = '40001', CONSTRAINT = 'parked_events_behind_a_parked_record';
    END IF;
    RETURN NEW;
END
$$;

-- The text is event_store::ParkedEvent::BEHIND.
CREATE OR REPLACE TRIGGER parked_events_behind_a_parked_record
    BEFORE INSERT ON parked_events FOR EACH ROW
    WHEN (NEW.reason = 'an earlier event of this stream is parked')
    EXECUTE FUNCTION behind_a_parked_record();
