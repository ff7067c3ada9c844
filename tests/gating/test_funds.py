"""What the gate did with lots is proven with the ledger."""

from datetime import timedelta

import pytest
from django.db.models import F

from config.kernel.ids import new_id
from gating.models import Lease, Rating
from gating.services.denials import GateDenied
from grants.models import GrantAllocation, GrantLot
from grants.selectors.proof import HELD, INVENTED, USES, findings
from grants.services.lots import revoke_lot, suspend_lot
from grants.services.settlement import settle_user
from tests.tools.purse import lots_of, owed, purse, spent, store_lot
from tests.tools.tables import run

DAY = timedelta(days=1)


def add_lot(gate, amount, **options):
    return store_lot(
        gate.realm.pk,
        gate.account.pk,
        gate.user.pk,
        at=gate.at,
        by=gate.by,
        amount=amount,
        **options,
    )


def rules(gate):
    return {found.rule for found in findings(realm_id=gate.realm.pk)}


@pytest.fixture
def used(gate):
    """A user with a live hold, a paid commit, a hold given up, and one that ran out."""
    gate.feature(price=10)
    gate.credit(1000)
    gate.commit(gate.lease(20), 15)
    gate.cancel(gate.lease(5))
    gate.lease(7)
    return gate


def test_the_ledger_is_proven_with_the_gates_holds_and_ratings(used):
    assert purse(used.user).reserved_xusd == 70
    assert rules(used) == set()
    settle_user(user=used.user, at=used.at, by=used.by)
    assert rules(used) == set()

    run("UPDATE grant_lots SET reserved_xusd = reserved_xusd + 1")
    assert rules(used) == {HELD}
    run("UPDATE grant_lots SET reserved_xusd = reserved_xusd - 1")
    run("SET CONSTRAINTS ALL IMMEDIATE")
    run("ALTER TABLE gate_ratings DISABLE TRIGGER USER")
    Rating.objects.filter(realm=used.realm).update(
        applied_amount_xusd=149, funded_xusd=149
    )
    assert rules(used) == {USES}


def test_an_allocation_of_a_rating_that_was_never_made_is_found(used):
    lot = GrantLot.objects.get(user=used.user)
    facts = {"realm_id": used.realm.pk, "account_id": used.account.pk}
    for source_ref in (f"gate_rating:{new_id()}", "gate_rating:none"):
        GrantAllocation.objects.create(
            **facts,
            user=used.user,
            lot=lot,
            amount_xusd=5,
            source_ref=source_ref,
            occurred_at=used.at + 365 * DAY,
        )
    GrantLot.objects.filter(pk=lot.pk).update(consumed_xusd=F("consumed_xusd") + 10)

    assert [found.rule for found in findings(realm_id=used.realm.pk)] == [INVENTED] * 2


def test_a_hold_is_on_the_lots_next_to_pay_and_the_lease_tells_which(gate):
    gate.feature(price=10)
    last = add_lot(gate, 500)
    first = add_lot(gate, 120, window_end=gate.at + DAY)

    lease = gate.lease(30)

    row = gate.row(lease)
    assert dict(zip(row.held_lots, row.held_amounts, strict=True)) == {
        first: 120,
        last: 180,
    }


def test_a_batch_of_holds_shares_lots_without_a_gap(gate):
    gate.feature(price=10)
    add_lot(gate, 500)
    add_lot(gate, 120, window_end=gate.at + DAY)

    leases = [gate.lease(8) for _ in range(3)]

    held = [dict(zip(*pair(gate, lease), strict=True)) for lease in leases]
    assert [sorted(each.values()) for each in held] == [[80], [40, 40], [80]]
    assert not rules(gate) & {HELD, USES}


def pair(gate, lease):
    row = gate.row(lease)
    return row.held_lots, row.held_amounts


def test_a_hold_outlives_the_end_of_its_lot(gate):
    gate.feature(price=10)
    add_lot(gate, 300, window_end=gate.at + timedelta(hours=1))
    lease = gate.lease(30)

    later = gate.later(hours=2)
    committed = later.commit(lease, 30)

    assert gate.rating(committed).funded_xusd == 300
    assert purse(gate.user).reserved_xusd == 0


def test_what_a_hold_gives_back_after_the_end_of_its_lot_pays_nobody(gate):
    gate.feature(price=10)
    add_lot(gate, 300, window_end=gate.at + timedelta(hours=1))
    lease = gate.lease(30)

    gate.later(hours=2).commit(lease, 10)

    assert purse(gate.user).spent_xusd == 100
    with pytest.raises(Exception, match="balance"):
        gate.later(hours=2).lease(1)


@pytest.mark.parametrize("end", [revoke_lot, suspend_lot])
def test_a_hold_on_a_lot_that_was_taken_away_pays_nothing(gate, end):
    gate.feature(price=10)
    add_lot(gate, 300, window_end=gate.at + DAY)
    lease = gate.lease(30)
    end(lot=GrantLot.objects.get(user=gate.user), at=gate.at, by=gate.by)

    rating = gate.rating(gate.commit(lease, 30))

    assert (rating.application_status, rating.funded_xusd) == ("applied_clipped", 0)
    assert rating.evidence["void_xusd"] == 300
    assert purse(gate.user).reserved_xusd == 0
    assert spent(gate.user) == {}


def test_what_a_taken_away_hold_lacks_other_lots_pay(gate):
    gate.feature(price=10)
    add_lot(gate, 300, window_end=gate.at + DAY)
    lease = gate.lease(30)
    suspend_lot(lot=GrantLot.objects.get(user=gate.user), at=gate.at, by=gate.by)
    other = add_lot(gate, 250)

    rating = gate.rating(gate.commit(lease, 30))

    assert rating.funded_xusd == 250
    assert GrantLot.objects.get(pk=other).consumed_xusd == 250


def test_postpaid_use_beyond_all_lots_is_left_owing_and_settled_as_overage(gate):
    gate.feature(price=10)
    gate.credit(100)
    gate.plan(mode="postpaid")

    rating = gate.rating(gate.commit(gate.lease(30), 30))

    source = f"gate_rating:{rating.pk}"
    assert (spent(gate.user), owed(gate.user)) == ({source: 100}, {source: 200})
    assert not rules(gate) & {HELD, USES}
    settle_user(user=gate.user, at=gate.at, by=gate.by)
    [overage] = GrantLot.objects.filter(user=gate.user, kind="fallback")
    assert (overage.consumed_xusd, overage.remaining_xusd) == (200, -200)
    assert not GrantAllocation.objects.filter(
        user=gate.user, posting__isnull=True
    ).exists()
    assert not rules(gate) & {HELD, USES}


def test_leases_that_run_out_give_back_to_the_lots_they_held_on(gate):
    gate.feature(price=10)
    add_lot(gate, 120, window_end=gate.at + 30 * DAY)
    add_lot(gate, 500)
    gate.lease(30)
    gate.lease(10)
    assert purse(gate.user).reserved_xusd == 400

    gate.later(hours=13).lease(1)

    assert [lot.reserved_xusd for lot in lots_of(gate.user)] == [10, 0]
    assert Lease.objects.filter(realm=gate.realm, state="expired").count() == 2
    assert not rules(gate) & {HELD, USES}


def test_a_batch_of_commits_may_hold_on_different_numbers_of_lots(gate):
    gate.feature(price=10)
    add_lot(gate, 500)
    add_lot(gate, 120, window_end=gate.at + DAY)
    leases = [gate.lease(8) for _ in range(2)]

    gate.commit_each(leases, 8)

    assert purse(gate.user).spent_xusd == 160
    assert purse(gate.user).reserved_xusd == 0
    assert not rules(gate) & {HELD, USES}


def test_preflight_sees_what_is_owed_beside_what_runs_out(gate):
    gate.feature(price=1)
    add_lot(gate, 100)
    gate.lease(100)
    GrantAllocation.objects.create(
        realm_id=gate.realm.pk,
        account_id=gate.account.pk,
        user=gate.user,
        amount_xusd=60,
        source_ref="x:1",
        occurred_at=gate.at,
    )
    later = gate.later(days=2)

    for ask in (later.preflight, later.lease):
        with pytest.raises(GateDenied):
            ask(80)
    assert later.preflight(40)
    assert later.lease(40)
