"""Writing rows of lots: one that is given by hand, and what people or jobs change."""

from datetime import datetime

from billing.models import BillingUser
from config.kernel.audit import AuditContext
from config.tenancy.history import auditing
from grants.models import GrantAssignment, GrantLot, GrantProgram, GrantSource


def add_lot(
    *,
    user: BillingUser,
    program: GrantProgram,
    amount_xusd: int,
    source_ref: str,
    issue_key: str,
    window_end: datetime | None = None,
    priority: int = 0,
    at: datetime,
    by: AuditContext,
) -> GrantLot:
    """Bind a user to a program by hand, and return the one lot of that (10^-6 USD).

    It can be spent from `at` until `window_end` (aware UTC; None: without end). Posts
    nothing: the caller does, in the same transaction.
    """
    common = {
        "realm_id": user.realm_id,
        "account_id": user.account_id,
        "user": user,
        "program": program,
        "source_kind": GrantSource.MANUAL,
        "source_ref": source_ref,
        "window_start": at,
        "window_end": window_end,
        "amount_xusd": amount_xusd,
    }
    with auditing(by, at=at):
        return GrantLot.objects.create(
            assignment=GrantAssignment.objects.create(**common),
            period_start=at,
            period_end=window_end,
            issue_key=issue_key,
            on_ledger=program.on_ledger,
            kind=program.grant_kind,
            priority=priority,
            **common,
        )


def write_lot(
    lot: GrantLot, *, at: datetime, by: AuditContext, **values: object
) -> None:
    """Give a locked lot values that history keeps, explained by `by`."""
    for name, value in values.items():
        setattr(lot, name, value)
    lot.updated_at = at
    with auditing(by, at=at):
        lot.save(update_fields=[*values, "updated_at"])
