import psycopg
import pytest
from django.db import transaction

from config.kernel.ids import new_id
from gating.models import Denial, Lease
from gating.services.functions import gate_preflight
from gating.services.subjects import Subject
from grants.services.funding import settle
from tests.gating.gate import row_counts
from tests.gating.mutants import install, preflight_of, texts
from tests.gating.refusals import refusal


def test_preflight_says_what_authorize_would_and_writes_nothing(gate):
    gate.feature(price=10)
    gate.credit(1000)
    gate.quota(500)
    gate.rate(5)
    gate.authorize(50)
    before = row_counts(), gate.used(), gate.used(kind="rate"), gate.balance()

    said = gate.preflight(40)
    denied = refusal(gate.preflight, 60)

    assert {
        k: v for k, v in said.data.items() if k != "as_of"
    }.items() <= gate.authorize(40).data.items()
    assert denied.code == "FUNDING.EXHAUSTED"
    assert denied.meta["as_of"] == gate.at
    gate.cancel(Lease.objects.filter(realm=gate.realm).latest("id").lease)
    after = row_counts()
    after["gate_leases"] -= 1
    assert (after, gate.used()[1], gate.balance()) == (
        before[0],
        before[1][1],
        before[3],
    )


def test_preflight_of_an_untouched_account_makes_no_row(gate):
    gate.feature()
    gate.seats(5)
    gate.rate(5)
    before = row_counts()

    gate.preflight(40)
    refusal(gate.preflight, feature="nothing")

    assert row_counts() == before
    assert Denial.objects.filter(realm=gate.realm).count() == 0


def test_preflight_counts_overdue_leases_as_expired(gate):
    gate.feature(price=10)
    gate.credit(1000)
    gate.quota(100, seconds=30 * 86_400)
    gate.authorize(100)
    much_later = gate.later(hours=13)

    assert refusal(gate.preflight, 1)
    assert much_later.preflight(100)
    assert gate.used() == (0, 100)
    assert much_later.authorize(100)
    assert gate.used() == (0, 100)


def test_money_spent_elsewhere_is_not_promised_again(gate):
    gate.feature(price=10)
    gate.credit(1000)
    settle(user=gate.user, spend_xusd=900, source_ref="elsewhere", at=gate.at)

    assert refusal(gate.authorize, 11).hints[0]["shortfall_xusd"] == 10
    assert gate.authorize(10)


def test_preflight_cannot_write(gate):
    """The function's text could: declared STABLE, the database refuses it."""
    gate.feature()
    gate.preflight()
    item = Subject.of(gate.account, gate.user).item("chat") | {
        "key": "k",
        "hash": "00",
        "id": str(new_id()),
        "labels": {},
        "trace": "0" * 32,
    }
    wet = preflight_of(texts()["authorize"]).replace("NOT p_dry", "true")
    with (
        pytest.raises(psycopg.Error, match="not allowed in a non-volatile"),
        transaction.atomic(),
    ):
        install({"preflight": wet})
        gate_preflight([item], at=gate.at)
