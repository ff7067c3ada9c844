"""`/billing-users/{billing_user_id}/credits`: what was given, and what became of it."""

from typing import Literal, cast

from billing.api.context import user_in_realm
from config.api.envelope import Answer
from config.api.operations import Call, operation
from config.api.pagination import items, page_limit, paginate
from config.api.views import ServiceView
from config.api.wire import (
    Instant,
    ListQuery,
    PosInt,
    Reference,
    SignedInt,
    WireModel,
    WriteModel,
)
from grants.models import CreditEntry
from grants.selectors.balances import entries_of
from grants.services.credits import ensure_credit

Kind = Literal["credit", "spend", "correction"]


class EntryOut(WireModel):
    """A movement of a balance; a spend has no audit facts of its own."""

    credit_entry_id: str
    billing_account_id: str
    billing_user_id: str
    kind: Kind
    amount_xusd: SignedInt
    source_ref: str
    actor: str | None
    operator: str | None
    reason: str | None
    ticket_id: str | None
    trace_id: str | None
    effective_at: Instant
    occurred_at: Instant

    @classmethod
    def of(cls, entry: CreditEntry) -> "EntryOut":
        """Return the wire form of an entry."""
        return cls(
            credit_entry_id=str(entry.pk),
            billing_account_id=str(entry.account_id),
            billing_user_id=str(entry.user_id),
            kind=cast("Kind", entry.kind),
            amount_xusd=entry.amount_xusd,
            source_ref=entry.source_ref,
            actor=f"{entry.actor_kind}:{entry.actor_id}" if entry.actor_id else None,
            operator=entry.operator or None,
            reason=entry.reason or None,
            ticket_id=entry.ticket_id or None,
            trace_id=entry.trace_id or None,
            effective_at=entry.effective_at,
            occurred_at=entry.occurred_at,
        )


class EntryPage(WireModel):
    """A page of movements."""

    items: list[EntryOut]
    next_cursor: str | None = None


class CreditIn(WriteModel):
    """A credit to give: the amount in 10^-6 USD, and what it is given for."""

    amount_xusd: PosInt
    source_ref: Reference


class EntryQuery(ListQuery):
    """Filters of the list of movements."""

    kind: list[Kind] | None = None


class Credits(ServiceView):
    """`/billing-users/{billing_user_id}/credits`."""

    @operation("list_billing_user_credits", query=EntryQuery, answer=EntryPage)
    def get(self, call: Call, billing_user_id: str, query: EntryQuery) -> Answer:
        """List the movements of a user's balance, newest first."""
        user = user_in_realm(call, billing_user_id)
        page = paginate(
            entries_of(user=user, kinds=query.kind),
            limit=page_limit(query.limit),
            cursor=query.cursor,
            scope=call.list_scope,
        )
        return Answer(items(page, EntryOut.of))

    @operation(
        "credit_billing_user", body=CreditIn, answer=EntryOut, statuses=(201, 200)
    )
    def post(self, call: Call, billing_user_id: str, body: CreditIn) -> Answer:
        """Give a user credit, once per `source_ref`."""
        entry, created = ensure_credit(
            user=user_in_realm(call, billing_user_id),
            amount_xusd=body.amount_xusd,
            source_ref=body.source_ref,
            at=call.at,
            by=call.by,
        )
        return Answer(EntryOut.of(entry), status=201 if created else 200)
