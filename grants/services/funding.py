"""Holding and spending what lots have: all that services above know about funding.

The functions in the database (`grants/sql/lots.sql`) do it, for the gate's own
functions and for these verbs alike. Every verb runs in the caller's transaction.
Amounts are integers of 10^-6 USD; 0 changes nothing.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection

from billing.models import BillingUser
from config.kernel.errors import Invalid, Refused
from config.kernel.ids import new_id
from config.kernel.money import parse_uint

MAX_SOURCE_REF = 255


class FundingExhausted(Refused):
    """The lots do not have the amount (402)."""

    status = 402
    default_code = "FUNDING.EXHAUSTED"


@dataclass(frozen=True, slots=True)
class Hold:
    """What is held of which lots, side by side (10^-6 USD)."""

    lots: Sequence[UUID] = ()
    amounts: Sequence[int] = ()


NOTHING_HELD = Hold()


def gross_xusd(*, user: BillingUser, at: datetime) -> int:
    """Return what the lots that pay new uses at `at` have left (10^-6 USD)."""
    found: int = _call("grants_gross", user.realm_id, user.pk, at)[0]
    return found


def available_xusd(*, user: BillingUser, at: datetime) -> int:
    """Return the same less what the user owes (10^-6 USD), 0 or more."""
    found: int = _call("grants_available", user.realm_id, user.pk, at)[0]
    return found


def hold(*, user: BillingUser, amount_xusd: int, at: datetime) -> Hold:
    """Hold an amount (10^-6 USD, 0 or more) on the lots next to pay, for a spend.

    Refuses an amount that is not available at `at` (402 FUNDING.EXHAUSTED, with the
    hint `funding.xusd_shortfall`) and one below 0 or beyond 64 bits (`Invalid`). Where
    lots are taken from meanwhile, the transaction fails as one to be tried again.
    """
    amount = parse_uint(amount_xusd, "amount_xusd")
    if amount == 0:
        return NOTHING_HELD
    require_funds(available_xusd(user=user, at=at), amount)
    return Hold(*_call("grants_hold", user.realm_id, user.pk, amount, at))


def require_funds(available: int, amount_xusd: int) -> None:
    """Refuse (402 FUNDING.EXHAUSTED) an amount beyond what is available (10^-6 USD)."""
    if amount_xusd > available:
        raise FundingExhausted(
            f"The balance has {available} xusd available; {amount_xusd} xusd are "
            "needed.",
            hints=[
                {
                    "type": "funding.xusd_shortfall",
                    "shortfall_xusd": amount_xusd - available,
                }
            ],
        )


def release(held: Hold, *, at: datetime) -> None:
    """Give a hold up. One that is not held fails as a transaction to be tried again."""
    if held.lots:
        _call("grants_release", list(held.lots), list(held.amounts), at)


def settle(
    *,
    user: BillingUser,
    held: Hold = NOTHING_HELD,
    spend_xusd: int,
    owed_xusd: int = 0,
    source_ref: str,
    at: datetime,
) -> None:
    """Give a hold up, and take an amount (10^-6 USD) from it and the lots next to pay.

    All of `spend_xusd` is taken, or the transaction fails as one to be tried again:
    the caller looked at what there is. `owed_xusd` is what no lot pays; settlement puts
    it on the overage lot of its period. Leaves allocations under `source_ref`, once per
    source and lot. Refuses amounts below 0 or beyond 64 bits, and a blank or overlong
    source (`Invalid`).
    """
    check_source_ref(source_ref)
    _call(
        "grants_settle",
        user.realm_id,
        user.account_id,
        user.pk,
        list(held.lots),
        list(held.amounts),
        parse_uint(spend_xusd, "spend_xusd"),
        parse_uint(owed_xusd, "owed_xusd"),
        new_id(),
        source_ref,
        at,
    )


def source_of_key(verb: str, key: str) -> str:
    """Return the source that an idempotency key stands for: `<verb>:<key>`.

    Where that is longer than a source may be, its digest stands for the key. Refuses
    (`Invalid`) what is no source: a key that is blank, over 255 characters or not
    printable.
    """
    check_source_ref(key)
    source_ref = f"{verb}:{key}"
    if len(source_ref) <= MAX_SOURCE_REF:
        return source_ref
    return f"{verb}:sha256:{hashlib.sha256(key.encode()).hexdigest()}"


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


_TYPES = {
    "grants_gross": "%s, %s::uuid, %s",
    "grants_available": "%s, %s::uuid, %s",
    "grants_hold": "%s, %s::uuid, %s::bigint, %s",
    "grants_release": "%s::uuid[], %s::bigint[], %s",
    "grants_settle": (
        "%s, %s::uuid, %s::uuid, %s::uuid[], %s::bigint[], %s::bigint, %s::bigint, "
        "%s::uuid, %s, %s"
    ),
}


def _call(function: str, *arguments: Any) -> Any:
    with connection.cursor() as cursor:
        # Both names are ours.
        cursor.execute(
            f"SELECT * FROM {function}({_TYPES[function]})",  # noqa: S608
            arguments,
        )
        return cursor.fetchone()
