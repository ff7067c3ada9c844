"""Giving a user credit: a lot without end, for a source that the giver names."""

from datetime import datetime

from django.db import transaction

from billing.models import BillingUser
from config.kernel.audit import AuditContext
from config.kernel.errors import Conflict
from config.kernel.money import parse_posint
from config.tenancy.history import auditing
from config.tenancy.services.events import record_event
from grants.models import (
    Cadence,
    GrantLot,
    GrantProgram,
    LedgerKind,
    LotKind,
    PostingReason,
    WindowKind,
)
from grants.models.lots import LotQuerySet
from grants.services.approval import require_approval
from grants.services.funding import check_source_ref
from grants.services.ledger import Cause, holding_of, move, one_at_a_time, post
from grants.services.lot_rows import add_lot

CREDIT_PROGRAM = "credit"
"""The realm's own program of credit that people and backends give."""


class SourceAlreadyCredited(Conflict):
    """The source already stands for a credit of another amount (409)."""


def credit_balance(
    *,
    user: BillingUser,
    amount_xusd: int,
    source_ref: str,
    at: datetime,
    by: AuditContext,
) -> GrantLot:
    """Give a user credit and return its lot; see `ensure_credit`."""
    return ensure_credit(
        user=user, amount_xusd=amount_xusd, source_ref=source_ref, at=at, by=by
    )[0]


@transaction.atomic
def ensure_credit(
    *,
    user: BillingUser,
    amount_xusd: int,
    source_ref: str,
    may_approve: bool = False,
    at: datetime,
    by: AuditContext,
) -> tuple[GrantLot, bool]:
    """Give a user credit once per `source_ref`; return its lot and whether it is new.

    `amount_xusd` is in 10^-6 USD, 1 or more, and can be spent at once, without end. A
    repeat of the source with the same amount changes nothing. `may_approve` says that
    the caller is a member of staff with the permission `grants.approve_grant`: whoever
    is not gives no more than the deployment's limit (`ApprovalRequired`). Refuses the
    source with another amount (`SourceAlreadyCredited`), the idempotency key of another
    source (`KeyPostedOtherwise`), an effective time still to come
    (AUDIT.EFFECTIVE_IN_FUTURE), and (`Invalid`) a bad amount or source and a total
    beyond what a ledger account may come to.
    """
    amount = parse_posint(amount_xusd, "amount_xusd")
    check_source_ref(source_ref)
    one_at_a_time(user)
    earlier = credits_of(user).filter(source_ref=source_ref).first()
    if earlier is not None:
        return _same(earlier, amount), False
    require_approval(amount, may_approve=may_approve)
    by.require_in_effect(
        at,
        "A credit can be spent as soon as it is given; its effective time cannot lie "
        "in the future.",
    )
    lot = _issue(user, amount, source_ref, at=at, by=by)
    _tell(lot, at=at, by=by)
    return lot, True


def credits_of(user: BillingUser) -> LotQuerySet:
    """Return the lots of credit that the user was given, unordered."""
    return GrantLot.objects.in_realm(user.realm_id).filter(
        user=user, program__program_code=CREDIT_PROGRAM
    )


def ensure_credit_program(
    *, realm_id: str, at: datetime, by: AuditContext
) -> GrantProgram:
    """Return the realm's program of credit, made on first sight."""
    programs = GrantProgram.objects.in_realm(realm_id)
    found = programs.filter(program_code=CREDIT_PROGRAM).first()
    if found is None:
        program = GrantProgram(
            realm_id=realm_id,
            program_code=CREDIT_PROGRAM,
            name="Credit",
            cadence=Cadence.ONCE,
            window_kind=WindowKind.FOREVER,
            grant_kind=LotKind.CREDIT,
            on_ledger=True,
        )
        with auditing(by, at=at):
            GrantProgram.objects.bulk_create([program], ignore_conflicts=True)
        found = programs.get(program_code=CREDIT_PROGRAM)
    return found


def _same(earlier: GrantLot, amount_xusd: int) -> GrantLot:
    if earlier.amount_xusd != amount_xusd:
        raise SourceAlreadyCredited(
            f"{earlier.source_ref} already credited {earlier.amount_xusd} xusd to this "
            f"user, not {amount_xusd}.",
            field="source_ref",
        )
    return earlier


def _issue(
    user: BillingUser,
    amount_xusd: int,
    source_ref: str,
    *,
    at: datetime,
    by: AuditContext,
) -> GrantLot:
    """Bind the user to the program of credit, and return the one lot of it."""
    program = ensure_credit_program(realm_id=user.realm_id, at=at, by=by)
    return add_lot(
        user=user,
        program=program,
        amount_xusd=amount_xusd,
        source_ref=source_ref,
        issue_key=f"credit:{source_ref}",
        at=at,
        by=by,
    )


def _tell(lot: GrantLot, *, at: datetime, by: AuditContext) -> None:
    """Post a new lot of credit in its user's ledger, and record the event."""
    key = f"credit:source:{lot.source_ref}"
    if by.idempotency_key:
        key = f"credit:key:{by.idempotency_key}"
    cause = Cause(PostingReason.ISSUE, lot.source_ref, key)
    legs = move(LedgerKind.ISSUED, holding_of(lot), lot.amount_xusd, lot=lot)
    post(user=lot.user, cause=cause, legs=legs, at=at, by=by)
    record_event(
        realm=lot.user.realm,
        kind="credit.granted",
        subject=lot,
        payload={
            "billing_user_id": str(lot.user_id),
            "amount_xusd": str(lot.amount_xusd),
        },
        at=at,
        by=by,
    )
