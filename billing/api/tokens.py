"""`/token/issue`: a short-lived token for an end user's app."""

import json
from datetime import timedelta
from typing import Annotated, Any

from django.db import transaction
from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from billing.api.context import account_named, active_user
from billing.models import PlatformToken
from billing.services.tokens import TTL_SECONDS, issue_token, issued_before
from config.api.envelope import Answer
from config.api.operations import Call, operation
from config.api.views import ServiceView
from config.api.wire import JsonObject, Name, SmallInt, UserRef, WriteModel
from config.tenancy.models import Scope
from config.tenancy.tokens import sign_token

MAX_TRAITS = 20
MAX_TRAITS_BYTES = 4096
"""A token travels in a header, and what is longer gets lost on the way."""


def _fit(traits: dict[str, Any]) -> dict[str, Any]:
    size = len(json.dumps(traits, ensure_ascii=False).encode())
    if size > MAX_TRAITS_BYTES:
        raise PydanticCustomError(
            "refused",
            "{size} bytes as JSON; the most is {most}.",
            {"size": size, "most": MAX_TRAITS_BYTES},
        )
    return traits


Traits = Annotated[JsonObject, Field(max_length=MAX_TRAITS), AfterValidator(_fit)]


class TokenIssue(WriteModel):
    """Whom the token is for, and what it may do."""

    principal_id: UserRef
    user_id: UserRef
    scopes: list[str] | None = Field(default=None, max_length=20)
    session_ttl_sec: SmallInt = TTL_SECONDS
    traits: Traits = {}
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
        token = issued_before(
            realm=call.realm,
            service_key_id=call.caller.identifier,
            idempotency_key=call.idempotency_key,
            request=call.request.body,
        )
        return Answer(_issued(call, token or _new(call, body)))


@transaction.atomic
def _new(call: Call, body: TokenIssue) -> PlatformToken:
    """Issue a token; account, user and token come to be together, or none does."""
    account = account_named(call, body.principal_id)
    return issue_token(
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


def _issued(call: Call, token: PlatformToken) -> dict[str, Any]:
    # What is left of it: a repeat may come when little is, or nothing.
    left = max(token.expires_at - call.at, timedelta())
    return {
        "access_token": sign_token(token.claims, call.realm),
        "token_type": "Bearer",
        "expires_in": int(left.total_seconds()),
        "expires_at": token.expires_at,
        "billing_account_id": str(token.account_id),
        "billing_user_id": str(token.user_id),
    }
