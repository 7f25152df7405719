-- One row per order: how far its process has come. Fed by the topic of every context that has a stream for each order, each into an
-- entry of its own in tracks: {"<context>": {"version": …, "position": …, "facts": […]}}. The defaults are the row before its first
-- event.

CREATE TABLE processes (
    order_id            text        NOT NULL,
    customer_id         text,
    tracks              jsonb       NOT NULL DEFAULT '{}',
    cancellation_reason text,
    payment_deadline    timestamptz,
    state               text        NOT NULL DEFAULT 'running',
    waiting_for         text,
    since               timestamptz NOT NULL DEFAULT 'epoch',
    outcome             text,
    CONSTRAINT processes_pkey PRIMARY KEY (order_id)
);
CREATE INDEX ON processes (state, since, order_id);
CREATE INDEX ON processes (since, order_id);
ALTER TABLE processes
    ALTER COLUMN tracks SET STATISTICS 0;

GRANT SELECT, INSERT, UPDATE, DELETE ON processes TO tradewind_readmodel;
