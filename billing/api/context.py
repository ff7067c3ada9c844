"""Whom a call acts for: the account and user behind its headers or token.

The mapping principal → account lives here, on the server; an account id that a client
sends is only ever compared with it (docs/api.md, "Contexts").
"""

from typing import Any
from uuid import UUID

from billing.models import BillingAccount, BillingUser, UserStatus
from billing.services.accounts import ensure_account
from billing.services.users import ensure_user
from config.api.operations import Call
from config.api.views import ServiceView, TokenView
from config.kernel.errors import DomainError, Forbidden, NotFound, Unauthenticated
from config.kernel.ids import parse_uuid
from config.tenancy.authentication import account_forbidden

MAX_PRINCIPAL = 512


def account_in_realm(call: Call, account_id: object) -> BillingAccount:
    """Return the realm's account of that id, for a caller that may use it.

    Refuses an unknown or malformed id (404) and one outside the key's list (403).
    """
    account = _account(call, parse_uuid(account_id) or account_id)
    if account is None:
        raise NotFound(f"There is no billing account {account_id}.")
    _check_allowed(call, account)
    return account


def user_in_realm(call: Call, user_id: object) -> BillingUser:
    """Return the realm's user of that id. Refuses as `account_in_realm`."""
    key = user_id if isinstance(user_id, UUID) else parse_uuid(user_id)
    user = (
        BillingUser.objects.in_realm(call.realm)
        .select_related("account__realm")
        .filter(pk=key)
        .first()
        if key
        else None
    )
    if user is None:
        raise NotFound(f"There is no billing user {user_id}.")
    _check_allowed(call, user.account)
    return user


def _account(call: Call, account_id: object) -> BillingAccount | None:
    if not isinstance(account_id, UUID):
        return None
    return (
        BillingAccount.objects.in_realm(call.realm)
        .select_related("realm")
        .filter(pk=account_id)
        .first()
    )


def _check_allowed(call: Call, account: BillingAccount) -> None:
    if not call.caller.may_use_account(account.pk):
        raise account_forbidden()


def resolve_account(call: Call) -> BillingAccount:
    """Return the account the call is bound to, creating a new principal's.

    Refuses: nothing named 401, an unknown id 403, principal and id that disagree 403,
    an account outside the key's list 403.
    """
    bound = call.caller.bindings
    if not bound.principal_id and not bound.billing_account_id:
        raise Unauthenticated(
            "Name the account: send X-Principal-Id or X-Billing-Account-Id.",
            code="AUTH.MISSING_SERVICE_BINDINGS",
        )
    if bound.principal_id is None:
        account = _account(call, parse_uuid(bound.billing_account_id))
        if account is None:
            raise _mismatch("X-Billing-Account-Id names no account of this realm.")
        _check_allowed(call, account)
        return account
    return _of_principal(call, bound.principal_id)


def _of_principal(call: Call, principal_id: str) -> BillingAccount:
    claimed = call.caller.bindings.billing_account_id
    known = (
        BillingAccount.objects.in_realm(call.realm)
        .select_related("realm")
        .filter(billing_principal_id=principal_id)
        .first()
    )
    if claimed is not None and (known is None or str(known.pk) != claimed.lower()):
        raise _mismatch("X-Billing-Account-Id is not the account of X-Principal-Id.")
    if known is None:
        if call.caller.allowed_accounts:
            raise account_forbidden()
        known = ensure_account(
            realm=call.realm, principal_id=principal_id, at=call.at, by=call.by
        )
    _check_allowed(call, known)
    return known


def _mismatch(sentence: str) -> DomainError:
    return Forbidden(sentence, code="AUTH.SERVICE_BINDINGS_INVALID")


def resolve_user(call: Call, account: BillingAccount) -> BillingUser:
    """Return the active user the call acts for, creating a new one where seats allow.

    Refuses: none named 401, another account's user 403, a disabled or deleted one 403,
    no free seat 403.
    """
    business_user_id = call.caller.bindings.user_id
    if not business_user_id:
        raise Unauthenticated(
            "Name the user: send X-Principal-Id and X-User-Id.",
            code="AUTH.MISSING_RUNTIME_BINDINGS",
        )
    user = ensure_user(
        account=account, business_user_id=business_user_id, at=call.at, by=call.by
    )
    claimed = call.caller.bindings.billing_user_id
    if claimed is not None and claimed.lower() != str(user.pk):
        raise Forbidden(
            "X-Billing-User-Id is not the user that X-User-Id names.",
            code="AUTH.BILLING_USER_MISMATCH",
        )
    if user.status != UserStatus.ACTIVE:
        raise Forbidden(
            f"User {business_user_id} is {user.status}.",
            code="AUTH.BILLING_USER_DISABLED",
        )
    return user


class AccountView(ServiceView):
    """A view bound to the account its headers name."""

    def bind(self, call: Call) -> None:
        """Set `call.account`."""
        call.account = resolve_account(call)


class RuntimeView(ServiceView):
    """A view bound to the account and user its headers name."""

    def bind(self, call: Call) -> None:
        """Set `call.account` and `call.user`."""
        if not call.caller.bindings.principal_id:
            raise Unauthenticated(
                "Name the account and user: send X-Principal-Id and X-User-Id.",
                code="AUTH.MISSING_RUNTIME_BINDINGS",
            )
        call.account = resolve_account(call)
        call.user = resolve_user(call, call.account)


class TokenRuntimeView(TokenView):
    """A view bound to the account and user of its platform token."""

    def bind(self, call: Call) -> None:
        """Set `call.account` and `call.user`. Refuses a user no longer active."""
        bound = call.caller.bindings
        user: Any = (
            BillingUser.objects.in_realm(call.realm)
            .select_related("account__realm")
            .filter(
                pk=parse_uuid(bound.billing_user_id),
                account_id=parse_uuid(bound.billing_account_id),
            )
            .first()
        )
        if user is None or user.status != UserStatus.ACTIVE:
            raise Forbidden(
                "The token's user is no longer active.",
                code="AUTH.BILLING_USER_DISABLED",
            )
        call.account, call.user = user.account, user
