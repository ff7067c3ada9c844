-- What the floor works on: a row per account that changes, and rows that only grow.
CREATE SCHEMA bench_floor;
CREATE TABLE bench_floor.balances (
    account bigint PRIMARY KEY,
    used bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 70);
CREATE TABLE bench_floor.entries (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account bigint NOT NULL,
    quantity bigint NOT NULL,
    occurred_at timestamptz NOT NULL
);
