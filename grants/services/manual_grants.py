"""Giving one grant by hand: an assignment and its first lot, in one step."""

from dataclasses import replace
from datetime import datetime

from django.db import transaction

from config.kernel.audit import AuditContext
from config.kernel.errors import Invalid
from config.kernel.windows import Window
from grants.models import GrantLot
from grants.services.assignment_changes import create_manual_assignment
from grants.services.assignments import GrantIdentity, GrantTerms
from grants.services.issuance import issue_lot

MANUAL_PROGRAM = "one_time_xusd"
"""The realm's own program of what is given without naming one."""


@transaction.atomic
def give_by_hand(
    *,
    identity: GrantIdentity,
    window: Window,
    terms: GrantTerms,
    at: datetime,
    by: AuditContext,
) -> tuple[GrantLot, bool]:
    """Give a user one grant, once per source; return its lot, and whether it is new.

    Without an amount (10^-6 USD) it is the program's. A window that begins later is
    issued now, and can be spent from then on. Refuses (`Invalid`) an amount of 0 and a
    window that is over, and what `create_manual_assignment` refuses.
    """
    if window.end is not None and window.end <= at:
        raise Invalid("What is given must end later than now.", field="window_end")
    amount = terms.amount_xusd
    if amount is None:
        amount = identity.program.amount_xusd
    if amount == 0:
        raise Invalid("A grant gives more than 0.", field="amount_xusd")
    assignment, created = create_manual_assignment(
        identity=identity,
        window=window,
        terms=replace(terms, amount_xusd=amount),
        at=at,
        by=by,
    )
    first = assignment.lots.order_by("id").first()
    if first is None:
        first, _new = issue_lot(
            assignment=assignment, reference_at=max(at, window.start), at=at, by=by
        )
    if first is None:
        raise Invalid(
            f"The assignment of {identity.source_ref} is {assignment.status}, and "
            "issues nothing.",
            field="source.ref",
        )
    return first, created
