-- The fake acquirer's own books. Runs with search_path set to the schema `provider`.

-- One row per payment. A row without customer, amount and currency is a tombstone: the payment was voided before it
-- came, and is declined when it comes.
CREATE TABLE payments (
    payment_id   uuid        CONSTRAINT payments_pk PRIMARY KEY,
    state        text        NOT NULL CONSTRAINT payments_state
                             CHECK (state IN ('authorised', 'declined', 'captured', 'voided', 'refunded')),
    customer_id  text,
    amount_minor bigint      CONSTRAINT payments_amount CHECK (amount_minor > 0),
    currency     text,
    reference    text,
    decline_code text,
    created_at   timestamptz NOT NULL DEFAULT now(),
    changed_at   timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT payments_tombstone CHECK (
        num_nulls(customer_id, amount_minor, currency, reference) = 0
        OR (num_nulls(customer_id, amount_minor, currency, reference) = 4 AND state = 'voided')),
    CONSTRAINT payments_decline_code CHECK ((state = 'declined') = (decline_code IS NOT NULL))
);

-- What happened to the money, in entries that nobody can change: the provider's role may only add.
CREATE TABLE ledger_entries (
    entry_id     bigint      GENERATED ALWAYS AS IDENTITY CONSTRAINT ledger_entries_pk PRIMARY KEY,
    payment_id   uuid        NOT NULL CONSTRAINT ledger_entries_payment REFERENCES payments,
    kind         text        NOT NULL CONSTRAINT ledger_entries_kind
                             CHECK (kind IN ('authorised', 'declined', 'captured', 'voided', 'refunded')),
    amount_minor bigint      NOT NULL CONSTRAINT ledger_entries_amount CHECK (amount_minor > 0),
    currency     text        NOT NULL,
    recorded_at  timestamptz NOT NULL DEFAULT now(),
    -- Nothing happens twice to a payment.
    CONSTRAINT ledger_entries_once UNIQUE (payment_id, kind)
);

-- What is taken was not let go, and what was refused is neither.
CREATE UNIQUE INDEX ledger_entries_one_outcome ON ledger_entries (payment_id)
    WHERE kind IN ('declined', 'captured', 'voided');

-- What the acquirer does with a customer's payments; without a customer, with everybody else's.
CREATE TABLE behaviours (
    customer_id          text    CONSTRAINT behaviours_customer UNIQUE NULLS NOT DISTINCT,
    outcome              text    NOT NULL CONSTRAINT behaviours_outcome CHECK (outcome IN ('approve', 'decline')),
    decline_code         text    NOT NULL,
    delay_ms             integer NOT NULL CONSTRAINT behaviours_delay CHECK (delay_ms >= 0),
    fault                text    NOT NULL CONSTRAINT behaviours_fault CHECK (
        fault IN ('none', 'time_out_before_acceptance', 'time_out_after_acceptance', 'unavailable')),
    capture_at_once      boolean NOT NULL,
    decline_rate_percent integer NOT NULL CONSTRAINT behaviours_decline_rate CHECK (
        decline_rate_percent BETWEEN 0 AND 100)
);

GRANT SELECT, INSERT, UPDATE ON payments TO tradewind_provider;
GRANT SELECT, INSERT ON ledger_entries TO tradewind_provider;
GRANT SELECT, INSERT, DELETE ON behaviours TO tradewind_provider;
