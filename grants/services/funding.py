"""Holding and spending a user's money: all that the gate knows about funding.

Every verb runs in the caller's transaction and changes the passed balance to what was
stored. Amounts are integers of 10^-6 USD; 0 changes nothing.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.db import connection, transaction

from billing.models import BillingUser
from config.kernel.errors import Conflict, Invalid, Refused
from config.kernel.money import parse_uint
from grants.models import CreditBalance, CreditEntry, EntryKind

MAX_SOURCE_REF = 255

_MOVE = f"""
UPDATE {CreditBalance._meta.db_table}
SET spent_xusd = spent_xusd + %(spend)s,
    reserved_xusd = reserved_xusd + %(reserve)s - %(release)s,
    updated_at = %(at)s
WHERE user_id = %(user)s AND reserved_xusd >= %(release)s
    AND granted_xusd - spent_xusd - reserved_xusd
        >= %(spend)s::numeric + %(reserve)s - %(release)s
RETURNING granted_xusd, spent_xusd, reserved_xusd
"""  # noqa: S608 - the table name is ours.

Hold = Callable[[CreditBalance, int, datetime], bool]
"""Adds an amount to a balance's reserve; returns False, unchanged, where it lacks."""


class FundingExhausted(Refused):
    """The balance does not hold the amount (402)."""

    status = 402
    default_code = "FUNDING.EXHAUSTED"


class NotReserved(Conflict):
    """More would be released than the balance holds in reserve (409)."""


def lock_balance(*, user: BillingUser, at: datetime) -> CreditBalance:
    """Return the user's balance, made empty on first sight, locked until commit.

    Needs an open transaction. Concurrent first sights make one row. `at` is aware
    UTC.
    """
    locked = CreditBalance.objects.select_for_update(no_key=True).filter(pk=user.pk)
    balance = locked.first()
    if balance is None:
        empty = CreditBalance(
            user=user, realm_id=user.realm_id, account_id=user.account_id, updated_at=at
        )
        CreditBalance.objects.bulk_create([empty], ignore_conflicts=True)
        balance = locked.get()
    return balance


def hold_when_available(balance: CreditBalance, amount_xusd: int, at: datetime) -> bool:
    """Reserve in one guarded statement, exact whatever runs beside it."""
    return _move(balance, reserve=amount_xusd, at=at)


def reserve(
    balance: CreditBalance,
    *,
    amount_xusd: int,
    at: datetime,
    hold: Hold = hold_when_available,
) -> None:
    """Hold `amount_xusd` (10^-6 USD, 0 or more) for a spend to come.

    Refuses an amount that is not available (402 FUNDING.EXHAUSTED, with the hint
    `funding.xusd_shortfall`) and one below 0 or beyond 64 bits (`Invalid`). Nothing
    is ever held beyond what was granted, locked balance or not. `hold` is a seam for
    the race tests, which pass an unguarded one to show that they would notice.
    """
    amount = parse_uint(amount_xusd, "amount_xusd")
    if amount == 0 or hold(balance, amount, at):
        return
    balance.refresh_from_db()
    # What was missing may have come free since; the refusal stands all the same.
    shortfall = max(amount - balance.available_xusd, 0)
    raise FundingExhausted(
        f"The balance has {balance.available_xusd} xusd available; {amount} xusd are "
        "needed.",
        hints=[{"type": "funding.xusd_shortfall", "shortfall_xusd": shortfall}],
    )


def release(balance: CreditBalance, *, amount_xusd: int, at: datetime) -> None:
    """Give back `amount_xusd` (10^-6 USD, 0 or more) of what was reserved.

    Refuses more than is reserved (`NotReserved`, 409) and an amount below 0 or beyond
    64 bits (`Invalid`).
    """
    amount = parse_uint(amount_xusd, "amount_xusd")
    if amount > 0 and not _move(balance, release=amount, at=at):
        raise _not_reserved(balance, amount)


@transaction.atomic
def settle(
    balance: CreditBalance,
    *,
    reserved_xusd: int,
    spend_xusd: int,
    source_ref: str,
    at: datetime,
) -> int:
    """Turn a reservation into a spend; return the amount spent (10^-6 USD).

    Releases `reserved_xusd` and spends `spend_xusd`, or as much of it as is then
    available: a balance is never overdrawn. Happens once per user and `source_ref`: a
    repeat changes nothing and returns what was spent. A settlement that spends nothing
    leaves no entry to know a repeat by, so the owner of the reservation must settle it
    once. Refuses a release of more than is reserved (`NotReserved`, 409), amounts
    below 0 or beyond 64 bits, and a blank or overlong `source_ref` (`Invalid`).
    """
    reserved = parse_uint(reserved_xusd, "reserved_xusd")
    wanted = parse_uint(spend_xusd, "spend_xusd")
    check_source_ref(source_ref)
    balance.refresh_from_db(
        from_queryset=CreditBalance.objects.select_for_update(no_key=True)
    )
    earlier = _spend_of(balance, source_ref)
    if earlier is not None:
        return -earlier.amount_xusd
    spent = min(wanted, balance.available_xusd + reserved)
    if reserved == 0 and spent == 0:
        return 0
    if not _move(balance, release=reserved, spend=spent, at=at):
        raise _not_reserved(balance, reserved)
    if spent > 0:
        _append_spend(balance, spent, source_ref, at=at)
    return spent


def check_source_ref(source_ref: str) -> None:
    """Refuse (`Invalid`) a source that is blank, overlong or not printable."""
    if not source_ref.strip() or not source_ref.isprintable():
        raise Invalid("source_ref must be printable text.", field="source_ref")
    if len(source_ref) > MAX_SOURCE_REF:
        raise Invalid(
            f"source_ref has {len(source_ref)} characters; the most is "
            f"{MAX_SOURCE_REF}.",
            field="source_ref",
        )


def _move(
    balance: CreditBalance,
    *,
    reserve: int = 0,
    release: int = 0,
    spend: int = 0,
    at: datetime,
) -> bool:
    """Change the stored balance where it covers the change; return whether it did."""
    amounts: dict[str, Any] = {"reserve": reserve, "release": release, "spend": spend}
    with connection.cursor() as cursor:
        cursor.execute(_MOVE, {**amounts, "user": balance.pk, "at": at})
        row = cursor.fetchone()
    if row is None:
        return False
    balance.granted_xusd, balance.spent_xusd, balance.reserved_xusd = row
    balance.updated_at = at
    return True


def _not_reserved(balance: CreditBalance, amount_xusd: int) -> NotReserved:
    balance.refresh_from_db()
    return NotReserved(
        f"The balance holds {balance.reserved_xusd} xusd in reserve; {amount_xusd} "
        "xusd cannot be released.",
    )


def _spend_of(balance: CreditBalance, source_ref: str) -> CreditEntry | None:
    return CreditEntry.objects.filter(
        realm_id=balance.realm_id,
        user_id=balance.pk,
        kind=EntryKind.SPEND,
        source_ref=source_ref,
    ).first()


def _append_spend(
    balance: CreditBalance, amount_xusd: int, source_ref: str, *, at: datetime
) -> None:
    CreditEntry.objects.create(
        realm_id=balance.realm_id,
        account_id=balance.account_id,
        user_id=balance.pk,
        kind=EntryKind.SPEND,
        amount_xusd=-amount_xusd,
        source_ref=source_ref,
        effective_at=at,
        occurred_at=at,
    )
