CREATE TABLE balances (account text PRIMARY KEY, balance bigint NOT NULL, version integer NOT NULL);
GRANT SELECT, INSERT, UPDATE ON balances TO tradewind_bankreadmodel;
