"""Programs, plans with grants, and lots, as the tests of issuance write and read them."""

from datetime import UTC, datetime

from django.db import transaction

from billing.services.assignments import Identity, assign_plan
from billing.services.plans import upsert_plan
from config.kernel.windows import Window
from config.tenancy.history import auditing
from grants.models import (
    GrantAssignment,
    GrantLot,
    GrantProgram,
    LedgerAccount,
    LedgerEntry,
)
from grants.services.assignments import GrantIdentity, GrantTerms, assign_grant


def day(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def make_program(realm, at, by, **terms):
    """Return a program of a realm, monthly by the calendar unless said otherwise."""
    given = {"program_code": "perk", "cadence": "monthly", "amount_xusd": 100, **terms}
    with transaction.atomic(), auditing(by, at=at):
        return GrantProgram.objects.create(realm=realm, **given)


def bind(
    user, program, at, by, start=None, end=None, ref="ref-1", kind="ops.manual", **terms
):
    """Return an assignment of the program to the user."""
    identity = GrantIdentity(user.account, user, program, kind, ref)
    window = Window(start or at, end)
    return assign_grant(
        identity=identity, window=window, terms=GrantTerms(**terms), at=at, by=by
    )[0]


def plan_with(realm, at, by, *grants, code="pro", metadata=None, **changes):
    """Return a plan that brings these grants, and what else its metadata says."""
    return upsert_plan(
        realm=realm, plan_code=code, name=code, kind="base",
        metadata={"grants": list(grants), **(metadata or {})}, at=at, by=by, **changes,
    )[0]  # fmt: skip


def give_plan(
    account, plan, at, by, user=None, start=None, end=None, ref="contract-1", **changes
):
    """Return the plan's assignment to the account, or to one user."""
    identity = Identity(account, user, plan, "ops.manual", ref)
    return assign_plan(
        identity=identity, window=Window(start or at, end), at=at, by=by, **changes
    )[0]


def lots_of(user):
    return list(
        GrantLot.objects.filter(user=user).order_by("period_start", "alloc_seq", "id")
    )


def amounts(user):
    return [lot.amount_xusd for lot in lots_of(user)]


def plan_bindings(user):
    """Return the user's plan-derived bindings: what they give, and how they stand."""
    rows = GrantAssignment.objects.filter(
        user=user, source_kind="billing_plan_assignment"
    )
    return {
        (row.program.program_code, row.status): row
        for row in rows.select_related("program").order_by("pk")
    }


def balances(user):
    """Return the balances of the user's ledger, by account."""
    rows = LedgerAccount.objects.filter(user=user)
    return {row.kind: row.balance_xusd for row in rows}


def assert_proven(user):
    """Every lot was posted once, and all accounts sum to zero."""
    for lot in GrantLot.objects.filter(user=user).exclude(kind="fallback"):
        given = LedgerEntry.objects.filter(
            lot=lot, posting__reason="issue", amount_xusd__gt=0
        )
        assert [entry.amount_xusd for entry in given] == [lot.amount_xusd]
    assert sum(balances(user).values()) == 0
