"""What becomes of the rest of a lot that ends, read from its assignment and program."""

from datetime import datetime

from config.kernel.windows import Window
from grants.models import ClosureKind, GrantLot, GrantStatus


def closure_of(lot: GrantLot, rest: int, following: Window | None) -> ClosureKind:
    """Return what becomes of the rest (10^-6 USD) of a lot."""
    if rest == 0:
        return ClosureKind.NONE
    policy = expiry_policy(lot)
    if policy == ClosureKind.CARRYOVER and following is None:
        return ClosureKind.FORFEIT
    return policy


def expiry_policy(lot: GrantLot) -> ClosureKind:
    """Return what the lot's assignment says of its rest, else its program.

    Forfeit where both are silent.
    """
    metadata = lot.assignment.metadata if lot.assignment else {}
    override = metadata.get("grant_override")
    own = override.get("expiry_policy") if isinstance(override, dict) else None
    for said in (own, lot.program.metadata.get("expiry_policy")):
        if said in ClosureKind.values:
            return ClosureKind(said)
    return ClosureKind.FORFEIT


def following_window(lot: GrantLot, at: datetime) -> Window | None:
    """Return the window that the lot's rest may be carried to; None where it may not.

    It is as long as the lot's, from its end, or from `at` where that is later: a lot
    that was held beyond its end loses no time. One that would end after year 9999 is
    open.
    """
    assignment, ended = lot.assignment, lot.window_end
    if assignment is None or ended is None or lot.carried_from_id is not None:
        return None
    start = max(ended, at)
    if assignment.status == GrantStatus.CANCELED:
        return None
    bound = assignment.window_end
    if bound is not None and bound <= start:
        return None
    try:
        end = start + (ended - lot.window_start)
    except OverflowError:
        return Window(start, bound)
    return Window(start, end if bound is None else min(end, bound))
