"""The desk finds what is held by index: leases that have ended cost it nothing."""

import pytest

from gating.models import Lease
from gating.selectors.holds import HoldFilters, held_together, holds
from tests.gating.test_query_plans import MANY, fill, read
from tests.tools.tables import run

ENDED = {
    "gate_leases": {
        "id": "md5('l' || n)", "lease": "'l' || n", "idempotency_key": "'k' || n",
        "state": "'closed'", "ended_at": "(kept).authorized_at", "rating_id": "md5('r' || n)", "rated_at": "(kept).authorized_at",
        "authorized_at": "(kept).authorized_at - make_interval(secs => n)",
    },
}  # fmt: skip
LIVE = 7
MOST = 5 * LIVE
"""Rows of leases that a read of the live ones may touch."""


@pytest.fixture
def busy(gate):
    """A user with many leases that have ended and a few live ones; another with one."""
    gate.feature()
    gate.other = gate.of_user("u-2")
    gate.other.lease(1)
    gate.lease(1)
    fill(ENDED)
    for _ in range(LIVE - 2):
        gate.lease(1)
    run("ANALYZE gate_leases")
    return gate


def listed(gate, **where):
    found = holds(gate.realm, HoldFilters(**where), at=gate.at)
    return list(found.order_by("id")[:51])


def summed(gate):
    return held_together(gate.realm, HoldFilters(), limit=50, at=gate.at)[0]


READS = {
    "realm": lambda gate: listed(gate),
    "orphans": lambda gate: listed(gate, orphaned=True),
    "account": lambda gate: listed(gate, billing_account_id=gate.account.pk),
    "user": lambda gate: listed(gate, billing_user_id=gate.user.pk),
    "feature": lambda gate: listed(gate, feature_code="chat"),
    "older": lambda gate: listed(gate, older_than_seconds=60),
    "ended of a user": lambda gate: listed(
        gate, state="closed", billing_user_id=gate.other.user.pk
    ),
    "summary": summed,
}


def reading(gate, name):
    """Return whether leases were scanned by a read, and how many rows of them it read."""
    before = read().get("gate_leases", (0, 0))
    READS[name](gate)
    scans, tuples = read()["gate_leases"]
    return scans - before[0], tuples - before[1]


def test_desk_reads_live_leases_only(busy):
    found = {name: reading(busy, name) for name in READS}

    print(f"\n{MANY} leases that have ended, {LIVE} live; (scans, rows): {found}")
    assert {
        name: read for name, read in found.items() if read[0] or read[1] > MOST
    } == {}
    assert len(listed(busy)) == LIVE


def test_ended_holds_of_a_busy_account_are_read_by_index(busy):
    where = {"state": "closed", "billing_account_id": busy.account.pk}
    # So few rows may as well be read whole and sorted, by the luck of a sample: asked is
    # whether there is an index in the order of the list.
    for way in ("seqscan", "bitmapscan", "sort"):
        run(f"SET LOCAL enable_{way} = off")
    before = read()["gate_leases"]

    assert len(listed(busy, **where)) == 51

    _, tuples = read()["gate_leases"]
    # Other tests may have left leases behind, which stand before these by their ids.
    left = Lease.objects.exclude(realm=busy.realm).count()
    print(f"\n{tuples - before[1]} rows read for 51, {left} left by others")
    assert tuples - before[1] <= 200 + left


def test_without_its_index_the_desk_would_read_them_all(busy):
    """The control."""
    run("DROP INDEX gate_leases_active_by_account")

    scans, tuples = reading(busy, "realm")

    assert scans > 0 or tuples > MANY / 2
