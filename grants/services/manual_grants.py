"""Giving one grant by hand: an assignment and its first lot, in one step."""

from dataclasses import replace
from datetime import datetime

from django.db import transaction

from billing.services.accounts import lock_account
from config.kernel.audit import AuditContext
from config.kernel.errors import Invalid
from config.kernel.windows import Window
from grants.models import GrantAssignment, GrantLot
from grants.services.assignment_changes import create_manual_assignment
from grants.services.assignments import GrantIdentity, GrantTerms
from grants.services.issuance import issue_lot

MANUAL_PROGRAM = "one_time_xusd"
"""The realm's own program of what is given without naming one."""


@transaction.atomic
def give_by_hand(
    *,
    identity: GrantIdentity,
    window_start: datetime | None,
    window_end: datetime | None,
    terms: GrantTerms,
    at: datetime,
    by: AuditContext,
) -> tuple[GrantLot, bool]:
    """Give a user one grant, once per source; return its lot, and whether it is new.

    Without an amount (10^-6 USD) it is the program's, without a start (aware UTC) from
    now on. A window that begins later is issued now, and can be spent from then on.
    What was given under this source before stays what it was, also after it is over.
    Locks the account. Refuses (`Invalid`) an amount of 0 and a window that is over, and
    what `create_manual_assignment` refuses.
    """
    lock_account(identity.account)
    earlier = identity.same().first()
    default: int | None
    if earlier is None:
        default, start = identity.program.amount_xusd, window_start or at
        _check(window_end, terms, identity.program.amount_xusd, at=at)
    else:
        default, start = earlier.amount_xusd, window_start or earlier.window_start
    amount = default if terms.amount_xusd is None else terms.amount_xusd
    assignment, created = create_manual_assignment(
        identity=identity,
        window=Window(start, window_end),
        terms=replace(terms, amount_xusd=amount),
        at=at,
        by=by,
    )
    lot = _first_lot(assignment, max(at, start), at=at, by=by)
    return lot, created


def _first_lot(
    assignment: GrantAssignment, starts: datetime, *, at: datetime, by: AuditContext
) -> GrantLot:
    """Return the assignment's first lot, issued now where it has none."""
    lot = assignment.lots.order_by("id").first()
    if lot is None:
        lot, _new = issue_lot(assignment=assignment, reference_at=starts, at=at, by=by)
    if lot is None:
        raise Invalid(
            f"The assignment of {assignment.source_ref} is {assignment.status}, and "
            "issues nothing.",
            field="source.ref",
        )
    return lot


def _check(
    window_end: datetime | None,
    terms: GrantTerms,
    default_xusd: int,
    *,
    at: datetime,
) -> None:
    """Refuse a new gift of nothing, or of the past."""
    if window_end is not None and window_end <= at:
        raise Invalid("What is given must end later than now.", field="window_end")
    if (default_xusd if terms.amount_xusd is None else terms.amount_xusd) == 0:
        raise Invalid("A grant gives more than 0.", field="amount_xusd")
