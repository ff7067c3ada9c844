"""A connection cut anywhere leaves one effect per key, and the first answer to a retry.

Between the application and the database, where a COMMIT may be sent and its answer lost;
and between a client and the server, where a request or its answer may be.
"""

import json
import random
from collections import Counter as Tally
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from urllib.parse import urlsplit

import psycopg
import pytest
from django.db import Error, connection
from django.db.models import Sum

from gating.models import Lease, Rating
from tests.gating.racing import arena
from tests.gating.wire import WireClient
from tests.tools.proxy import Cut, proxy_to
from tests.tools.purse import adds_up, purse
from tests.tools.server import running_server
from tests.tools.verification import note

pytestmark = pytest.mark.usefixtures("committed")

CUTS = pytest.mark.parametrize("cuts", [20, pytest.param(1000, marks=pytest.mark.soak)])
COMMIT = b"COMMIT\x00"


@pytest.fixture
def chance():
    found = random.Random()
    found.number = random.SystemRandom().randrange(10**9)
    found.seed(found.number)
    return found


def priced(at, by):
    gate = arena(at, by)
    gate.feature(price=3)
    gate.quota(10**9, subject_scope="account")
    gate.credit(10**12)
    return gate


def held_and_spent(gate):
    """Check that all is counted and paid once; return how many leases and ratings."""
    leases = Lease.objects.filter(realm=gate.realm)
    active = leases.filter(state="active").aggregate(q=Sum("reserved_minor"))["q"] or 0
    ratings = Rating.objects.filter(realm=gate.realm)
    applied = ratings.aggregate(q=Sum("applied_quantity_minor"))["q"] or 0
    assert gate.used(subject_scope="account") == (applied, active)
    balance = purse(gate.user)
    assert (balance.spent_xusd, balance.reserved_xusd) == (3 * applied, 3 * active)
    assert adds_up(gate.user)
    return leases.count(), ratings.count()


# Between the application and the database


@contextmanager
def far_database():
    """A proxy before the database, and a thread whose connection goes through it."""
    settings = dict(connection.settings_dict)
    host, port = settings["HOST"], int(settings["PORT"] or 5432)
    near = f"{host}/.s.PGSQL.{port}" if host.startswith("/") else (host, port)
    with proxy_to(near) as proxy, ThreadPoolExecutor(1) as thread:
        far = settings | {"HOST": "127.0.0.1", "PORT": str(proxy.port)}

        def call(verb):
            connection.settings_dict = far
            try:
                return verb()
            except (Error, psycopg.Error) as error:
                connection.close()
                return error

        yield proxy, lambda verb: thread.submit(call, verb).result(timeout=60)
        thread.submit(lambda: connection.close()).result(timeout=60)


def connected():
    """Connect, so that a cut falls into a call and not before it."""
    connection.ensure_connection()


def cut_of(chance, number):
    """Return a cut in the request, in its answer, before that, or after a COMMIT."""
    kinds = (
        Cut("up", chance.randrange(300)),
        Cut("down", chance.randrange(900)),
        Cut("down", 0),
        Cut("down", 0, after=COMMIT),
    )
    return kinds[number % len(kinds)]


def again_and_again(far, first, verb):
    """Retry a call whose outcome is unknown; return whether it had been done before."""
    second, third = far(verb), far(verb)
    known = [first] if not isinstance(first, Exception) else []
    for answer in (*known, third):
        assert (answer.data, list(answer.hints)) == (second.data, list(second.hints))
    assert third.replayed
    assert second.replayed or not known
    return second.replayed


@CUTS
@pytest.mark.parametrize("verb", ["authorize", "commit"])
def test_a_call_cut_from_the_database_is_done_once(at, by, chance, cuts, verb):
    gate, tally, keys = priced(at, by), Tally(), 0
    with far_database() as (proxy, far):
        while proxy.cuts < cuts:
            keys += 1
            key, lease = f"k-{keys}", gate.lease(5) if verb == "commit" else None

            def call(key=key, lease=lease):
                if verb == "authorize":
                    return gate.authorize(5, key=key)
                return gate.commit(lease, 4, key=key)

            far(connected)
            # The gate calls again by itself where the connection can be made anew.
            proxy.arm(cut_of(chance, keys), stays_down=chance.random() < 0.7)
            first = far(call)
            proxy.arm(None)
            stored = again_and_again(far, first, call)
            told = not isinstance(first, Exception)
            tally["told" if told else "done" if stored else "not done"] += 1

    leases, ratings = held_and_spent(gate)
    assert (ratings if verb == "commit" else leases) == keys
    assert min(tally["done"], tally["not done"]) > 0, tally
    note(
        f"{verb}, cut from the database",
        f"seed {chance.number}, {cuts} cuts, of them {tally['done']} after it was done; {keys} keys, {keys} effects",
    )


@CUTS
def test_a_cancel_cut_from_the_database_gives_back_once(at, by, chance, cuts):
    gate, tally = priced(at, by), Tally()
    with far_database() as (proxy, far):
        while proxy.cuts < cuts:
            lease = gate.lease(5)
            far(connected)
            proxy.arm(cut_of(chance, proxy.cuts), stays_down=True)
            first = far(lambda lease=lease: gate.cancel(lease))
            proxy.arm(None)
            second = far(lambda lease=lease: gate.cancel(lease))
            tally["done" if not second.canceled else "not done"] += isinstance(first, Exception)  # fmt: skip
            assert isinstance(first, Exception) or not second.canceled
            assert gate.row(lease).state == "canceled"

    assert held_and_spent(gate)[1] == 0
    assert gate.used(subject_scope="account") == (0, 0)
    note(
        "cancel, cut from the database",
        f"seed {chance.number}, {cuts} cuts, of them {tally['done']} after it was done",
    )


# Between a client and the server


@CUTS
def test_a_request_cut_from_the_server_is_done_once(at, by, chance, cuts):
    gate, tally, keys = priced(at, by), Tally(), Tally()
    with running_server() as base, proxy_to((urlsplit(base).hostname, urlsplit(base).port)) as proxy:  # fmt: skip
        client = WireClient.of(gate.realm, proxy.port, at=at, by=by).bound(
            "acme", "u-1"
        )
        while proxy.cuts < cuts:
            number = sum(keys.values())
            what = chance.choice(["authorize", "commits", "cancel"])
            document = {"feature_code": "chat", "estimated_quantity_minor": "5"}
            if what != "authorize":
                keys["authorize"] += 1
                status, body = client.post("authorize", document, f"lease of {number}")
                assert status == 200, body
                document = {"lease": json.loads(body)["data"]["lease"]}
            if what == "commits":
                document |= {"feature_code": "chat", "quantity_minor": "4"}
            keys[what] += 1

            proxy.arm(Cut(*chance.choice([("up", chance.randrange(1200)), ("down", chance.randrange(700))])))  # fmt: skip
            first = client.post(what, document, f"k-{number}")
            proxy.arm(None)
            second, third = (client.post(what, document, f"k-{number}") for _ in "23")

            assert second == third
            assert second[0] == 200
            assert first in (None, second)
            tally["answered" if first else "cut"] += 1

    leases, ratings = held_and_spent(gate)
    assert (leases, ratings) == (keys["authorize"], keys["commits"])
    canceled = Lease.objects.filter(realm=gate.realm, state="canceled").count()
    assert canceled == keys["cancel"]
    note(
        "requests, cut from the server",
        f"seed {chance.number}, {cuts} cuts; {sum(keys.values())} keys, {leases + ratings + canceled} effects",
    )
