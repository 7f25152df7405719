-- One row per order, fed by the topic of the orders.
--
-- Every migration here makes the tables of one read model, and runs with search_path set to the schema of the read models; no schema
-- is named, so that the same statements serve a shadow schema. Every table can be dropped and rebuilt from the logs by
-- `tradewind replay`; checkpoints and what is parked are in migrations/projections.
--
-- Indexes have no names of their own: a rebuild makes them by CREATE TABLE … (LIKE … INCLUDING ALL), which names them by Postgres'
-- rule. So both have the same names, and a later migration finds them.
--
-- No query selects rows by what is inside their JSON, so the planner needs no statistics of it. ANALYZE would sort thirty thousand
-- documents for each such column, once a minute while a table grows.

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
ALTER TABLE orders
    ALTER COLUMN lines SET STATISTICS 0,
    ALTER COLUMN shipping_address SET STATISTICS 0,
    ALTER COLUMN rejection SET STATISTICS 0,
    ALTER COLUMN cancellation SET STATISTICS 0,
    ALTER COLUMN shipment SET STATISTICS 0;

GRANT SELECT, INSERT, UPDATE, DELETE ON orders TO tradewind_readmodel;
