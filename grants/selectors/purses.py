"""What users have in three sums each, read at once: for lists, and for one's state."""

from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from django.db.models import (
    BigIntegerField,
    F,
    OuterRef,
    QuerySet,
    Subquery,
    Sum,
    Value,
)
from django.db.models.expressions import Combinable
from django.db.models.functions import Coalesce, Greatest

from billing.models import BillingUser
from grants.models import GrantAllocation, GrantLot

U = TypeVar("U", bound=BillingUser)

_LEFT = Greatest(
    F("amount_xusd") + F("paid_xusd") - F("consumed_xusd") - F("reserved_xusd"),
    Value(0),
)


def with_sums(users: QuerySet[U], *, at: datetime) -> QuerySet[U]:
    """Return users with what `wallet_of` counts at `at` (aware UTC), in 10^-6 USD.

    `gross_xusd` is what their spendable lots have left, `owed_xusd` what they owe,
    `held_xusd` what leases hold. Read with the users, whatever their number.
    """
    lots = GrantLot.objects.filter(realm=OuterRef("realm"), user=OuterRef("pk"))
    pending = GrantAllocation.objects.filter(
        realm=OuterRef("realm"),
        user=OuterRef("pk"),
        posting__isnull=True,
        lot__isnull=True,
    )
    on_lots = _sum(lots.owed(), F("consumed_xusd") - F("paid_xusd"))
    found: Any = users.annotate(
        gross_xusd=_sum(lots.spendable(at), _LEFT),
        held_xusd=_sum(lots.open_lots(), F("reserved_xusd")),
        owed_xusd=on_lots + _sum(pending, F("amount_xusd")),
    )
    summed: QuerySet[U] = found
    return summed


def wallet_balance(*, user_id: UUID, at: datetime) -> dict[str, Any]:
    """Return the two balances that a billing state shows, as the wire writes them."""
    user: Any = with_sums(BillingUser.objects.filter(pk=user_id), at=at).get()
    available = max(user.gross_xusd - user.owed_xusd, 0)
    return {
        "available_balance": {"xusd": str(available)},
        "outstanding_balance": {"xusd": str(user.owed_xusd)},
    }


def _sum(rows: QuerySet[Any], amount: Combinable) -> Coalesce:
    """Return the sum of an amount over a user's rows, 0 where there are none."""
    per_user = rows.order_by().values("user").annotate(total=Sum(amount))
    total = Subquery(per_user.values("total"), output_field=BigIntegerField())
    return Coalesce(total, Value(0), output_field=BigIntegerField())
