"""Many at once against one balance: real threads, real transactions.

Each race has a control: the same race without its guard, which must go wrong. A race
whose control stays right proves nothing.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.db import connection, transaction
from grants.selectors.balances import proof

from config.kernel.errors import Conflict
from grants.models import CreditBalance, CreditEntry
from grants.services.credits import ensure_credit
from grants.services.funding import (
    FundingExhausted,
    hold_when_available,
    lock_balance,
    reserve,
    settle,
)

THREADS = 20


def race(work, threads=THREADS):
    """Run `work(number)` in every thread at once; return the results in order."""
    barrier = Barrier(threads)

    def run(number):
        try:
            connection.ensure_connection()
            barrier.wait(timeout=30)
            return work(number)
        finally:
            connection.close()

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(run, range(threads)))


def hold_without_guard(balance, amount_xusd, at):
    """Read, compare, write: what `hold_when_available` must not be."""
    seen = CreditBalance.objects.get(pk=balance.pk)
    if seen.available_xusd < amount_xusd:
        return False
    time.sleep(0.05)  # the time in which another thread does the same
    CreditBalance.objects.filter(pk=balance.pk).update(
        reserved_xusd=seen.reserved_xusd + amount_xusd
    )
    return True


@pytest.fixture
def racing_user(committed_realm, make_user, credit):
    """A user with 500 xusd that every thread can see."""
    user = make_user(committed_realm)
    credit(user, 500)
    return user


def reserve_75_each(user, at, hold):
    """Return how many of the threads were admitted, without taking the row lock."""

    def attempt(_):
        balance = CreditBalance.objects.get(pk=user.pk)
        try:
            reserve(balance, amount_xusd=75, at=at, hold=hold)
        except FundingExhausted:
            return 0
        return 1

    return sum(race(attempt))


def test_reserving_at_once_admits_exactly_what_fits(racing_user, at):
    admitted = reserve_75_each(racing_user, at, hold_when_available)

    balance = CreditBalance.objects.get(pk=racing_user.pk)
    assert admitted == 6
    assert balance.reserved_xusd == 6 * 75


def test_control_reserving_without_the_guard_admits_too_many(racing_user, at):
    admitted = reserve_75_each(racing_user, at, hold_without_guard)

    assert admitted * 75 > 500


def test_reserving_under_the_lock_admits_exactly_what_fits(racing_user, at):
    def attempt(_):
        with transaction.atomic():
            balance = lock_balance(user=racing_user, at=at)
            # The lock alone is enough: the unguarded write is exact behind it.
            held = hold_without_guard(balance, 75, at)
        return int(held)

    admitted = sum(race(attempt, threads=10))

    assert admitted == 6
    assert CreditBalance.objects.get(pk=racing_user.pk).reserved_xusd == 6 * 75


def test_first_sights_at_once_make_one_balance(committed_realm, make_user, at):
    user = make_user(committed_realm)

    def attempt(_):
        with transaction.atomic():
            return lock_balance(user=user, at=at).pk

    assert set(race(attempt)) == {user.pk}
    assert CreditBalance.objects.filter(user=user).count() == 1


def test_one_credit_given_at_once_counts_once(committed_realm, make_user, at, by):
    user = make_user(committed_realm)

    def attempt(_):
        return ensure_credit(
            user=user, amount_xusd=40, source_ref="inv-1", at=at, by=by
        )

    answers = race(attempt)

    balance = CreditBalance.objects.get(pk=user.pk)
    assert len({entry.pk for entry, _ in answers}) == 1
    assert sum(created for _, created in answers) == 1
    assert balance.granted_xusd == 40
    assert proof(balance).holds


def test_one_source_with_two_amounts_at_once_keeps_one(
    committed_realm, make_user, at, by
):
    user = make_user(committed_realm)

    def attempt(number):
        amount = 40 + number % 2
        try:
            ensure_credit(
                user=user, amount_xusd=amount, source_ref="inv-1", at=at, by=by
            )
        except Conflict:
            return None
        return amount

    kept = set(race(attempt)) - {None}

    assert len(kept) == 1
    assert CreditBalance.objects.get(pk=user.pk).granted_xusd in kept


def test_different_credits_at_once_all_count(committed_realm, make_user, at, by):
    user = make_user(committed_realm)

    race(
        lambda number: ensure_credit(
            user=user, amount_xusd=number + 1, source_ref=f"inv-{number}", at=at, by=by
        )
    )

    balance = CreditBalance.objects.get(pk=user.pk)
    assert balance.granted_xusd == sum(range(1, THREADS + 1))
    assert proof(balance).holds


def test_control_crediting_without_the_lock_breaks_the_proof(racing_user, at):
    def attempt(number):
        balance = CreditBalance.objects.get(pk=racing_user.pk)
        time.sleep(0.05)  # the time in which another thread does the same
        with transaction.atomic():
            balance.granted_xusd += number + 1
            balance.save(update_fields=["granted_xusd"])
            CreditEntry.objects.create(
                realm_id=balance.realm_id, account_id=balance.account_id, user=racing_user,
                kind="credit", amount_xusd=number + 1, source_ref=f"inv-{number}",
                actor_kind="user", actor_id="ada", operator="ada", reason="race",
                ticket_id="T-1", trace_id="0" * 32, effective_at=at, occurred_at=at,
            )  # fmt: skip

    race(attempt)

    assert not proof(CreditBalance.objects.get(pk=racing_user.pk)).holds


def test_one_settlement_at_once_spends_once(racing_user, at):
    balance = CreditBalance.objects.get(pk=racing_user.pk)
    reserve(balance, amount_xusd=500, at=at)

    def attempt(_):
        mine = CreditBalance.objects.get(pk=racing_user.pk)
        return settle(
            mine, reserved_xusd=100, spend_xusd=60, source_ref="lease:1", at=at
        )

    assert race(attempt) == [60] * THREADS
    balance.refresh_from_db()
    assert (balance.spent_xusd, balance.reserved_xusd) == (60, 400)
    assert proof(balance).holds


def test_settlements_at_once_never_overdraw(racing_user, at):
    def attempt(number):
        mine = CreditBalance.objects.get(pk=racing_user.pk)
        return settle(
            mine, reserved_xusd=0, spend_xusd=75, source_ref=f"lease:{number}", at=at
        )

    spent = race(attempt)

    balance = CreditBalance.objects.get(pk=racing_user.pk)
    assert sorted(spent) == [0] * 13 + [50] + [75] * 6
    assert balance.spent_xusd == 500
    assert CreditEntry.objects.filter(user=racing_user, kind="spend").count() == 7
    assert proof(balance).holds
