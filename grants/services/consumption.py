"""Spending of a user's wallet by name, outside the gate."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import transaction

from billing.models import BillingUser
from config.kernel.audit import AuditContext
from config.kernel.errors import Conflict
from config.kernel.money import parse_posint
from config.tenancy.services.events import record_event
from grants.models import GrantAllocation
from grants.services.funding import (
    available_xusd,
    require_funds,
    settle,
    source_of_key,
)
from grants.services.ledger import one_at_a_time


class KeyConsumedOtherwise(Conflict):
    """The key already stands for another amount (409)."""


@dataclass(frozen=True, slots=True)
class Consumption:
    """What one consumption took: its source, the sum, and how much of which lot.

    Amounts in 10^-6 USD.
    """

    source_ref: str
    amount_xusd: int
    lots: Sequence[tuple[UUID, int]]


@transaction.atomic
def consume(
    *, user: BillingUser, amount_xusd: int, key: str, at: datetime, by: AuditContext
) -> tuple[Consumption, bool]:
    """Spend an amount (10^-6 USD, 1 or more) of the user's lots, once per `key`.

    Takes it from the lots that pay new uses at `at` (aware UTC), in the order of
    spending. Returns what was taken, and whether it is new: a repeat changes nothing.
    Refuses more than is available (402 FUNDING.EXHAUSTED, with the hint
    `funding.xusd_shortfall`), the key with another amount (`KeyConsumedOtherwise`), and
    a bad amount or key (`Invalid`).
    """
    amount = parse_posint(amount_xusd, "amount_xusd")
    source_ref = source_of_key("consume", key)
    one_at_a_time(user)
    earlier = _consumption(user, source_ref)
    if earlier is not None:
        return _same(earlier, amount), False
    require_funds(available_xusd(user=user, at=at), amount)
    settle(user=user, spend_xusd=amount, source_ref=source_ref, at=at)
    record_wallet_event(user, "wallet.consumed", amount, source_ref, at=at, by=by)
    done = _consumption(user, source_ref)
    return done or Consumption(source_ref, 0, ()), True


def _consumption(user: BillingUser, source_ref: str) -> Consumption | None:
    taken = list(
        GrantAllocation.objects.in_realm(user.realm_id)
        .filter(user=user, source_ref=source_ref, lot__isnull=False)
        .order_by("id")
        .values_list("lot_id", "amount_xusd")
    )
    lots = [(lot, amount) for lot, amount in taken if lot is not None]
    total = sum(amount for _, amount in lots)
    return Consumption(source_ref, total, lots) if lots else None


def _same(earlier: Consumption, amount_xusd: int) -> Consumption:
    if earlier.amount_xusd != amount_xusd:
        raise KeyConsumedOtherwise(
            f"This key already consumed {earlier.amount_xusd} xusd, not {amount_xusd}.",
            field="Idempotency-Key",
        )
    return earlier


def record_wallet_event(
    user: BillingUser,
    kind: str,
    amount_xusd: int,
    source_ref: str,
    *,
    at: datetime,
    by: AuditContext,
) -> None:
    """Append an event about a wallet: what happened, to which amount (10^-6 USD)."""
    payload = {
        "billing_account_id": str(user.account_id),
        "billing_user_id": str(user.pk),
        "amount_xusd": str(amount_xusd),
        "source_ref": source_ref,
        "operator": by.operator,
        "reason": by.reason,
    }
    record_event(
        realm=user.realm, kind=kind, subject=user, payload=payload, at=at, by=by
    )
