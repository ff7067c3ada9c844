from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction

from gating.models import Counter, Lease
from gating.services.functions import GateMoved
from gating.services.leases import LeaseUnknown, expire_leases
from tests.gating.racing import end_overdue

OVERDUE = timedelta(hours=12, seconds=60, microseconds=1)


@pytest.fixture
def nothing_overdue(db, at):
    """Expire what tests with committed rows left behind, so that runs can be counted."""
    end_overdue(at + timedelta(days=3650))


def test_cancel_gives_everything_back(gate):
    gate.feature(price=10)
    gate.credit(1000)
    gate.quota(500)
    lease = gate.lease(75)

    end = gate.cancel(lease)

    assert (end.canceled, end.released_minor) == (True, 75)
    assert gate.row(lease).state == "canceled"
    assert gate.used() == (0, 0)
    assert gate.balance() == (1000, 0, 0)


@pytest.mark.parametrize("how", ["cancel", "commit", "expire"])
def test_cancel_of_an_ended_lease_changes_nothing(gate, how):
    gate.feature()
    gate.quota(500)
    lease = gate.lease(75)
    if how == "cancel":
        gate.cancel(lease)
    elif how == "commit":
        gate.commit(lease, 75)
    else:
        gate = gate.at_instant(gate.at + OVERDUE)
    before = gate.row(lease).state

    end = gate.cancel(lease)

    assert (end.canceled, end.released_minor) == (False, 0)
    assert gate.row(lease).state == ("expired" if how == "expire" else before)
    assert gate.used()[1] == 0


def test_cancel_of_an_unknown_lease_is_refused(gate):
    with pytest.raises(LeaseUnknown):
        gate.cancel("lease.none")


def test_a_commit_after_a_cancel_is_quarantined(gate):
    gate.feature()
    lease = gate.lease(1)
    gate.cancel(lease)

    answer = gate.commit(lease, 1)

    assert {"type": "lease.closed_at_commit", "state": "canceled"} in answer.hints


def test_expiry_waits_for_the_grace_and_then_gives_everything_back(
    gate, nothing_overdue
):
    gate.feature(price=10)
    gate.credit(1000)
    gate.quota(500)
    lease = gate.lease(75)

    assert expire_leases(at=gate.at + OVERDUE - timedelta(microseconds=1)) == 0
    assert gate.row(lease).state == "active"
    assert expire_leases(at=gate.at + OVERDUE) == 1
    assert expire_leases(at=gate.at + OVERDUE) == 0

    assert gate.row(lease).state == "expired"
    assert gate.used() == (0, 0)
    assert gate.balance() == (1000, 0, 0)


def test_expiry_takes_every_account_and_user(gate, nothing_overdue):
    gate.feature(price=10)
    others = [
        gate.of_user("u-2"),
        gate.of_principal("b"),
        gate.of_principal("b", "u-2"),
    ]
    for each in (gate, *others):
        each.credit(1000)
        each.lease(10)
        each.lease(10)

    assert expire_leases(at=gate.at + OVERDUE, batch=10) == 8
    for each in (gate, *others):
        assert each.balance() == (1000, 0, 0)


def test_a_batch_bounds_the_accounts_of_one_run(gate, nothing_overdue):
    gate.feature()
    for each in (gate, gate.of_principal("b"), gate.of_principal("c")):
        each.lease(1)

    assert expire_leases(at=gate.at + OVERDUE, batch=2) == 2
    assert expire_leases(at=gate.at + OVERDUE, batch=2) == 1


def test_an_account_whose_rows_are_broken_keeps_no_other_from_expiring(
    gate, nothing_overdue, capsys
):
    gate.feature()
    gate.quota(500)
    first, other = sorted(
        (gate, gate.of_principal("b")), key=lambda each: each.account.pk
    )
    broken, sound = first.lease(5), other.lease(5)
    Counter.objects.filter(account=first.account).update(reserved_minor=4)

    assert expire_leases(at=gate.at + OVERDUE) == 1

    assert (first.row(broken).state, other.row(sound).state) == ("active", "expired")
    logged = capsys.readouterr().out
    assert "leases were not expired" in logged
    assert str(first.account.pk) in logged


def test_authorize_frees_what_overdue_leases_hold(gate):
    gate.feature()
    gate.quota(100, seconds=30 * 86_400)
    gate.lease(100)

    later = gate.at_instant(gate.at + OVERDUE)
    lease = later.lease(100)

    assert later.used() == (0, 100)
    assert set(
        Lease.objects.filter(realm=gate.realm).values_list("state", flat=True)
    ) == {"expired", "active"}
    assert gate.row(lease).state == "active"


def test_authorize_leaves_a_lease_in_its_grace_alone(gate):
    gate.feature()
    gate.quota(100, seconds=30 * 86_400)
    lease = gate.lease(60)
    in_grace = gate.at_instant(gate.at + OVERDUE - timedelta(microseconds=1))

    in_grace.lease(40)

    assert gate.row(lease).state == "active"
    assert gate.used() == (0, 100)


def test_a_denied_authorize_still_frees_them(gate):
    gate.feature()
    gate.quota(100, seconds=30 * 86_400)
    gate.lease(100)
    later = gate.at_instant(gate.at + OVERDUE)
    from gating.services.denials import GateDenied

    with pytest.raises(GateDenied):
        later.authorize(101)

    assert later.used() == (0, 0)


def test_a_lease_ends_only_once(gate):
    from gating.services.leases import close

    gate.feature()
    lease = gate.row(gate.lease(1))
    close(lease, "canceled", at=gate.at)

    with pytest.raises(GateMoved):
        close(lease, "expired", at=gate.at)


def test_an_ended_lease_has_its_end(gate):
    gate.feature()
    lease = gate.lease(1)

    with (
        pytest.raises(IntegrityError, match="gate_lease_ended_iff_not_active"),
        transaction.atomic(),
    ):
        Lease.objects.filter(lease=lease).update(state="canceled")
