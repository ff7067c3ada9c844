"""The gate is a naive ledger, whatever is done to it in whatever order.

Hypothesis thinks of what happens in a realm (`machine`); the product, on PostgreSQL, and
the ledger (`ledger`) do it side by side. A seed names a run, and can be run again.
"""

import random
from collections import Counter as Tally

import psycopg
import pytest
from django.db import DatabaseError, connection
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.gating.machine import START, ApiMachine, Divergence, Machine
from tests.gating.mutants import LONG_WAYS, long_way, mutated, spoiled
from tests.gating.racing import end_overdue
from tests.tools.verification import note

pytestmark = pytest.mark.usefixtures("committed")

FOUND = (Divergence, DatabaseError, psycopg.Error)
REACHED = {
    "authorize: admitted", "authorize: entitlement_required", "authorize: policy_not_found", "authorize: seats_taken",
    "authorize: quota_exhausted", "authorize: rate_exceeded", "authorize: funding_exhausted", "authorize: 409", "authorize: 403",
    "preflight: admitted", "preflight: quota_exhausted", "preflight: rate_exceeded", "preflight: funding_exhausted",
    "commit: applied", "commit: applied_clipped", "commit: quarantined", "commit: 409", "commit: 422", "commit: 403",
    "cancel: canceled", "cancel: 403", "authorize: feature_not_found",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _nothing_overdue(committed):
    """Expire what other tests left, so that the job finds a machine's leases only."""
    end_overdue(START.replace(year=2100))


def play(machine, number, *, machines, steps):
    """Run machines of a seed; return what happened in them, by kind."""
    tally = Tally()
    limits = settings(
        max_examples=machines,
        stateful_step_count=steps,
        phases=[Phase.generate],
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    counted = type(machine.__name__, (machine,), {"tally": tally})
    run_state_machine_as_test(seed(number)(counted), settings=limits)
    return tally


def report(what, number, tally):
    note(
        what,
        f"seed {number}, {tally['operations']} operations in {tally['machines']} machines, "
        f"divergences 0, of them {tally['authorize: admitted']} admissions, "
        f"{tally['commit: applied'] + tally['commit: applied_clipped']} commits applied",
    )


def test_the_gate_is_a_ledger():
    tally = play(Machine, 1, machines=6, steps=40)

    assert tally["machines"] >= 6


def test_the_api_is_that_ledger_too():
    tally = play(ApiMachine, 2, machines=2, steps=30)

    assert tally["machines"] >= 2


@pytest.mark.soak
def test_the_gate_is_a_ledger_for_long():
    number, tally = random.SystemRandom().randrange(10**9), Tally()
    print(f"\nseed {number}", flush=True)
    with connection.cursor() as cursor:
        # Nothing crashes in here.
        cursor.execute("SET synchronous_commit = off")
    while (
        tally["machines"] < 1000
        or tally["operations"] < 100_000
        # What comes seldom may take some more.
        or (REACHED - set(tally) and tally["machines"] < 3000)
    ):
        tally += play(Machine, number + tally["machines"], machines=100, steps=84)
        print(tally["machines"], tally["operations"], flush=True)

    report("gate beside a naive ledger", number, tally)
    assert sorted(REACHED - set(tally)) == []


@pytest.mark.soak
def test_the_api_is_that_ledger_for_long():
    number = random.SystemRandom().randrange(10**9)
    tally = play(ApiMachine, number, machines=60, steps=60)

    report("API beside a naive ledger", number, tally)


# What a fault would look like


def swapped(old, new):
    def change(text):
        assert old in text, f"no {old!r}"
        return text.replace(old, new)

    return change


def text(name, old, new):
    """A change of a function, to which what is plain is left as well."""
    others = {"authorize": {"admit": long_way}, "commit": LONG_WAYS}.get(name, {})
    return lambda: mutated({name: swapped(old, new)} | others)


def rows(when, table, body):
    return lambda: spoiled(when, table, body)


BUGS = {
    "a cancel that keeps its hold": rows("AFTER UPDATE", "gate_leases", "IF NEW.state = 'canceled' THEN UPDATE gate_counters SET reserved_minor = reserved_minor + NEW.reserved_minor WHERE id = ANY (NEW.counter_ids); END IF;"),
    "an expiry that gives back twice": rows("AFTER UPDATE", "gate_leases", "IF NEW.state = 'expired' THEN UPDATE gate_counters SET reserved_minor = greatest(0, reserved_minor - NEW.reserved_minor) WHERE id = ANY (NEW.counter_ids); END IF;"),
    "an expiry that keeps the money": text("expire", "PERFORM grants_release(v_lots, v_lots_held, p_at);", ""),
    "a remainder that is dropped": rows("BEFORE INSERT OR UPDATE", "gate_residual_buckets", "NEW.remainder_numer := 0;"),
    "a rate that counts twice": rows("BEFORE UPDATE", "gate_counters", "IF NEW.kind = 'rate' THEN NEW.used_minor := NEW.used_minor + 1; END IF;"),
    "a repeat that is decided again": rows("BEFORE INSERT", "gate_leases", "NEW.idempotency_key := gen_random_uuid();"),
    "a key that takes another body": text("commit", "kept.request_hash = decode(item.hash, 'hex')", "true"),
    "a limit off by one": rows("BEFORE INSERT", "gate_rule_sets", "NEW.policy_limits := ARRAY(SELECT x + 1 FROM unnest(NEW.policy_limits) WITH ORDINALITY AS l(x, n) ORDER BY n);"),
    "a hold rounded down": text("authorize", "+ rule.price_quantity_minor - 1,\n                        rule.price_quantity_minor) END", ",\n                        rule.price_quantity_minor) END"),
    "a quarantined commit that counts": rows("AFTER INSERT", "gate_ratings", "IF NEW.application_status = 'quarantined' THEN UPDATE gate_counters SET used_minor = used_minor + NEW.canonical_quantity_minor WHERE id IN (SELECT unnest(quota_counter_ids) FROM gate_leases WHERE id = NEW.lease_id); END IF;"),
    "an overshoot that is not clipped": text("commit", "v_fits := least(v_fits, v_capacity);", ""),
    "a counter of another window": text("authorize", "v_seconds || '|' || v_second / v_seconds || '|'", "v_seconds || '|' || v_second / v_seconds / 2 || '|'"),
    "a price that stays": rows("BEFORE UPDATE", "gate_catalog_versions", "NEW.version := OLD.version;"),
    "a plan that stays": rows("BEFORE UPDATE", "gate_account_versions", "NEW.version := OLD.version;"),
    "room for one more, in one stride": text("admit", "k.used + k.reserved <= k.most - k.need", "k.used + k.reserved <= k.most - k.need + 1"),
    "a remainder that is not carried in, in one stride": text("close", "* p_price + held.carried;", "* p_price;"),
    "a hold that is not given up, in one stride": text("close", "reserved_minor = c.reserved_minor - u.held", "reserved_minor = c.reserved_minor"),
    "a disabled user who sits on": text("authorize", "count(*) FILTER (WHERE u.status = 'active')", "count(*)"),
    "a commit of what is over": text("commit", "IF v_state <> 'active' THEN\n            v_quarantined := true;", "IF v_state <> 'active' THEN"),
}  # fmt: skip
QUICK = {
    "a rate that counts twice", "a repeat that is decided again", "an overshoot that is not clipped",
}  # fmt: skip


@pytest.mark.parametrize(
    "bug",
    [pytest.param(bug, marks=[pytest.mark.soak] * (bug not in QUICK)) for bug in BUGS],
)
def test_a_bug_would_be_found(bug):
    """Within 1,200 machines of 60 steps; most are found in one of the first."""
    with BUGS[bug](), pytest.raises(FOUND) as caught:
        play(Machine, len(bug), machines=1200, steps=60)

    print(f"\n{bug}: {str(caught.value)[:80]}")
