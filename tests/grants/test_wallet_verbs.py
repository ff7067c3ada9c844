"""Consuming and adjusting a wallet: exact, in order, once per key, and undone whole."""

import pytest
from django.db import transaction

from config.kernel.audit import NotYetEffective
from config.kernel.errors import Invalid
from config.kernel.money import INT64_MAX
from config.tenancy.models import DomainEvent
from grants.models import GrantAllocation, GrantLot
from grants.selectors.proof import findings
from grants.services import funding
from grants.services.adjustments import (
    AdjustmentSpent,
    NotAnAdjustment,
    adjust_wallet,
    reverse_adjustment,
)
from grants.services.approval import ApprovalRequired
from grants.services.closing import close_ended_lots
from grants.services.consumption import KeyConsumedOtherwise, consume
from grants.services.funding import FundingExhausted
from grants.services.ledger import AlreadyReversed
from grants.services.lots import LotEnded, suspend_lot
from grants.services.settlement import settle_user
from tests.grants.lots import DAY, balances, give, overage_program, program_of, use
from tests.grants.racing import race

YEAR = 365 * 86_400


@pytest.fixture
def lots(user, at, by):
    """What ends first, then what has the higher priority, then the rest."""
    adjustable(user, at, by)
    return [
        give(user, 100, at=at, by=by, days=5),
        give(user, 200, at=at, by=by, days=9, priority=9, on_ledger=True),
        give(user, 300, at=at, by=by, days=9),
    ]


def adjustable(user, at, by):
    overage_program(user.realm, at=at, by=by)
    program_of(
        user.realm, "one_time_xusd", at=at, by=by, on_ledger=True, priority=10,
        window_kind="fixed", window_default_seconds=YEAR,
    )  # fmt: skip


def left(lots):
    return [GrantLot.objects.get(pk=lot.pk).remaining_xusd for lot in lots]


def sound(user):
    return list(findings(account_id=user.account_id)) == []


def test_consuming_takes_in_the_order_of_spending(user, lots, at, by):
    done, created = consume(user=user, amount_xusd=250, key="k", at=at, by=by)

    assert created
    assert (done.source_ref, done.amount_xusd) == ("consume:k", 250)
    assert dict(done.lots) == {lots[0].pk: 100, lots[1].pk: 150}
    assert left(lots) == [0, 50, 300]
    assert sound(user)
    settle_user(user=user, at=at, by=by)
    assert balances(user)["consumed"] == 250
    assert sound(user)


def test_consuming_again_is_the_same(user, lots, at, by):
    first, _ = consume(user=user, amount_xusd=600, key="k", at=at, by=by)

    again, created = consume(user=user, amount_xusd=600, key="k", at=at, by=by)

    assert (again, created) == (first, False)
    assert left(lots) == [0, 0, 0]
    assert DomainEvent.objects.filter(kind="wallet.consumed").count() == 1


def test_a_key_of_another_amount(user, lots, at, by):
    consume(user=user, amount_xusd=10, key="k", at=at, by=by)

    with pytest.raises(KeyConsumedOtherwise, match="already consumed 10 xusd, not 11"):
        consume(user=user, amount_xusd=11, key="k", at=at, by=by)


def test_more_than_is_available(user, lots, at, by):
    use(user, 40, at=at)
    settle_user(user=user, at=at, by=by)

    with pytest.raises(FundingExhausted) as refusal:
        consume(user=user, amount_xusd=600, key="k", at=at, by=by)

    assert refusal.value.hints == [
        {"type": "funding.xusd_shortfall", "shortfall_xusd": 40}
    ]
    assert left(lots) == [100, 200, 300]


def test_consuming_leaves_holds_and_suspended_lots_alone(user, lots, at, by):
    suspend_lot(lot=lots[1], at=at, by=by)
    funding.hold(user=user, amount_xusd=60, at=at)

    done, _ = consume(user=user, amount_xusd=340, key="k", at=at, by=by)

    assert dict(done.lots) == {lots[0].pk: 40, lots[2].pk: 300}


@pytest.mark.parametrize("amount", [0, -1, INT64_MAX + 1, "x", True])
def test_what_is_no_amount_to_consume(user, lots, at, by, amount):
    with pytest.raises(Invalid):
        consume(user=user, amount_xusd=amount, key="k", at=at, by=by)


@pytest.mark.parametrize("key", ["x" * 300, "a\nb"])
def test_what_is_no_key(user, lots, at, by, key):
    with pytest.raises(Invalid):
        consume(user=user, amount_xusd=1, key=key, at=at, by=by)


LONG = "k" * 255


def test_a_long_key_is_consumed_once_and_is_no_other_long_key(user, lots, at, by):
    first, _ = consume(user=user, amount_xusd=100, key=LONG, at=at, by=by)

    again = consume(user=user, amount_xusd=100, key=LONG, at=at, by=by)
    other, created = consume(
        user=user, amount_xusd=50, key=LONG[:-1] + "x", at=at, by=by
    )

    assert again == (first, False)
    assert created
    assert other.source_ref != first.source_ref
    assert left(lots) == [0, 150, 300]


def test_a_long_key_adjusts_once(user, lots, at, by):
    first, _ = adjust_wallet(user=user, amount_xusd=-70, key=LONG, at=at, by=by)

    again = adjust_wallet(user=user, amount_xusd=-70, key=LONG, at=at, by=by)
    _, other = adjust_wallet(
        user=user, amount_xusd=70, key=LONG[:-1] + "x", at=at, by=by
    )

    assert again == (first, False)
    assert other
    assert sound(user)


@pytest.mark.parametrize(("verb", "longest"), [("consume", 247), ("adjustment", 244)])
def test_a_key_that_fits_stands_for_itself(verb, longest):
    fits = "k" * longest

    assert funding.source_of_key(verb, fits) == f"{verb}:{fits}"
    assert len(funding.source_of_key(verb, fits + "k")) < funding.MAX_SOURCE_REF


def test_one_consumption_at_once_happens_once(committed_realm, make_user, at, by):
    user = make_user(committed_realm)
    lot = give(user, 500, at=at, by=by)

    answers = race(
        lambda _: consume(user=user, amount_xusd=60, key="k", at=at, by=by), threads=8
    )

    assert sum(created for _, created in answers) == 1
    assert left([lot]) == [440]


def test_control_without_the_lock_one_key_may_spend_two_lots(user, lots, at, by):
    # Two calls that both found nothing under the key, one lot's end apart.
    for instant in (at, at + 6 * DAY):
        with transaction.atomic():
            funding.settle(user=user, spend_xusd=60, source_ref="consume:k", at=instant)

    assert GrantAllocation.objects.filter(source_ref="consume:k").count() == 2


def test_giving_is_a_lot_of_its_own(user, lots, at, by):
    posting, created = adjust_wallet(user=user, amount_xusd=70, key="k", at=at, by=by)

    lot = GrantLot.objects.get(issue_key="adjustment:k")
    assert created
    assert (lot.amount_xusd, lot.program.program_code, lot.priority) == (
        70, "one_time_xusd", 10,
    )  # fmt: skip
    assert (lot.window_end - at).total_seconds() == YEAR
    assert (posting.reason, posting.explanation) == ("adjustment", by.reason)
    assert balances(user)["adjusted"] == -70
    assert sound(user)


def test_taking_lessens_lots_in_the_order_of_spending(user, lots, at, by):
    use(user, 30, at=at, lot=lots[0])

    adjust_wallet(user=user, amount_xusd=-100, key="k", at=at, by=by)

    assert left(lots) == [0, 170, 300]
    assert [GrantLot.objects.get(pk=lot.pk).amount_xusd for lot in lots] == [
        30, 170, 300,
    ]  # fmt: skip
    assert balances(user)["adjusted"] == 100
    assert sound(user)


def test_a_wallet_is_never_taken_below_nothing(user, lots, at, by):
    held = funding.hold(user=user, amount_xusd=50, at=at)

    with pytest.raises(FundingExhausted) as refusal:
        adjust_wallet(user=user, amount_xusd=-551, key="k", at=at, by=by)

    assert refusal.value.hints[0]["shortfall_xusd"] == 1
    adjust_wallet(user=user, amount_xusd=-550, key="k", at=at, by=by)
    assert left(lots) == [0, 0, 0]
    funding.release(held, at=at)
    assert left(lots) == [50, 0, 0]
    assert sound(user)


@pytest.mark.parametrize("amount", [70, -70])
def test_adjusting_again_is_the_same(user, lots, at, by, amount):
    first, _ = adjust_wallet(user=user, amount_xusd=amount, key="k", at=at, by=by)

    again, created = adjust_wallet(user=user, amount_xusd=amount, key="k", at=at, by=by)

    assert (again, created) == (first, False)
    assert sum(left(GrantLot.objects.filter(user=user))) == 600 + amount


@pytest.mark.parametrize("other", [-70, 71])
def test_an_adjustments_key_of_another_amount(user, lots, at, by, other):
    adjust_wallet(user=user, amount_xusd=70, key="k", at=at, by=by)

    with pytest.raises(KeyConsumedOtherwise, match=f"by 70 xusd, not {other}"):
        adjust_wallet(user=user, amount_xusd=other, key="k", at=at, by=by)


@pytest.mark.parametrize("amount", [0, INT64_MAX + 1, -INT64_MAX - 1])
def test_what_is_no_adjustment(user, lots, at, by, amount):
    with pytest.raises(Invalid):
        adjust_wallet(user=user, amount_xusd=amount, key="k", at=at, by=by)


def test_an_adjustment_holds_at_once(user, lots, at, by):
    with pytest.raises(NotYetEffective):
        adjust_wallet(
            user=user, amount_xusd=7, key="k", at=at, by=by.effective(at + DAY)
        )


@pytest.mark.parametrize("amount", [70, -150])
def test_undoing_puts_the_lots_right(user, lots, at, by, amount):
    posting, _ = adjust_wallet(user=user, amount_xusd=amount, key="k", at=at, by=by)

    undone = reverse_adjustment(posting=posting, at=at, by=by)

    assert (undone.reason, undone.reverses) == ("reversal", posting)
    assert left(lots) == [100, 200, 300]
    assert funding.available_xusd(user=user, at=at) == 600
    assert balances(user) == {"wallet": 200, "promotional": 400, "issued": -600}
    assert sound(user)


def test_undoing_twice(user, lots, at, by):
    posting, _ = adjust_wallet(user=user, amount_xusd=-150, key="k", at=at, by=by)
    undone = reverse_adjustment(posting=posting, at=at, by=by)

    with pytest.raises(AlreadyReversed), transaction.atomic():
        reverse_adjustment(posting=posting, at=at, by=by)
    with pytest.raises(NotAnAdjustment):
        reverse_adjustment(posting=undone, at=at, by=by)

    assert left(lots) == [100, 200, 300]


def test_undoing_twice_what_gave(user, lots, at, by):
    posting, _ = adjust_wallet(user=user, amount_xusd=10, key="k", at=at, by=by)
    reverse_adjustment(posting=posting, at=at, by=by)

    with pytest.raises(AlreadyReversed):
        reverse_adjustment(posting=posting, at=at, by=by)


def test_giving_above_the_limit_needs_approval(user, lots, limit, at, by):
    adjust_wallet(user=user, amount_xusd=71, key="a", at=at, by=by)
    limit(70)

    adjust_wallet(user=user, amount_xusd=71, key="a", at=at, by=by)
    adjust_wallet(user=user, amount_xusd=-71, key="b", at=at, by=by)
    with pytest.raises(ApprovalRequired):
        adjust_wallet(user=user, amount_xusd=71, key="c", at=at, by=by)
    adjust_wallet(user=user, amount_xusd=72, key="d", may_approve=True, at=at, by=by)

    assert sound(user)


def test_undoing_what_was_spent(user, lots, at, by):
    posting, _ = adjust_wallet(user=user, amount_xusd=70, key="k", at=at, by=by)
    use(user, 1, at=at, lot=GrantLot.objects.get(issue_key="adjustment:k"))

    with pytest.raises(
        AdjustmentSpent,
        match=r"Of the \$0.00007 that were given, only \$0.000069 is left",
    ):
        reverse_adjustment(posting=posting, at=at, by=by)


def test_undoing_on_a_lot_that_ended(user, lots, at, by):
    posting, _ = adjust_wallet(user=user, amount_xusd=-50, key="k", at=at, by=by)
    late = at + 6 * DAY
    close_ended_lots(at=late, by=by.effective(late))

    with pytest.raises(LotEnded, match="adjust the wallet anew"):
        reverse_adjustment(posting=posting, at=late, by=by.effective(late))


def test_undoing_at_once_happens_once(committed_realm, make_user, at, by):
    user = make_user(committed_realm)
    lot = give(user, 500, at=at, by=by)
    posting, _ = adjust_wallet(user=user, amount_xusd=-50, key="k", at=at, by=by)

    def attempt(_):
        try:
            reverse_adjustment(posting=posting, at=at, by=by)
        except AlreadyReversed:
            return 0
        return 1

    assert sum(race(attempt, threads=8)) == 1
    assert left([lot]) == [500]


def test_taking_at_once_never_takes_more_than_there_is(
    committed_realm, make_user, at, by
):
    user = make_user(committed_realm)
    lot = give(user, 500, at=at, by=by)

    def attempt(number):
        try:
            if number % 2:
                consume(user=user, amount_xusd=75, key=str(number), at=at, by=by)
            else:
                adjust_wallet(user=user, amount_xusd=-75, key=str(number), at=at, by=by)
        except FundingExhausted:
            return 0
        return 1

    assert sum(race(attempt, threads=10)) == 6
    assert left([lot]) == [50]
    assert sound(user)
