"""Reads of grants (lots), and of what used them."""

from collections.abc import Collection
from typing import Any

from django.db.models import Exists, OuterRef, QuerySet, Subquery

from config.kernel.errors import NotFound
from config.kernel.ids import parse_uuid
from config.tenancy.models import Realm
from grants.models import (
    GrantAllocation,
    GrantLot,
    LedgerAccount,
    LedgerEntry,
    LedgerKind,
    Posting,
    PostingReason,
)
from grants.selectors.filters import narrowed

_IDS = {
    "billing_account_id": "account_id",
    "billing_user_id": "user_id",
    "program_id": "program_id",
    "assignment_id": "assignment_id",
}
_VALUES = {
    "issuance_status": "status__in",
    "kind": "kind__in",
    "on_ledger": "on_ledger",
    "grant_program_code": "program__program_code",
}
_HOLDINGS = (LedgerKind.WALLET, LedgerKind.PROMOTIONAL)
_GIVING = (PostingReason.ISSUE, PostingReason.CARRYOVER)
_CLOSING = (
    PostingReason.FORFEIT,
    PostingReason.REFUND,
    PostingReason.CARRYOVER,
    PostingReason.REVOCATION,
)


def _entry(reasons: Collection[str], **sides: Any) -> Subquery:
    """Return the id of the lot's first holding entry with one of these reasons."""
    entries = LedgerEntry.objects.filter(
        lot=OuterRef("pk"),
        posting__reason__in=reasons,
        ledger_account__kind__in=_HOLDINGS,
        **sides,
    )
    return Subquery(entries.order_by("id").values("pk")[:1])


def _complete(realm: Realm) -> QuerySet[GrantLot]:
    ledgers = LedgerAccount.objects.filter(
        realm=OuterRef("realm"), user=OuterRef("user")
    )
    paid = ledgers.filter(kind=LedgerKind.WALLET).values("pk")[:1]
    promotional = ledgers.filter(kind=LedgerKind.PROMOTIONAL).values("pk")[:1]
    return (
        GrantLot.objects.in_realm(realm)
        .select_related("program", "user__realm", "account__realm", "assignment")
        .annotate(
            paid_ledger_id=Subquery(paid),
            promotional_ledger_id=Subquery(promotional),
            source_entry_id=_entry(_GIVING, amount_xusd__gt=0),
            closure_entry_id=_entry(_CLOSING, amount_xusd__lt=0),
        )
    )


def list_lots(
    realm: Realm, *, allowed: Collection[str] = (), **filters: Any
) -> QuerySet[GrantLot]:
    """Return the realm's grants that match every given filter, unordered.

    `billing_account_id`, `billing_user_id`, `program_id`, `assignment_id`,
    `issuance_status` and `kind` (lists), `on_ledger` (a bool), `grant_program_code`,
    `window_start_before`, `window_start_after`, `window_end_before` and
    `window_end_after` (aware UTC; an open end is after everything). `allowed` limits
    to accounts of those ids.
    """
    return narrowed(
        _complete(realm), ids=_IDS, values=_VALUES, allowed=allowed, filters=filters
    )


def lot_of(realm: Realm, grant_id: object) -> GrantLot:
    """Return the realm's grant of that id (404 if none)."""
    key = parse_uuid(str(grant_id))
    row = _complete(realm).filter(pk=key).first() if key else None
    if row is None:
        raise NotFound(f"There is no grant {grant_id}.")
    return row


def allocations_of(lot: GrantLot) -> QuerySet[GrantAllocation]:
    """Return what used the grant, with `reversed`: whether it was undone since."""
    undone = Posting.objects.filter(reverses=OuterRef("posting"))
    found = GrantAllocation.objects.filter(
        realm_id=lot.realm_id, user_id=lot.user_id, lot=lot
    )
    return found.annotate(reversed=Exists(undone))
