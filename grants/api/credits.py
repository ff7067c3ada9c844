"""`/billing-users/{billing_user_id}/credits`: what a person or backend gave a user."""

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
    UInt,
    WireModel,
    WriteModel,
)
from grants.models import GrantLot
from grants.services.credits import credits_of, ensure_credit


class CreditOut(WireModel):
    """Credit that was given, and how much of it was spent and is held (10^-6 USD)."""

    grant_id: str
    billing_account_id: str
    billing_user_id: str
    amount_xusd: UInt
    consumed_xusd: UInt
    reserved_xusd: UInt
    source_ref: str
    status: str
    given_at: Instant

    @classmethod
    def of(cls, lot: GrantLot) -> "CreditOut":
        """Return the wire form of a credit."""
        return cls(
            grant_id=str(lot.pk),
            billing_account_id=str(lot.account_id),
            billing_user_id=str(lot.user_id),
            amount_xusd=lot.amount_xusd,
            consumed_xusd=lot.consumed_xusd,
            reserved_xusd=lot.reserved_xusd,
            source_ref=lot.source_ref,
            status=lot.status,
            given_at=lot.window_start,
        )


class CreditPage(WireModel):
    """A page of credits."""

    items: list[CreditOut]
    next_cursor: str | None = None


class CreditIn(WriteModel):
    """A credit to give: the amount in 10^-6 USD, and what it is given for."""

    amount_xusd: PosInt
    source_ref: Reference


class Credits(ServiceView):
    """`/billing-users/{billing_user_id}/credits`."""

    @operation("list_billing_user_credits", query=ListQuery, answer=CreditPage)
    def get(self, call: Call, billing_user_id: str, query: ListQuery) -> Answer:
        """List the credits that a user was given, newest first."""
        page = paginate(
            credits_of(user_in_realm(call, billing_user_id)),
            limit=page_limit(query.limit),
            cursor=query.cursor,
            scope=call.list_scope,
        )
        return Answer(items(page, CreditOut.of))

    @operation(
        "credit_billing_user", body=CreditIn, answer=CreditOut, statuses=(201, 200)
    )
    def post(self, call: Call, billing_user_id: str, body: CreditIn) -> Answer:
        """Give a user credit, once per `source_ref`."""
        lot, created = ensure_credit(
            user=user_in_realm(call, billing_user_id),
            amount_xusd=body.amount_xusd,
            source_ref=body.source_ref,
            at=call.at,
            by=call.by,
        )
        return Answer(CreditOut.of(lot), status=201 if created else 200)
