"""The first requests of somebody unknown, at once, at a server with two processes."""

from collections import Counter as Tally
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from django.db import connection, transaction

from billing.models import BillingAccount, BillingUser
from config.tenancy.history import auditing
from gating.models import Counter, Lease
from tests.gating.racing import arena, deadlocks, racers, report
from tests.gating.wire import WireClient
from tests.tools.server import running_server

pytestmark = pytest.mark.usefixtures("committed")

ROUNDS = pytest.mark.parametrize(
    "rounds", [1, pytest.param(25, marks=pytest.mark.soak)]
)
ONCE = "UNIQUE (realm_id, billing_principal_id)"


@pytest.fixture(scope="module")
def port(django_db_setup, django_db_blocker):
    """The port of a server on the test database."""
    with django_db_blocker.unblock(), running_server() as base:
        yield urlsplit(base).port


@contextmanager
def accounts_without_their_key(realm, at, by):
    """Run the block while a principal may have two accounts; part them afterwards."""
    fixed = "TRIGGER billing_accounts_identity_is_fixed"
    with connection.cursor() as cursor:
        cursor.execute(
            "ALTER TABLE billing_accounts DROP CONSTRAINT billing_account_once_per_principal"
        )
        try:
            yield
        finally:
            cursor.execute(f"ALTER TABLE billing_accounts DISABLE {fixed}")
            with transaction.atomic(), auditing(by, at=at):
                cursor.execute(
                    "UPDATE billing_accounts SET billing_principal_id = id WHERE realm_id = %s",
                    [realm.pk],
                )
            cursor.execute(f"ALTER TABLE billing_accounts ENABLE {fixed}")
            cursor.execute(
                f"ALTER TABLE billing_accounts ADD CONSTRAINT billing_account_once_per_principal {ONCE}"
            )


def first_requests(client, names, racing):
    """Race sixteen authorizes of unknown principals and users; return the statuses."""
    ask = {"feature_code": "chat", "estimated_quantity_minor": "2"}
    callers = [client.bound(*names(n)) for n in range(16)]
    answers = racing.race(
        [
            lambda who=who, n=n: who.post("authorize", ask, f"k-{n}")
            for n, who in enumerate(callers)
        ]
    )
    return [answer[0] for answer in answers]


def open_realm(at, by):
    gate = arena(at, by)
    gate.feature()
    return gate


@ROUNDS
def test_first_requests_of_one_user_at_once_make_one(port, at, by, rounds):
    gate, tally, before = open_realm(at, by), Tally(), deadlocks()
    client = WireClient.of(gate.realm, port, at=at, by=by)
    with racers(16) as racing:
        for number in range(rounds):
            name = f"new-{number}"
            tally.update(first_requests(client, lambda n, p=name: (p, "ada"), racing))

            account = BillingAccount.objects.get(
                realm=gate.realm, billing_principal_id=name
            )
            assert BillingUser.objects.filter(account=account).count() == 1
            assert Lease.objects.filter(account=account).count() == 16
            counter = Counter.objects.get(account=account)
            assert (counter.used_minor, counter.reserved_minor) == (0, 32)
        report("sixteen first requests of one user", racing, rounds, tally)
    assert tally == {200: 16 * rounds}
    assert deadlocks() == before


@ROUNDS
def test_first_requests_of_many_at_once_make_each_once(port, at, by, rounds):
    gate, tally, before = open_realm(at, by), Tally(), deadlocks()
    client = WireClient.of(gate.realm, port, at=at, by=by)
    with racers(16) as racing:
        for number in range(rounds):
            given = [(f"new-{number}-{n % 4}", f"u-{n % 8}") for n in range(16)]
            tally.update(first_requests(client, lambda n, g=given: g[n], racing))

            accounts = BillingAccount.objects.filter(
                realm=gate.realm, billing_principal_id__startswith=f"new-{number}-"
            )
            users = BillingUser.objects.filter(account__in=accounts)
            assert (accounts.count(), users.count()) == (4, 8)
            assert Lease.objects.filter(account__in=accounts).count() == 16
        report("sixteen first requests of eight users", racing, rounds, tally)
    assert tally == {200: 16 * rounds}
    assert deadlocks() == before


@ROUNDS
def test_control_without_the_unique_key_one_principal_gets_several(
    port, at, by, rounds
):
    gate, tally = open_realm(at, by), Tally()
    client = WireClient.of(gate.realm, port, at=at, by=by)
    with racers(16) as racing, accounts_without_their_key(gate.realm, at, by):
        for number in range(rounds):
            name = f"new-{number}"
            first_requests(client, lambda n, p=name: (p, "ada"), racing)
            accounts = BillingAccount.objects.filter(
                realm=gate.realm, billing_principal_id=name
            )
            tally[accounts.count()] += 1
        report("control, accounts without their unique key", racing, rounds, tally)
    assert max(tally) > 1, tally
