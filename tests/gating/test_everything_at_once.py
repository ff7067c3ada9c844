"""The sums that hold whatever happens at once."""

from collections import Counter as Tally
from datetime import timedelta

import pytest
from django.db.models import Sum

from gating.models import Counter, Lease, Rating
from gating.services.functions import GateMoved
from gating.services.leases import expire_leases
from grants.models import Budget, GrantLot
from tests.gating.racing import arena, deadlocks, racers, report

pytestmark = pytest.mark.usefixtures("committed")


def check_account(gate):
    """What is held is what the active leases hold; what is used is what was applied."""
    active = Lease.objects.filter(realm=gate.realm, state="active")
    held = active.aggregate(q=Sum("reserved_minor"), x=Sum("reserved_xusd"))
    applied = Rating.objects.filter(realm=gate.realm).aggregate(
        q=Sum("applied_quantity_minor"), x=Sum("funded_xusd")
    )
    quotas = Counter.objects.filter(
        realm=gate.realm, kind="quota", subject_scope="account"
    )
    counted = quotas.aggregate(u=Sum("used_minor"), r=Sum("reserved_minor"))
    money = GrantLot.objects.filter(realm=gate.realm).aggregate(
        s=Sum("consumed_xusd"), r=Sum("reserved_xusd")
    )
    assert (counted["r"] or 0) == (held["q"] or 0)
    assert (money["r"] or 0) == (held["x"] or 0)
    assert (counted["u"] or 0) == (applied["q"] or 0)
    assert (money["s"] or 0) == (applied["x"] or 0)
    for counter in quotas:
        assert counter.used_minor + counter.reserved_minor <= 500
    for budget in Budget.objects.filter(realm=gate.realm):
        held = active.filter(budget_id=budget.pk).aggregate(x=Sum("reserved_xusd"))
        took = budget.ratings.aggregate(x=Sum("applied_amount_xusd"))
        assert budget.reserved_xusd == (held["x"] or 0)
        assert budget.consumed_xusd == (took["x"] or 0)
        assert budget.consumed_xusd + budget.reserved_xusd <= budget.limit_xusd


@pytest.mark.parametrize("rounds", [6, pytest.param(150, marks=pytest.mark.soak)])
def test_everything_at_once_keeps_the_sums(at, by, rounds):
    """Authorize, commit, cancel, expiry and repeats of any of them, in any order."""
    tally, before = Tally(), deadlocks()
    with racers(12) as racing:
        gate = arena(at, by)
        gate.feature(price=3, meters=["tokens"])
        gate.price("tokens", 1, per=3)
        gate.quota(500, subject_scope="account")
        users = [gate, gate.of_user("u-2"), gate.of_user("u-3")]
        for who in users:
            who.credit(2000)
            who.budget(1200)
        keys, clock = [], at
        for number in range(rounds):
            clock += timedelta(minutes=racing.chance.choice([1, 30, 400]))
            open_leases = list(
                Lease.objects.filter(realm=gate.realm).order_by("?")[:20]
            )
            calls = [
                random_call(
                    racing.chance,
                    [who.at_instant(clock) for who in users],
                    open_leases,
                    keys,
                    number,
                    n,
                )
                for n in range(12)
            ]
            for result in racing.race([call for _, call in calls]):
                tally[type(result).__name__] += 1
                assert not isinstance(result, GateMoved | AssertionError), result
            check_account(gate)
        report("everything at once", racing, rounds, tally)
    assert deadlocks() == before
    assert set(tally) <= {
        "Admission",
        "GateDenied",
        "Cancellation",
        "int",
        "KeyReused",
    }, tally


def random_call(chance, users, leases, keys, number, n):
    who, key = chance.choice(users), f"k-{number}-{n}"
    what = chance.choice(
        ["authorize", "authorize", "commit", "commit", "cancel", "expire", "again"]
    )
    if what == "again" and keys:
        key, estimate, budget = chance.choice(keys)
        return what, lambda: who.authorize(estimate, key=key, budget=budget)
    if what in {"commit", "cancel"} and leases:
        row, quantity = chance.choice(leases), chance.randrange(1, 120)
        owner = next(each for each in users if each.user.pk == row.user_id)
        if what == "cancel":
            return what, lambda: owner.cancel(row.lease)
        return what, lambda: owner.commit(
            row.lease, quantity, key=key, meters=[("chat", quantity), ("tokens", 2)]
        )
    if what == "expire":
        return what, lambda: expire_leases(at=who.at)
    estimate = chance.choice([None, 1, 40, 90])
    budget = chance.choice([None, "trip"])
    keys.append((key, estimate, budget))
    return "authorize", lambda: who.authorize(estimate, key=key, budget=budget)
