"""Reports beside each other, and beside commits: nothing lost, nothing twice.

Each race is run with the account's lock on, and a control run with it off must fail.
The long forms run with PLANGATE_SOAK=1.
"""

from collections import Counter as Tally
from functools import partial

import pytest
from django.db.models import Sum

from billing.models import BillingAccount, BillingUser
from config.tenancy.services.service_keys import create_service_key
from gating.answers import Admission
from gating.models import Rating, RatingKey, ResidualBucket
from tests.gating.mutants import mutated, without_marked
from tests.gating.racing import arena, racers, report
from tests.tools.client import SignedClient
from tests.tools.purse import adds_up

pytestmark = pytest.mark.usefixtures("committed")

ROUNDS = pytest.mark.parametrize(
    "rounds", [2, pytest.param(100, marks=pytest.mark.soak)]
)


def total(gate):
    """What the account's ratings come to: how many, amount, what the balance paid."""
    sums = Rating.objects.filter(account=gate.account).aggregate(
        amount=Sum("applied_amount_xusd"), funded=Sum("funded_xusd")
    )
    count = Rating.objects.filter(account=gate.account).count()
    return count, sums["amount"], sums["funded"]


def sixteen(gate, racing):
    """Sixteen reports of 1 by one user, at 10 for 16: together exactly 10."""
    results = racing.race([lambda n=n: gate.ingest(1, key=f"k-{n}") for n in range(16)])
    assert {type(result) for result in results} == {Admission}, results
    return total(gate)


def in_fractions(at, by):
    realm = arena(at, by)
    realm.feature(price=10, per=16)
    return realm


def owing(realm, name):
    """A user of an account of its own that pays afterwards, and has no balance."""
    gate = realm.of_principal(name)
    gate.plan(mode="postpaid")
    return gate


@ROUNDS
def test_sixteen_reports_at_once_cost_what_the_whole_costs(at, by, rounds):
    realm = in_fractions(at, by)
    with racers(16) as racing:
        for number in range(rounds):
            gate = owing(realm, f"p-{number}")

            assert sixteen(gate, racing) == (16, 10, 0)
            bucket = ResidualBucket.objects.get(user=gate.user, denom=16)
            assert bucket.remainder_numer == 0
        report("sixteen reports in fractions", racing, rounds, Tally(exact=rounds))


def test_control_without_the_lock_fractions_are_lost(at, by):
    realm = in_fractions(at, by)
    unlocked = {"ingest": without_marked("lock")}
    with racers(16) as racing, mutated(unlocked):
        found = {sixteen(owing(realm, f"p-{number}"), racing) for number in range(2)}
    assert {count for count, _, _ in found} == {16}
    assert {amount for _, amount, _ in found} != {10}


@ROUNDS
def test_reports_and_commits_share_a_balance_and_its_remainders(at, by, rounds):
    realm = arena(at, by)
    realm.feature(price=10, per=16)
    with racers(16) as racing:
        for number in range(rounds):
            gate = realm.of_principal(f"p-{number}")
            gate.credit(100)
            leases = [gate.lease(1) for _ in range(8)]
            results = racing.race(
                [lambda lease=lease: gate.commit(lease, 1) for lease in leases]
                + [lambda: gate.ingest(1)] * 8
            )

            assert {type(result) for result in results} == {Admission}, results
            assert total(gate) == (16, 10, 10)
            assert gate.balance() == (90, 0, 10)
            assert adds_up(gate.user)
        report("eight reports, eight commits", racing, rounds, Tally(exact=rounds))


@ROUNDS
def test_a_prepaid_balance_is_never_overdrawn(at, by, rounds):
    realm = arena(at, by)
    realm.feature(price=10)
    with racers(16) as racing:
        for number in range(rounds):
            gate = realm.of_principal(f"p-{number}")
            gate.credit(75)
            results = racing.race(
                [lambda n=n: gate.ingest(1, key=f"k-{n}") for n in range(16)]
            )

            statuses = Tally(r.data["application_status"] for r in results)
            assert statuses == {"applied": 7, "applied_clipped": 9}
            assert total(gate) == (16, 75, 75)
            assert gate.balance() == (0, 0, 75)
        report("sixteen reports for seven", racing, rounds, Tally(exact=rounds))


@ROUNDS
def test_one_key_sixteen_times_is_one_rating(at, by, rounds):
    tally, realm = Tally(), arena(at, by)
    realm.feature(price=10)
    with racers(16) as racing:
        for number in range(rounds):
            gate = realm.of_principal(f"p-{number}")
            gate.credit(1000)
            results = racing.race([lambda: gate.ingest(6, key="k")] * 16)

            assert all(
                (r.data, list(r.hints)) == (results[0].data, list(results[0].hints))
                for r in results
            )
            assert total(gate) == (1, 60, 60)
            assert gate.balance() == (940, 0, 60)
            tally[sum(not r.replayed for r in results)] += 1
        report("one key of a report by sixteen", racing, rounds, tally)
    assert tally == {1: rounds}


# Whoever comes first


def test_sixteen_first_requests_make_one_account_and_one_user(at, by):
    realm = arena(at, by)
    realm.feature()
    key = create_service_key(realm=realm.realm, at=at, by=by)
    document = {"feature_code": "chat", "quantity_minor": "1"}

    def first(number):
        client = SignedClient(realm.realm, key, principal_id="new", user_id="u-1")
        return client.post("gate/ingest", document, key=f"first-{number}")

    with racers(16) as racing:
        results = racing.race([partial(first, number) for number in range(16)])

    assert [r.status_code for r in results] == [200] * 16, [r.content for r in results]
    account = BillingAccount.objects.get(realm=realm.realm, billing_principal_id="new")
    assert BillingUser.objects.filter(account=account).count() == 1


def test_one_key_of_a_first_request_is_one_rating(at, by):
    realm = arena(at, by)
    realm.feature()
    key = create_service_key(realm=realm.realm, at=at, by=by)
    document = {"feature_code": "chat", "quantity_minor": "1"}

    def first():
        client = SignedClient(realm.realm, key, principal_id="new", user_id="u-1")
        return client.post("gate/ingest", document, key="once")

    with racers(16) as racing:
        results = racing.race([first] * 16)

    assert {r.status_code for r in results} == {200}, [r.content for r in results]
    assert {r.content for r in results} == {results[0].content}
    assert RatingKey.objects.filter(realm=realm.realm).count() == 1
