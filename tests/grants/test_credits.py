"""Giving credit."""

from dataclasses import replace
from datetime import timedelta

import pytest

from config.kernel.audit import NotYetEffective
from config.kernel.errors import Invalid
from config.tenancy.models import DomainEvent
from grants.models import GrantLot, LedgerAccount
from grants.services.approval import ApprovalRequired
from grants.services.credits import (
    SourceAlreadyCredited,
    credit_balance,
    ensure_credit,
)
from grants.services.ledger import MOST_XUSD, KeyPostedOtherwise
from tests.tools.purse import purse

INT64_MAX = 2**63 - 1


def granted(user):
    return purse(user).granted_xusd


def test_credit_is_recorded_with_who_why_and_when(user, at, by):
    earlier = at - timedelta(days=3)
    by = replace(by, effective_at=earlier, idempotency_key="ik-1")

    lot = credit_balance(user=user, amount_xusd=500, source_ref="inv-1", at=at, by=by)

    stored = GrantLot.objects.get(pk=lot.pk)
    assert granted(user) == 500
    assert (stored.kind, stored.amount_xusd, stored.source_ref) == (
        "credit",
        500,
        "inv-1",
    )
    assert (stored.window_start, stored.window_end, stored.on_ledger) == (
        at,
        None,
        True,
    )
    [entry] = stored.entries.filter(amount_xusd__gt=0)
    posting = entry.posting
    assert (posting.reason, posting.source_ref) == ("issue", "inv-1")
    assert (posting.actor_kind, posting.actor_id) == ("user", "ada")
    assert (posting.operator, posting.explanation, posting.ticket_id) == (
        "ada@example.com",
        "asked for in the ticket",
        "T-1001",
    )
    assert (posting.effective_at, posting.occurred_at) == (earlier, at)
    assert (posting.trace_id, posting.idempotency_key) == ("0" * 32, "credit:key:ik-1")
    [changed] = stored.history.all()
    assert (changed.operator, changed.reason) == (
        "ada@example.com",
        "asked for in the ticket",
    )


def test_credit_moves_from_given_to_paid_money(user, credit):
    credit(user, 500)

    accounts = LedgerAccount.objects.filter(user=user)
    assert dict(accounts.values_list("kind", "balance_xusd")) == {
        "issued": -500,
        "wallet": 500,
    }


def test_credit_tells_the_apps_above(user, at, by):
    lot = credit_balance(user=user, amount_xusd=500, source_ref="inv-1", at=at, by=by)

    event = DomainEvent.objects.in_realm(user.realm_id).get(kind="credit.granted")
    assert event.subject_id == str(lot.pk)
    assert event.payload == {"billing_user_id": str(user.pk), "amount_xusd": "500"}
    assert (event.occurred_at, event.trace_id) == (at, by.trace_id)


def test_credits_of_several_sources_add_up(user, credit):
    credit(user, 500, "inv-1")
    credit(user, 20, "inv-2")

    assert granted(user) == 520


def test_credit_again_changes_nothing(user, at, by):
    asked = {"user": user, "amount_xusd": 500, "source_ref": "inv-1", "at": at}
    first, created = ensure_credit(**asked, by=by)

    again, created_again = ensure_credit(
        **asked, by=replace(by, operator="someone else")
    )

    assert (created, created_again) == (True, False)
    assert again == first
    assert granted(user) == 500
    assert DomainEvent.objects.filter(subject_id=str(first.pk)).count() == 1


def test_credit_of_a_source_with_another_amount(user, credit):
    credit(user, 500, "inv-1")

    with pytest.raises(SourceAlreadyCredited) as refusal:
        credit(user, 501, "inv-1")

    assert refusal.value.status == 409
    assert (
        refusal.value.message
        == "inv-1 already credited 500 xusd to this user, not 501."
    )
    assert granted(user) == 500


def test_one_source_may_credit_several_users(user, make_user, realm, credit):
    other = make_user(realm, "u-2")

    credit(user, 500, "inv-1")
    credit(other, 7, "inv-1")

    assert (granted(user), granted(other)) == (500, 7)


def test_idempotency_key_of_another_source(user, at, by):
    by = replace(by, idempotency_key="ik-1")
    credit_balance(user=user, amount_xusd=500, source_ref="inv-1", at=at, by=by)

    with pytest.raises(KeyPostedOtherwise) as refusal:
        credit_balance(user=user, amount_xusd=500, source_ref="inv-2", at=at, by=by)

    assert refusal.value.status == 409
    assert granted(user) == 500


def test_a_source_named_like_another_ones_key_is_its_own(user, at, by):
    first = replace(by, idempotency_key="X")
    credit_balance(user=user, amount_xusd=500, source_ref="A", at=at, by=first)

    credit_balance(user=user, amount_xusd=20, source_ref="X", at=at, by=by)

    assert granted(user) == 520


def test_total_beyond_what_a_ledger_account_may_come_to(user, credit):
    credit(user, MOST_XUSD - 1, "inv-1")

    with pytest.raises(Invalid) as refusal:
        credit(user, 2, "inv-2")

    assert refusal.value.field == "amount_xusd"
    credit(user, 1, "inv-3")
    assert granted(user) == MOST_XUSD


@pytest.mark.parametrize("amount", [0, -1, INT64_MAX + 1, True, 1.5, "1_000", None])
def test_amount_that_is_none(user, credit, amount):
    with pytest.raises(Invalid) as refusal:
        credit(user, amount)

    assert refusal.value.field == "amount_xusd"
    assert granted(user) == 0


@pytest.mark.parametrize("source_ref", ["", "   ", "a\0b", "x" * 256])
def test_source_that_is_none(user, credit, source_ref):
    with pytest.raises(Invalid) as refusal:
        credit(user, 1, source_ref)

    assert refusal.value.field == "source_ref"


def test_credit_dated_into_the_future(user, at, by):
    by = replace(by, effective_at=at + timedelta(hours=1))

    with pytest.raises(NotYetEffective) as refusal:
        credit_balance(user=user, amount_xusd=1, source_ref="inv-1", at=at, by=by)

    assert refusal.value.field == "audit.effective_at"
    assert granted(user) == 0


def test_credit_above_the_limit_needs_approval(user, credit, limit, at, by):
    credit(user, 101, "inv-1")
    limit(100)

    credit(user, 101, "inv-1")
    credit(user, 100, "inv-2")
    with pytest.raises(ApprovalRequired):
        credit(user, 101, "inv-3")
    ensure_credit(
        user=user, amount_xusd=102, source_ref="inv-4", may_approve=True, at=at, by=by
    )

    assert granted(user) == 303
