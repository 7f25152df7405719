-- One row per payment, fed by the topic of the payments.

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

GRANT SELECT, INSERT, UPDATE, DELETE ON payments TO tradewind_readmodel;
