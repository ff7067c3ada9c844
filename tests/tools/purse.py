"""What a user's lots come to, read from the tables; and lots as a test needs them."""

from types import SimpleNamespace

from django.db import transaction
from django.db.models import Sum

from config.kernel.ids import new_id
from config.tenancy.history import auditing
from grants.models import GrantAllocation, GrantLot, LotKind
from grants.services.credits import ensure_credit_program
from tests.tools.tables import run


def lots_of(user):
    """The user's lots, in the order of spending; overage aside."""
    return [
        lot
        for lot in GrantLot.objects.filter(user=user).order_by("id")
        if lot.kind != LotKind.FALLBACK
    ]


def purse(user):
    """What was granted, spent and is reserved, over all lots that are no overage."""
    lots = lots_of(user)
    total = {
        name: sum(getattr(lot, name) for lot in lots)
        for name in ("amount_xusd", "consumed_xusd", "reserved_xusd")
    }
    return SimpleNamespace(
        granted_xusd=total["amount_xusd"],
        spent_xusd=total["consumed_xusd"],
        reserved_xusd=total["reserved_xusd"],
        available_xusd=total["amount_xusd"]
        - total["consumed_xusd"]
        - total["reserved_xusd"],
    )


def spent(user):
    """{source: what lots paid for it}."""
    found = GrantAllocation.objects.filter(user=user, lot__isnull=False)
    sums = found.values_list("source_ref").annotate(total=Sum("amount_xusd"))
    return dict(sums.order_by("source_ref"))


def owed(user):
    """{source: what no lot paid of it, and settlement has not seen}."""
    found = GrantAllocation.objects.filter(user=user, lot__isnull=True)
    return dict(found.values_list("source_ref", "amount_xusd"))


def adds_up(user):
    """Whether each lot consumed what its allocations say."""
    for lot in lots_of(user):
        taken = lot.allocations.aggregate(total=Sum("amount_xusd"))["total"] or 0
        if taken != lot.consumed_xusd:
            return False
    return True


def store_lot(
    realm_id,
    account_id,
    user_id,
    *,
    at,
    by,
    amount,
    spent=0,
    held=0,
    window_end=None,
    priority=0,
):
    """Write a lot as it stands, without its ledger; return its id."""
    program = ensure_credit_program(
        realm_id=realm_id, at=max(at, by.effective_at), by=by
    )
    assignment, lot = new_id(), new_id()
    with transaction.atomic(), auditing(by, at=at, ahead=True):
        _store(
            realm_id,
            account_id,
            user_id,
            program.pk,
            assignment,
            lot,
            at,
            amount,
            spent,
            held,
            window_end,
            priority,
        )
    return lot


def _store(
    realm_id,
    account_id,
    user_id,
    program_id,
    assignment,
    lot,
    at,
    amount,
    spent,
    held,
    window_end,
    priority,
):
    run(
        "INSERT INTO grant_assignments (id, realm_id, account_id, user_id, program_id, source_kind, source_ref, status,"
        " quantity, metadata, window_start) VALUES (%s, %s, %s, %s, %s, 'ops.manual', %s, 'active', 1, '{}', %s)",
        [assignment, realm_id, account_id, user_id, program_id, str(lot), at],
    )
    run(
        "INSERT INTO grant_lots (id, realm_id, account_id, user_id, program_id, assignment_id, alloc_seq, issue_key,"
        " source_kind, source_ref, on_ledger, status, kind, priority, outstanding_policy, amount_xusd, consumed_xusd,"
        " settled_xusd, reserved_xusd, paid_xusd, metadata, window_start, window_end)"
        " VALUES (%s, %s, %s, %s, %s, %s, 0, %s, 'ops.manual', %s, true, 'ready', 'credit', %s, 'never', %s, %s, 0, %s, 0,"
        " '{}', %s, %s)",
        [
            lot, realm_id, account_id, user_id, program_id, assignment, str(lot), str(lot), priority, amount, spent, held,
            at, window_end,
        ],
    )  # fmt: skip
