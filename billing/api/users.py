"""`/billing-accounts/{id}/users` and `/billing-users`."""

from typing import Any, Literal

from billing.api.changes import given_changes
from billing.api.context import account_in_realm, user_in_realm
from billing.models import BillingUser
from billing.selectors.users import list_users
from billing.services.users import change_user, create_user
from config.api.envelope import Answer
from config.api.operations import Call, operation
from config.api.pagination import items, page_limit, paginate
from config.api.views import ServiceView
from config.api.wire import JsonObject, ListQuery, Name, UserRef, WriteModel

Status = Literal["active", "disabled", "deleted"]


class UserQuery(ListQuery):
    """Filters of a user list."""

    q: str | None = None
    user_id: str | None = None
    business_user_id: str | None = None
    status: list[Status] | None = None


class UserCreate(WriteModel):
    """A user to add to an account, or to reactivate."""

    user_id: UserRef
    display_name: Name | None = None
    email: Name | None = None
    metadata: JsonObject = {}


class UserChange(WriteModel):
    """The fields of a user to change; null removes a name or e-mail address."""

    display_name: Name | None = None
    email: Name | None = None
    status: Status | None = None
    metadata: JsonObject | None = None


class Empty(WriteModel):
    """No field but `audit`."""


def user_document(user: BillingUser) -> dict[str, Any]:
    """Return the wire form of a user read with its account."""
    return {
        "billing_user_id": str(user.pk),
        "billing_account_id": str(user.account_id),
        "billing_principal_id": user.account.billing_principal_id,
        "business_user_id": user.business_user_id,
        "user_id": user.business_user_id,
        "status": user.status,
        "display_name": user.display_name,
        "email": user.email,
        "metadata": user.metadata,
        "created_at": user.created_at,
        "updated_at": user.updated_at,
    }


NAMED = ("display_name", "email")
"""The fields that live inside the user's metadata."""


class AccountUsers(ServiceView):
    """`/billing-accounts/{billing_account_id}/users`."""

    @operation("list_billing_users", query=UserQuery, answer=dict)
    def get(self, call: Call, billing_account_id: str, query: UserQuery) -> Answer:
        """List an account's users."""
        account = account_in_realm(call, billing_account_id)
        page = paginate(
            list_users(account, **query.given("limit", "cursor")),
            limit=page_limit(query.limit),
            cursor=query.cursor,
            scope=call.list_scope,
        )
        return Answer(items(page, user_document))

    @operation("create_billing_user", body=UserCreate, answer=dict, statuses=(201,))
    def post(self, call: Call, billing_account_id: str, body: UserCreate) -> Answer:
        """Add a user; an existing one is merged and reactivated."""
        named = {name: getattr(body, name) for name in NAMED if getattr(body, name)}
        user = create_user(
            account=account_in_realm(call, billing_account_id),
            business_user_id=body.user_id,
            metadata={**body.metadata, **named},
            at=call.at,
            by=call.by,
        )
        return Answer(user_document(user), status=201)


class UserDetail(ServiceView):
    """`/billing-users/{billing_user_id}`."""

    @operation("get_billing_user", answer=dict)
    def get(self, call: Call, billing_user_id: str) -> Answer:
        """Read a user."""
        return Answer(user_document(user_in_realm(call, billing_user_id)))

    @operation("update_billing_user", body=UserChange, answer=dict)
    def patch(self, call: Call, billing_user_id: str, body: UserChange) -> Answer:
        """Change a user; activating one needs a free seat."""
        changes = given_changes(body, NAMED)
        named = {name: changes.pop(name) for name in NAMED if name in changes}
        changed = change_user(
            user=user_in_realm(call, billing_user_id),
            named=named,
            **changes,
            at=call.at,
            by=call.by,
        )
        return Answer(user_document(changed))


def _set_status(call: Call, billing_user_id: str, status: str) -> Answer:
    user = user_in_realm(call, billing_user_id)
    changed = change_user(user=user, status=status, at=call.at, by=call.by)
    return Answer(user_document(changed))


class DisableUser(ServiceView):
    """`/billing-users/{billing_user_id}/disable`."""

    @operation("disable_billing_user", body=Empty, answer=dict)
    def post(self, call: Call, billing_user_id: str, body: Empty) -> Answer:
        """Disable a user and free the seat."""
        return _set_status(call, billing_user_id, "disabled")


class RestoreUser(ServiceView):
    """`/billing-users/{billing_user_id}/restore`."""

    @operation("restore_billing_user", body=Empty, answer=dict)
    def post(self, call: Call, billing_user_id: str, body: Empty) -> Answer:
        """Activate a user again; needs a free seat."""
        return _set_status(call, billing_user_id, "active")
