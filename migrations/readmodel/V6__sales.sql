-- One row per order that was ever confirmed, fed by the topic of the orders; the sums of a day are made when a request asks for them.

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

GRANT SELECT, INSERT, UPDATE, DELETE ON sales TO tradewind_readmodel;
