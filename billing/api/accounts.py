"""`/billing-accounts`."""

from collections.abc import Collection, Sequence
from typing import Annotated, Any, Literal

from pydantic import WithJsonSchema

from billing.api.context import account_in_realm
from billing.api.details import DetailsOut
from billing.models import BillingAccount
from billing.selectors.details import details_of
from billing.selectors.users import list_accounts, seat_summaries, seat_summary
from billing.services.accounts import MAX_SEATS, set_seat_limit
from config.api.envelope import Answer
from config.api.expansion import asked_for
from config.api.operations import Call, operation
from config.api.pagination import items, page_limit, paginate
from config.api.sorting import sorting
from config.api.views import ServiceView
from config.api.wire import Instant, ListQuery, UInt, WriteModel

EXPANDABLE = ("seat_summary", "billing_details")


class AccountQuery(ListQuery):
    """Filters of the account list; `expand` takes seat_summary, billing_details."""

    q: str | None = None
    billing_account_id: list[str] | None = None
    billing_principal_id: str | None = None
    created_after: Instant | None = None
    created_before: Instant | None = None
    sort_by: Literal["created_at"] | None = None
    sort_order: Literal["asc", "desc"] | None = None
    expand: list[str] | None = None


Seats = Annotated[
    UInt,
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0, "maximum": MAX_SEATS},
                {"type": "string", "pattern": "^(0|[1-9][0-9]{0,9})$"},
            ]
        }
    ),
]


class SeatLimitChange(WriteModel):
    """The most active users of an account; null is unlimited."""

    seat_limit: Seats | None


def account_document(account: BillingAccount) -> dict[str, Any]:
    """Return the wire form of an account."""
    return {
        "billing_account_id": str(account.pk),
        "billing_principal_id": account.billing_principal_id,
        "seat_limit": account.seat_limit,
        "seat_limit_source": account.seat_limit_source,
        "seat_limit_updated_at": account.seat_limit_updated_at,
        "metadata": account.metadata,
        "created_at": account.created_at,
    }


class Accounts(ServiceView):
    """`/billing-accounts`."""

    @operation("list_billing_accounts", query=AccountQuery, answer=dict)
    def get(self, call: Call, query: AccountQuery) -> Answer:
        """List accounts."""
        asked = asked_for(query.expand, EXPANDABLE, "expand")
        filters = query.given("limit", "cursor", "sort_by", "sort_order", "expand")
        page = paginate(
            list_accounts(call.realm, **filters, allowed=call.caller.allowed_accounts),
            limit=page_limit(query.limit),
            cursor=query.cursor,
            scope=call.list_scope,
            sorting=sorting(query.sort_by, query.sort_order),
        )
        document = items(page, account_document)
        _expand(document["items"], page.rows, asked)
        return Answer(document)


def _expand(
    documents: list[dict[str, Any]],
    accounts: Sequence[BillingAccount],
    asked: Collection[str],
) -> None:
    """Add to each account what the caller asked for, one query for all of each."""
    found: dict[str, dict[Any, Any]] = {}
    if "seat_summary" in asked:
        seats = seat_summaries(accounts)
        found["seat_summary"] = {key: seat.document() for key, seat in seats.items()}
    if "billing_details" in asked:
        details = details_of(accounts)
        found["billing_details"] = {k: DetailsOut.of(row) for k, row in details.items()}
    for document, account in zip(documents, accounts, strict=True):
        for name, values in found.items():
            document[name] = values.get(account.pk)


class AccountDetail(ServiceView):
    """`/billing-accounts/{billing_account_id}`."""

    @operation("get_billing_account", answer=dict)
    def get(self, call: Call, billing_account_id: str) -> Answer:
        """Read an account."""
        return Answer(account_document(account_in_realm(call, billing_account_id)))

    @operation("update_billing_account", body=SeatLimitChange, answer=dict)
    def patch(
        self, call: Call, billing_account_id: str, body: SeatLimitChange
    ) -> Answer:
        """Set the seat limit; nobody who is active is disabled."""
        account = set_seat_limit(
            account=account_in_realm(call, billing_account_id),
            seat_limit=body.seat_limit,
            at=call.at,
            by=call.by,
        )
        return Answer(account_document(account))


class AccountSeats(ServiceView):
    """`/billing-accounts/{billing_account_id}/seat-summary`."""

    @operation("get_billing_account_seat_summary", answer=dict)
    def get(self, call: Call, billing_account_id: str) -> Answer:
        """Read how many seats an account has and uses."""
        account = account_in_realm(call, billing_account_id)
        return Answer(seat_summary(account).document())
