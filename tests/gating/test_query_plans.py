"""The gate's functions find what they need by index, whatever the statistics say.

A table that was analyzed or vacuumed while empty looks to the planner as if reading
all of it were cheap, and a cached plan stays. So: empty tables, analyzed, plans made;
then many rows; then analyzed again. In one transaction, rolled back.
"""

from uuid import uuid4

import pytest

from gating.facts import Ask
from gating.services.admissions import AuthorizeRequest
from gating.services.batches import authorize_batch, commit_batch
from gating.services.commits import CommitRequest
from gating.services.leases import expire_overdue
from gating.services.subjects import Subject
from tests.gating.mutants import mutated
from tests.tools.tables import judge_at_once, rows, run

MANY = 20_000
EMPTIED = (
    "gate_account_versions", "gate_catalog_versions", "gate_counters", "gate_denials", "gate_leases", "gate_projections",
    "gate_rated_records", "gate_rating_keys", "gate_ratings", "gate_residual_buckets", "gate_rule_sets", "gate_seats", "gate_states",
    "grant_allocations", "grant_lots", "grant_issuance_cursors", "grant_assignments", "ledger_seals", "ledger_entries", "ledger_postings", "ledger_accounts", "budgets",
)  # fmt: skip
# Not the programs: a lot's is looked up where the lot was made in this transaction, by its
# key's own plan, which reads all of few.
LOOKED_AT = "relname <> 'grant_programs' AND (relname LIKE 'gate\\_%%' OR relname LIKE 'grant\\_%%' OR relname IN ('billing_accounts', 'billing_users', 'budgets'))"
MOST_PER_ITEM = 60

PEOPLE = {
    "billing_accounts": {"id": "md5('a' || n)", "billing_principal_id": "'p' || n"},
    "billing_users": {"id": "md5('u' || n)", "business_user_id": "'u' || n"},
}
# Each filled with copies of one row, most of them of the same user: {column: expression of n}.
FILLED = {
    "gate_account_versions": {"account_id": "md5('a' || n)"},
    "gate_states": {"account_id": "md5('a' || n)"},
    "gate_rule_sets": {"id": "md5('r' || n)"},
    "gate_projections": {"id": "md5('p' || n)", "business_user_id": "'u' || n", "user_id": "md5('u' || n)"},
    "gate_counters": {"id": "md5('c' || n)", "key": "'k' || n"},
    "gate_leases": {
        "id": "md5('l' || n)", "lease": "'l' || n", "idempotency_key": "'k' || n",
        "authorized_at": "(kept).authorized_at - make_interval(secs => n)",
        "expires_at": "(kept).expires_at - make_interval(secs => n)",
    },
    "gate_ratings": {"id": "md5('x' || n)", "lease_id": "md5('l' || n)", "rated_at": "(kept).rated_at - make_interval(secs => n)"},
    "gate_rated_records": {"id": "md5('y' || n)", "line_number": "n + 1"},
    "gate_rating_keys": {"rating_id": "md5('x' || n)", "idempotency_key": "'k' || n", "lease_id": "NULL"},
    "gate_residual_buckets": {"id": "md5('b' || n)", "rate_identity": "'r' || n"},
    "gate_seats": {"id": "md5('s' || n)", "key": "'other ' || n"},
    "grant_lots": {
        "id": "md5('o' || n)", "issue_key": "'k' || n", "alloc_seq": "n", "status": "'closed'", "closure_kind": "'none'",
        "closed_at": "(kept).window_start", "closed_remaining_xusd": "0", "amount_xusd": "(kept).consumed_xusd", "reserved_xusd": "0",
    },
    "budgets": {"id": "md5('g' || n)", "reference": "'g' || n"},
    "grant_allocations": {"id": "md5('e' || n)", "source_ref": "'e' || n"},
}  # fmt: skip


def with_partitions(tables):
    found = rows(
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent::regclass::text = ANY (%s)",
        [list(tables)],
    )
    return [*tables, *(name for (name,) in found)]


def analyze(tables):
    for table in tables:
        run(f"ANALYZE {table}")


@pytest.fixture
def empty(gate):
    """The gate, its tables empty and analyzed so; then one row in each."""
    gate.feature(price=7, cost=3, per=2)
    gate.quota(10**9)
    gate.quota(10**9, subject_scope="account")
    gate.rate(10**6)
    gate.seats(5)
    run("SET CONSTRAINTS ALL IMMEDIATE")
    tables = with_partitions(EMPTIED)
    for table in tables:
        run(f"ALTER TABLE {table} DISABLE TRIGGER USER")
    run(f"TRUNCATE {', '.join(EMPTIED)}")
    for table in tables:
        run(f"ALTER TABLE {table} ENABLE TRIGGER USER")
    # The people are there before their usage, and known to be many.
    fill(PEOPLE)
    analyze([*EMPTIED, *PEOPLE])
    sizes = rows(
        "SELECT DISTINCT reltuples FROM pg_class WHERE relname = ANY (%s) AND relkind = 'r'",
        [list(EMPTIED)],
    )
    assert sizes == [(0.0,)]
    # Plans are made, and kept by this connection, of empty tables.
    judge_at_once()
    gate.credit(10**9)
    run("SET CONSTRAINTS ALL IMMEDIATE")
    gate.budget(10**9)
    everything(gate)
    return gate


def everything(gate):
    """Every statement of the functions' ways; return how many items that were."""
    # In batches, of which the second repeats a key, or a lease: the long way.
    numbers = range(3)
    keys = [f"batch-{uuid4()}" for _ in numbers]
    authorize_all(gate, keys)
    admitted = authorize_all(gate, [*keys, f"batch-{uuid4()}"])
    commit_all(gate, admitted[:2])
    commit_all(gate, [*admitted[2:], admitted[0]])
    lease, late = gate.lease(3), gate.lease(3, budget="trip")
    gate.meet(estimate=3, reference="met")
    gate.commit_who_meet([(None, gate.lease(3))], 3)
    gate.preflight(3)
    gate.ingest(2)
    gate.preflight(3, budget="trip")
    gate.commit(lease, 3)
    gate.commit(late, 1)
    return 6 + 3 + 4 + 5 + 3


def authorize_all(gate, keys):
    ask = AuthorizeRequest(Ask("chat", estimate_minor=3))
    return authorize_batch(
        Subject.of(gate.account, gate.user),
        [(ask, key) for key in keys],
        at=gate.at,
        by=gate.by,
    )


def commit_all(gate, admitted):
    commit_batch(
        Subject.of(gate.account, gate.user),
        [
            (CommitRequest(each.data["lease"], "chat", 2), f"c-{uuid4()}")
            for each in admitted
        ],
        at=gate.at,
        by=gate.by,
    )


def fill(tables):
    """Make many rows of one."""
    for table, changes in tables.items():
        run(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        pairs = ", ".join(f"'{name}', {value}" for name, value in changes.items())
        made = run(
            f"INSERT INTO {table} SELECT r.* FROM (SELECT t AS kept FROM {table} t ORDER BY {next(iter(changes))} DESC LIMIT 1) one,"
            f" generate_series(1, {MANY}) n, LATERAL jsonb_populate_record(one.kept, jsonb_build_object({pairs})) r"
        )
        assert made == MANY
        run("SET CONSTRAINTS ALL IMMEDIATE")
        run(f"ALTER TABLE {table} ENABLE TRIGGER USER")


def read():
    """What this transaction has read so far: {table: (sequential scans, rows)}."""
    found = rows(
        f"SELECT relname, seq_scan, seq_tup_read + coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables WHERE {LOOKED_AT}",
        [],
    )
    return {name: (scans, tuples) for name, scans, tuples in found}


def reading(gate):
    """Return the tables scanned by everything, and the rows read for each item."""
    before = read()
    items = everything(gate)
    after = read()
    scanned = {name for name in after if after[name][0] > before.get(name, (0, 0))[0]}
    tuples = {name: after[name][1] - before.get(name, (0, 0))[1] for name in after}
    print({name: count for name, count in tuples.items() if count > MOST_PER_ITEM})
    return scanned, sum(tuples.values()) / items


def test_plans_made_of_empty_tables_stay_good(empty):
    assert reading(empty)[0] == set()
    fill(FILLED)

    scanned, per_item = reading(empty)
    print(f"\nplans of empty tables: {per_item:.0f} rows per item")
    assert scanned == set()
    assert per_item <= MOST_PER_ITEM

    analyze([*EMPTIED, *PEOPLE])
    scanned, per_item = reading(empty)
    print(f"\nplans of full tables: {per_item:.0f} rows per item")
    assert scanned == set()
    assert per_item <= MOST_PER_ITEM

    # With leases overdue, which are looked at one by one only then.
    empty.lease(3, budget="trip")
    before = read()
    empty.later(hours=13).preflight(1, budget="trip")
    expire_overdue(empty.realm.pk, empty.account.pk, at=empty.later(hours=13).at)
    after = read()
    assert (
        sum(after[name][1] - before.get(name, (0, 0))[1] for name in after)
        <= MOST_PER_ITEM
    )


def test_without_its_setting_a_function_would_scan(empty):
    def unpinned(text):
        return text.replace("SET enable_seqscan = off", "")

    with mutated(
        dict.fromkeys(
            (
                "admit",
                "admit_many",
                "authorize",
                "store",
                "close",
                "close_all",
                "close_many",
                "commit",
                "expire",
                "ingest",
            ),
            unpinned,
        )
    ):
        everything(empty)
        fill(FILLED)

        scanned, _ = reading(empty)

    assert scanned
