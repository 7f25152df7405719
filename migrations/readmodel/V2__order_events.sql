-- One row per event of an order's streams, fed by the topic of every context that has a stream for each order.

CREATE TABLE order_events (
    event_id       text        NOT NULL,
    order_id       text        NOT NULL,
    context        text        NOT NULL,
    stream         text        NOT NULL,
    version        integer     NOT NULL,
    position       bigint      NOT NULL,
    event_type     text        NOT NULL,
    recorded_at    timestamptz NOT NULL,
    correlation_id uuid        NOT NULL,
    causation_id   uuid,
    actor          text        NOT NULL,
    data           jsonb       NOT NULL,
    CONSTRAINT order_events_pkey PRIMARY KEY (event_id)
);
CREATE INDEX ON order_events (order_id, recorded_at, context, position);
ALTER TABLE order_events
    ALTER COLUMN data SET STATISTICS 0;

GRANT SELECT, INSERT, UPDATE, DELETE ON order_events TO tradewind_readmodel;
