\set account random(:first, :last)
WITH moved AS (UPDATE bench_floor.balances SET used = used + 1234 WHERE account = :account RETURNING account) INSERT INTO bench_floor.entries (account, quantity, occurred_at) SELECT account, 1234, now() FROM moved;
