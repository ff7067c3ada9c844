"""The sums of many users at once are those of each user's wallet."""

from datetime import timedelta

import pytest

from billing.models import BillingUser
from billing.selectors.wallets import wallet_balance
from grants.selectors.purses import with_sums
from grants.selectors.wallets import wallet_of
from grants.services import funding
from grants.services.lots import suspend_lot
from grants.services.settlement import settle_user
from tests.tools.purse import lots_of, store_lot

pytestmark = pytest.mark.django_db


def sums(at):
    """{user: what is available, owed and held}, read at once."""
    users = with_sums(BillingUser.objects.order_by("pk"), at=at)
    return {
        user.pk: (
            max(0, user.gross_xusd - user.owed_xusd),
            user.owed_xusd,
            user.held_xusd,
        )
        for user in users
    }


def wallets(at):
    """The same, read from one wallet after the other."""
    found = (wallet_of(user=user, at=at) for user in BillingUser.objects.all())
    return {
        wallet.user_id: (
            wallet.available_xusd,
            wallet.outstanding_xusd,
            wallet.reserved_xusd,
        )
        for wallet in found
    }


@pytest.fixture
def users(realm, make_user, credit, at, by):
    """Four users: held and ending, in debt twice over, suspended, with nothing."""
    rich, owing, barred, poor = (
        make_user(realm, principal=name) for name in ("a", "b", "c", "d")
    )
    credit(rich, 500)
    funding.hold(user=rich, amount_xusd=120, at=at)
    for end, amount in ((timedelta(days=1), 40), (timedelta(days=9), 70)):
        store_lot(
            realm.pk, rich.account_id, rich.pk, at=at, by=by, amount=amount,
            window_end=at + end,
        )  # fmt: skip
    credit(owing, 30)
    funding.settle(user=owing, spend_xusd=10, owed_xusd=7, source_ref="a", at=at)
    settle_user(user=owing, at=at, by=by)
    funding.settle(user=owing, spend_xusd=0, owed_xusd=5, source_ref="b", at=at)
    credit(barred, 90)
    suspend_lot(lot=lots_of(barred)[0], at=at, by=by)
    return rich, owing, barred, poor


@pytest.mark.parametrize("days", [0, 2, 30])
def test_sums_are_those_of_each_wallet(users, at, days):
    later = at + timedelta(days=days)

    assert sums(later) == wallets(later)


def test_sums_are_what_was_given_spent_and_owed(users, at):
    rich, owing, barred, poor = users

    assert sums(at) == {
        rich.pk: (490, 0, 120),
        owing.pk: (8, 12, 0),
        barred.pk: (0, 0, 0),
        poor.pk: (0, 0, 0),
    }


def test_sums_take_one_query(users, at, django_assert_num_queries):
    with django_assert_num_queries(1):
        sums(at)


@pytest.mark.parametrize("days", [0, 2, 30])
def test_the_balances_of_a_billing_state_are_those_of_the_wallet(users, at, days):
    later = at + timedelta(days=days)

    for user in users:
        wallet = wallet_of(user=user, at=later)
        assert wallet_balance(user_id=user.pk, at=later) == {
            "available_balance": {"xusd": str(wallet.available_xusd)},
            "outstanding_balance": {"xusd": str(wallet.outstanding_xusd)},
        }


def test_the_balances_of_a_billing_state_take_one_query(
    users, at, django_assert_num_queries
):
    for user in users:
        with django_assert_num_queries(1):
            wallet_balance(user_id=user.pk, at=at)
