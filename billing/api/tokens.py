"""`/token/issue`: a short-lived token for an end user's app."""

from typing import Any

from pydantic import Field

from billing.models import UserStatus
from billing.services.accounts import ensure_account
from billing.services.tokens import TTL_SECONDS, issue_token
from billing.services.users import ensure_user
from config.api.envelope import Answer
from config.api.operations import Call, operation
from config.api.views import ServiceView
from config.api.wire import JsonObject, Name, SmallInt, UserRef, WriteModel
from config.kernel.errors import Forbidden
from config.tenancy.authentication import account_forbidden
from config.tenancy.models import Scope
from config.tenancy.tokens import sign_token

MAX_TRAITS = 20


class TokenIssue(WriteModel):
    """Whom the token is for, and what it may do."""

    principal_id: UserRef
    user_id: UserRef
    scopes: list[str] | None = Field(default=None, max_length=20)
    session_ttl_sec: SmallInt = TTL_SECONDS
    traits: JsonObject = Field(default={}, max_length=MAX_TRAITS)
    nonce: Name | None = None


class IssueToken(ServiceView):
    """`/token/issue`."""

    @operation(
        "issue_platform_token",
        body=TokenIssue,
        answer=dict,
        scope=Scope.RUNTIME,
        guard="domain",
    )
    def post(self, call: Call, body: TokenIssue) -> Answer:
        """Issue a platform token; the account and user are created on first sight."""
        token = issue_token(
            user=_active_user(call, body),
            service_key_id=call.caller.identifier,
            scopes=body.scopes,
            ttl_seconds=body.session_ttl_sec,
            traits=body.traits,
            nonce=body.nonce,
            request=call.request.body,
            at=call.at,
            by=call.by,
        )
        return Answer(_issued(call, token))


def _active_user(call: Call, body: TokenIssue) -> Any:
    account = ensure_account(
        realm=call.realm, principal_id=body.principal_id, at=call.at, by=call.by
    )
    if not call.caller.may_use_account(account.pk):
        raise account_forbidden()
    user = ensure_user(
        account=account, business_user_id=body.user_id, at=call.at, by=call.by
    )
    if user.status != UserStatus.ACTIVE:
        raise Forbidden(
            f"User {body.user_id} is {user.status}.", code="AUTH.BILLING_USER_DISABLED"
        )
    return user


def _issued(call: Call, token: Any) -> dict[str, Any]:
    lifetime = token.expires_at - token.issued_at
    return {
        "access_token": sign_token(token.claims, call.realm),
        "token_type": "Bearer",
        "expires_in": int(lifetime.total_seconds()),
        "expires_at": token.expires_at,
        "billing_account_id": str(token.account_id),
        "billing_user_id": str(token.user_id),
    }
