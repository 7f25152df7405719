CREATE TABLE balances (account text PRIMARY KEY, balance bigint NOT NULL, version integer NOT NULL);
