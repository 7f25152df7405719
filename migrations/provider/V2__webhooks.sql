-- The acquirer tells of what happened to a payment: an outbox, written with the ledger's entries.

ALTER TABLE behaviours
    ADD COLUMN webhook_copies integer NOT NULL DEFAULT 1
        CONSTRAINT behaviours_webhook_copies CHECK (webhook_copies BETWEEN 0 AND 10),
    ADD COLUMN webhook_delay_ms integer NOT NULL DEFAULT 0
        CONSTRAINT behaviours_webhook_delay CHECK (webhook_delay_ms >= 0),
    ADD COLUMN webhook_disorder boolean NOT NULL DEFAULT false;

-- One row per event that is still to be told, so many times. A row goes when all copies were acknowledged.
CREATE TABLE webhooks (
    event_id    uuid        DEFAULT gen_random_uuid() CONSTRAINT webhooks_pk PRIMARY KEY,
    payment_id  uuid        NOT NULL CONSTRAINT webhooks_payment REFERENCES payments,
    state       text        NOT NULL,
    happened_at timestamptz NOT NULL DEFAULT now(),
    due_at      timestamptz NOT NULL,
    copies      integer     NOT NULL CONSTRAINT webhooks_copies CHECK (copies > 0),
    attempts    integer     NOT NULL DEFAULT 0
);
CREATE INDEX webhooks_due ON webhooks (due_at);

GRANT SELECT, INSERT, UPDATE, DELETE ON webhooks TO tradewind_provider;
