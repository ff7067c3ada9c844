"""`/token/issue`: a short-lived token for an end user's app."""

from typing import Any

from pydantic import Field

from billing.api.context import account_of_principal, active_user
from billing.services.tokens import TTL_SECONDS, issue_token
from config.api.envelope import Answer
from config.api.operations import Call, operation
from config.api.views import ServiceView
from config.api.wire import JsonObject, Name, SmallInt, UserRef, WriteModel
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
        account = account_of_principal(call, body.principal_id)
        token = issue_token(
            user=active_user(call, account, body.user_id),
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
