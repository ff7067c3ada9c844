"""Holding and spending what lots have."""

import pytest
from django.db import OperationalError, transaction

from config.kernel.errors import Invalid
from config.kernel.ids import new_id
from grants.models import GrantLot
from grants.services.funding import (
    NOTHING_HELD,
    FundingExhausted,
    Hold,
    available_xusd,
    hold,
    release,
    settle,
)
from tests.tools.purse import adds_up, owed, purse, spent

INT64_MAX = 2**63 - 1


def standing(user):
    now = purse(user)
    return now.available_xusd, now.reserved_xusd, now.spent_xusd


def test_a_hold_is_taken_off_what_is_available(funded_user, at):
    held = hold(user=funded_user, amount_xusd=300, at=at)

    assert held.amounts == [300]
    assert standing(funded_user) == (200, 300, 0)
    assert available_xusd(user=funded_user, at=at) == 200


def test_a_hold_beyond_what_is_available_is_refused_with_what_lacks(funded_user, at):
    with pytest.raises(FundingExhausted) as refusal:
        hold(user=funded_user, amount_xusd=501, at=at)

    assert (refusal.value.status, refusal.value.code) == (402, "FUNDING.EXHAUSTED")
    assert refusal.value.hints == [
        {"type": "funding.xusd_shortfall", "shortfall_xusd": 1}
    ]
    assert refusal.value.message == (
        "The balance has 500 xusd available; 501 xusd are needed."
    )
    assert standing(funded_user) == (500, 0, 0)


def test_nothing_is_held_for_nothing(user, at):
    assert hold(user=user, amount_xusd=0, at=at) == NOTHING_HELD
    release(NOTHING_HELD, at=at)


@pytest.mark.parametrize("amount", [-1, INT64_MAX + 1, True, 1.5, "1_000", None])
def test_an_amount_that_is_none_is_refused(funded_user, at, amount):
    with pytest.raises(Invalid) as refusal:
        hold(user=funded_user, amount_xusd=amount, at=at)
    assert refusal.value.field == "amount_xusd"
    with pytest.raises(Invalid):
        settle(user=funded_user, spend_xusd=amount, source_ref="s", at=at)


def test_a_hold_given_up_is_available_again(funded_user, at):
    release(hold(user=funded_user, amount_xusd=300, at=at), at=at)

    assert standing(funded_user) == (500, 0, 0)


def test_what_is_not_held_cannot_be_given_up(funded_user, at):
    lot = GrantLot.objects.get(user=funded_user)
    for held in (Hold([lot.pk], [1]), Hold([lot.pk, lot.pk], [0, 1])):
        with pytest.raises(OperationalError), transaction.atomic():
            release(held, at=at)


def test_a_settlement_gives_the_hold_up_and_takes_the_amount(funded_user, at):
    held = hold(user=funded_user, amount_xusd=300, at=at)

    settle(user=funded_user, held=held, spend_xusd=120, source_ref="lease:1", at=at)

    assert standing(funded_user) == (380, 0, 120)
    assert spent(funded_user) == {"lease:1": 120}
    assert adds_up(funded_user)


def test_more_than_was_held_is_taken_from_what_is_left(funded_user, at):
    held = hold(user=funded_user, amount_xusd=300, at=at)

    settle(user=funded_user, held=held, spend_xusd=500, source_ref="lease:1", at=at)

    assert standing(funded_user) == (0, 0, 500)


def test_more_than_there_is_is_not_taken_at_all(funded_user, at):
    held = hold(user=funded_user, amount_xusd=300, at=at)

    with pytest.raises(OperationalError), transaction.atomic():
        settle(user=funded_user, held=held, spend_xusd=501, source_ref="x", at=at)

    assert standing(funded_user) == (200, 300, 0)
    assert spent(funded_user) == {}


def test_what_no_lot_pays_is_left_owing(funded_user, at):
    settle(user=funded_user, spend_xusd=500, owed_xusd=70, source_ref="lease:1", at=at)

    assert spent(funded_user) == {"lease:1": 500}
    assert owed(funded_user) == {"lease:1": 70}


def test_a_source_is_paid_from_a_lot_once(funded_user, at):
    from django.db import IntegrityError

    settle(user=funded_user, spend_xusd=5, source_ref="lease:1", at=at)
    with pytest.raises(IntegrityError), transaction.atomic():
        settle(user=funded_user, spend_xusd=5, source_ref="lease:1", at=at)
    assert spent(funded_user) == {"lease:1": 5}


@pytest.mark.parametrize("source_ref", ["", "   ", "a\0b", "x" * 256])
def test_a_source_that_is_none_is_refused(funded_user, at, source_ref):
    with pytest.raises(Invalid) as refusal:
        settle(user=funded_user, spend_xusd=1, source_ref=source_ref, at=at)
    assert refusal.value.field == "source_ref"


def test_another_users_lots_do_not_pay(funded_user, make_user, realm, at):
    other = make_user(realm, "u-2")

    with pytest.raises(FundingExhausted):
        hold(user=other, amount_xusd=1, at=at)
    with pytest.raises(OperationalError), transaction.atomic():
        settle(user=other, spend_xusd=1, source_ref=f"x:{new_id()}", at=at)
