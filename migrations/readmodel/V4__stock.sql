-- One row per SKU, fed by the topic of the inventory.

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

GRANT SELECT, INSERT, UPDATE, DELETE ON stock TO tradewind_readmodel;
