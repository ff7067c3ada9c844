"""What may be done with a lot: suspend, resume, revoke, and what each leaves behind."""

import pytest
from django.db import OperationalError, transaction

from config.tenancy.models import DomainEvent
from grants.models import GrantLot
from grants.services import funding
from grants.services.closing import close_ended_lots
from grants.services.funding import FundingExhausted
from grants.services.lots import (
    LotEnded,
    LotIsOverage,
    resume_lot,
    revoke_lot,
    suspend_lot,
)
from grants.services.settlement import settle_user
from tests.grants.lots import DAY, balances, bind, give, hold, overage_program, use
from tests.grants.racing import race


@pytest.fixture
def lot(user, at, by):
    return give(user, 500, at=at, by=by, on_ledger=True)


def kinds(lot):
    events = DomainEvent.objects.filter(subject_id=str(lot.pk)).order_by("id")
    return [event.kind for event in events]


def test_a_suspended_lot_pays_nothing_until_it_is_resumed(user, lot, at, by):
    suspended = suspend_lot(lot=lot, at=at, by=by)

    assert suspended.status == "suspended"
    with pytest.raises(FundingExhausted):
        funding.hold(user=user, amount_xusd=1, at=at)

    resumed = resume_lot(lot=lot, at=at, by=by)

    assert resumed.status == "ready"
    assert funding.available_xusd(user=user, at=at) == 500
    assert kinds(lot) == ["grant.suspended", "grant.resumed"]


def test_doing_it_again_changes_nothing(lot, at, by):
    for verb in (resume_lot, suspend_lot, suspend_lot, revoke_lot, revoke_lot):
        verb(lot=lot, at=at, by=by)

    assert kinds(lot) == ["grant.suspended", "grant.revoked"]
    assert lot.history.count() == 3


def test_revoking_takes_back_what_is_left(user, lot, at, by):
    use(user, 120, at=at, lot=lot)

    revoked = revoke_lot(lot=lot, at=at, by=by)

    assert (
        revoked.status,
        revoked.closure_kind,
        revoked.closed_at,
        revoked.closed_remaining_xusd,
    ) == ("canceled", "forfeit", at, 380)
    assert balances(user) == {"wallet": 120, "issued": -500, "forfeited": 380}
    settle_user(user=user, at=at, by=by)
    assert balances(user) == {"consumed": 120, "issued": -500, "forfeited": 380}
    assert user.postings.get(reason="revocation").explanation == by.reason


def test_a_revoked_hold_cannot_be_spent_and_is_given_back(user, lot, at, by):
    held = funding.hold(user=user, amount_xusd=200, at=at)
    revoke_lot(lot=lot, at=at, by=by)

    with pytest.raises(OperationalError, match="moved"), transaction.atomic():
        funding.settle(
            user=user, held=held, spend_xusd=200, source_ref="gate_rating:1", at=at
        )
    funding.release(held, at=at)

    lot.refresh_from_db()
    assert (lot.consumed_xusd, lot.reserved_xusd, lot.closed_remaining_xusd) == (
        0,
        0,
        500,
    )


def test_a_lot_of_which_all_was_spent_leaves_nothing_to_revoke(user, lot, at, by):
    use(user, 500, at=at, lot=lot)

    assert revoke_lot(lot=lot, at=at, by=by).closed_remaining_xusd == 0
    assert not user.postings.filter(reason="revocation").exists()


def test_a_rest_that_nobody_decided_on_may_be_revoked(user, at, by):
    assignment = bind(user, at=at, by=by, policy="none")
    lot = give(user, 500, at=at, by=by, assignment=assignment)
    late = at + 31 * DAY
    close_ended_lots(at=late, by=by.effective(late))

    revoked = revoke_lot(lot=lot, at=late, by=by.effective(late))

    assert (revoked.status, revoked.closure_kind) == ("canceled", "forfeit")
    assert balances(user) == {"issued": -500, "forfeited": 500}


@pytest.mark.parametrize("verb", [suspend_lot, resume_lot, revoke_lot])
def test_a_closed_lot(user, lot, at, by, verb):
    late = at + 31 * DAY
    close_ended_lots(at=late, by=by.effective(late))

    with pytest.raises(LotEnded, match="This grant is closed"):
        verb(lot=lot, at=late, by=by.effective(late))


@pytest.mark.parametrize("verb", [suspend_lot, resume_lot])
def test_a_revoked_lot_stays_revoked(lot, at, by, verb):
    revoke_lot(lot=lot, at=at, by=by)

    with pytest.raises(LotEnded, match="This grant is revoked"):
        verb(lot=lot, at=at, by=by)


@pytest.mark.parametrize("verb", [suspend_lot, resume_lot, revoke_lot])
def test_what_is_owed_was_not_given(user, at, by, verb):
    overage_program(user.realm, at=at, by=by)
    use(user, 9, at=at)
    settle_user(user=user, at=at, by=by)
    overage = GrantLot.objects.get(user=user, kind="fallback")

    with pytest.raises(LotIsOverage):
        verb(lot=overage, at=at, by=by)


def test_revoking_amid_uses_never_lets_a_use_follow(committed_realm, make_user, at, by):
    user = make_user(committed_realm)
    lot = give(user, 10_000, at=at, by=by)
    hold(lot, 500)

    def attempt(number):
        if number == 3:
            return revoke_lot(lot=lot, at=at, by=by).closed_remaining_xusd
        return sum(10 for _ in range(5) if use(user, 10, at=at, lot=lot))

    outcomes = race(attempt, threads=8)

    rest = outcomes.pop(3)
    settle_user(user=user, at=at, by=by)
    lot.refresh_from_db()
    assert lot.consumed_xusd == sum(outcomes) == 10_000 - rest
    assert balances(user).get("promotional", 0) == 0
    assert balances(user)["forfeited"] == rest
