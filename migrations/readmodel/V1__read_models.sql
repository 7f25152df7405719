-- The read models: one table per projection, and where each projection stands.
--
-- Runs with search_path set to the schema of the read models; no schema is named, so that the same statements serve a
-- shadow schema. Every table can be dropped and rebuilt from the logs by `tradewind replay`.
--
-- Indexes have no names of their own here: a rebuild makes them anew by CREATE TABLE … (LIKE … INCLUDING ALL), which
-- names them by Postgres' rule. So both have the same names, and a later migration finds them.

-- One row per order. Fed by the orders topic.
CREATE TABLE orders (
    order_id         text        NOT NULL,
    customer_id      text        NOT NULL,
    status           text        NOT NULL,
    currency         text        NOT NULL,
    lines            jsonb       NOT NULL,
    total_minor      bigint      NOT NULL,
    shipping_address jsonb       NOT NULL,
    placed_at        timestamptz NOT NULL,
    rejection        jsonb,
    cancellation     jsonb,
    shipment         jsonb,
    version          integer     NOT NULL,
    position         bigint      NOT NULL,
    CONSTRAINT orders_pkey PRIMARY KEY (order_id)
);
CREATE INDEX ON orders (placed_at, order_id);
CREATE INDEX ON orders (customer_id, placed_at, order_id);
CREATE INDEX ON orders (status, placed_at, order_id);

-- One row per event of an order's streams: its timeline. Fed by all four topics.
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

-- One row per order: how far its choreography has come. Fed by all four topics, each into columns of its own; the
-- defaults are the row before its first event.
CREATE TABLE processes (
    order_id     text        NOT NULL,
    customer_id  text,
    orders       jsonb       NOT NULL DEFAULT '{"version": 0, "position": 0, "facts": []}',
    inventory    jsonb       NOT NULL DEFAULT '{"version": 0, "position": 0, "facts": []}',
    payments     jsonb       NOT NULL DEFAULT '{"version": 0, "position": 0, "facts": []}',
    shipping     jsonb       NOT NULL DEFAULT '{"version": 0, "position": 0, "facts": []}',
    cancellation_reason text,
    payment_deadline timestamptz,
    state        text        NOT NULL DEFAULT 'running',
    waiting_for  text,
    since        timestamptz NOT NULL DEFAULT 'epoch',
    outcome      text,
    CONSTRAINT processes_pkey PRIMARY KEY (order_id)
);
CREATE INDEX ON processes (state, since, order_id);
CREATE INDEX ON processes (since, order_id);

-- One row per SKU. Fed by the inventory topic.
CREATE TABLE stock (
    sku       text    NOT NULL,
    received  bigint  NOT NULL,
    adjusted  bigint  NOT NULL,
    available bigint  NOT NULL,
    reserved  bigint  NOT NULL,
    shipped   bigint  NOT NULL,
    version   integer NOT NULL,
    position  bigint  NOT NULL,
    CONSTRAINT stock_pkey PRIMARY KEY (sku)
);

-- One row per payment. Fed by the payments topic.
CREATE TABLE payments (
    payment_id         text        NOT NULL,
    order_id           text        NOT NULL,
    customer_id        text,
    state              text        NOT NULL,
    currency           text,
    amount_minor       bigint      NOT NULL,
    authorised_minor   bigint      NOT NULL,
    captured_minor     bigint      NOT NULL,
    refunded_minor     bigint      NOT NULL,
    decline_code       text,
    provider_reference text,
    expires_at         timestamptz,
    version            integer     NOT NULL,
    position           bigint      NOT NULL,
    CONSTRAINT payments_pkey PRIMARY KEY (payment_id)
);

-- One row per order that was ever confirmed; the sums of a day are made when asked for. Fed by the orders topic.
CREATE TABLE sales (
    order_id      text    NOT NULL,
    placed_on     date    NOT NULL,
    currency      text    NOT NULL,
    units         bigint  NOT NULL,
    revenue_minor bigint  NOT NULL,
    counted       boolean NOT NULL,
    version       integer NOT NULL,
    position      bigint  NOT NULL,
    CONSTRAINT sales_pkey PRIMARY KEY (order_id)
);
CREATE INDEX ON sales (placed_on, currency) INCLUDE (units, revenue_minor) WHERE counted;

-- How far each consumer has come in each partition. Moved by compare-and-set in the transaction of the effect.
CREATE TABLE checkpoints (
    consumer      text    NOT NULL,
    topic         text    NOT NULL,
    partition     integer NOT NULL,
    next_offset   bigint  NOT NULL,
    last_position bigint  NOT NULL,
    CONSTRAINT checkpoints_pkey PRIMARY KEY (consumer, topic, partition),
    CONSTRAINT checkpoints_next_offset_check CHECK (next_offset >= 0),
    CONSTRAINT checkpoints_last_position_check CHECK (last_position >= 0)
);

-- Records that a projection could not apply, and every later one of the same stream, so that they stay in order.
CREATE TABLE parked_events (
    consumer    text        NOT NULL,
    topic       text        NOT NULL,
    partition   integer     NOT NULL,
    record_offset bigint    NOT NULL,
    stream      text        NOT NULL,
    position    bigint,
    key         bytea       NOT NULL,
    payload     bytea       NOT NULL,
    reason      text        NOT NULL,
    parked_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT parked_events_pkey PRIMARY KEY (consumer, topic, partition, record_offset)
);
CREATE INDEX ON parked_events (consumer, stream);

GRANT SELECT, INSERT, UPDATE, DELETE
    ON orders, order_events, processes, stock, payments, sales, checkpoints, parked_events
    TO tradewind_readmodel;
