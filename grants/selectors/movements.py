"""What postings mean to whom the wallet is: what came in, went out, and is owed.

Amounts are integers of 10^-6 USD.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

from django.db.models import (
    BigIntegerField,
    F,
    Model,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Sum,
    Value,
)
from django.db.models.functions import Coalesce

from billing.models import BillingUser
from grants.models import (
    GrantLot,
    LedgerAccount,
    LedgerEntry,
    LedgerKind,
    Posting,
    PostingReason,
)

M = TypeVar("M", bound=Model)

HOLDINGS = (LedgerKind.WALLET, LedgerKind.PROMOTIONAL)
"""The ledger accounts on which a user has something."""

LOOKED_AT = 5_000
_IN_WALLET = Q(ledger_account__kind__in=HOLDINGS)


def with_changes(postings: QuerySet[Posting]) -> QuerySet[Posting]:
    """Return postings with what each changed for its user.

    `wallet_xusd` is what came into the wallet, below 0 what went out. `owed_xusd` is by
    how much more the user owes, below 0 what was paid of it.
    """
    entries = LedgerEntry.objects.filter(posting=OuterRef("pk"))
    owing = entries.filter(ledger_account__kind=LedgerKind.OUTSTANDING)
    found: Any = postings.annotate(
        wallet_xusd=_sum(entries.filter(_IN_WALLET), "posting", "amount_xusd"),
        owed_xusd=-_sum(owing, "posting", "amount_xusd"),
    )
    changed: QuerySet[Posting] = found
    return changed


def latest_movements(user: BillingUser, *, limit: int) -> Sequence[Any]:
    """Return a user's newest postings as `with_changes` does, the newest first.

    Each has `after_xusd`, what the wallet came to with it: counted back from what it
    comes to now, which the same statement reads.
    """
    own = Posting.objects.in_realm(user.realm_id).filter(user=user)
    purses = LedgerAccount.objects.filter(
        realm=OuterRef("realm"), user=OuterRef("user"), kind__in=HOLDINGS
    )
    newest: Any = with_changes(own).annotate(
        after_xusd=_sum(purses, "user", "balance_xusd")
    )
    found = list(newest.order_by("-id")[:limit])
    since = 0
    for posting in found:
        posting.after_xusd -= since
        since += posting.wallet_xusd
    return found


def by_people(*, limit: int) -> Sequence[Any]:
    """Return the newest postings that people made, as `with_changes` does.

    Looks among the `LOOKED_AT` newest of all: jobs make most of them, and nothing
    keeps those of people apart.
    """
    newest = Posting.objects.order_by("-id").values("pk")[:LOOKED_AT]
    made = Posting.objects.filter(pk__in=newest, actor_kind="user")
    found = with_changes(made).select_related("user", "account")
    return list(found.order_by("-id")[:limit])


def with_taken_back(lots: QuerySet[GrantLot]) -> QuerySet[GrantLot]:
    """Return lots with `taken_back_xusd`: by how much adjustments lessened each.

    Undoing an adjustment counts as well: of one that took it gives back, of one that
    gave it takes.
    """
    by_hand = Q(posting__reason=PostingReason.ADJUSTMENT, amount_xusd__lt=0)
    undoing = Q(posting__reason=PostingReason.REVERSAL)
    entries = LedgerEntry.objects.filter(_IN_WALLET, lot=OuterRef("pk"))
    taken = _sum(entries.filter(by_hand | undoing), "lot", "amount_xusd")
    found: Any = lots.annotate(taken_back_xusd=-taken)
    lessened: QuerySet[GrantLot] = found
    return lessened


def _sum(rows: QuerySet[M], per: str, amount: str) -> Coalesce:
    """Return the sum of an amount over the rows of an outer one, 0 without any."""
    sums = rows.order_by().values(per).annotate(total=Sum(F(amount)))
    total = Subquery(sums.values("total"), output_field=BigIntegerField())
    return Coalesce(total, Value(0), output_field=BigIntegerField())
