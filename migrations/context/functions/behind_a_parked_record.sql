-- A consumer reads which streams are parked, and then appends. When the last parked record of a stream was retried in
-- between, it would park the stream's next event behind nothing, where it would wait for a person in vain. append()
-- and the retry both hold the log's lock when they come here, so one of them is first, and this sees it.
CREATE OR REPLACE FUNCTION behind_a_parked_record() RETURNS trigger
LANGUAGE plpgsql
VOLATILE
SET search_path FROM CURRENT
AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM parked_events p WHERE p.consumer = NEW.consumer AND p.stream = NEW.stream) THEN
        RAISE EXCEPTION '% is not parked for % any more', NEW.stream, NEW.consumer
            -- serialization_failure: what it was decided on has changed; read again and try again.
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
