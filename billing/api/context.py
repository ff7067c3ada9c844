"""Whom a call acts for: the account and user behind its headers or token.

The mapping principal → account lives here, on the server; an account id that a client
sends is only ever compared with it (docs/api.md, "Contexts").
"""

import unicodedata
from uuid import UUID

from django.db import transaction

from billing.models import BillingAccount, BillingUser, PlanAssignment, UserStatus
from billing.selectors.assignments import assignment_of
from billing.services.accounts import ensure_account
from billing.services.users import ensure_user
from config.api.operations import Call
from config.api.views import ServiceView, TokenView
from config.kernel.errors import Forbidden, NotFound, Unauthenticated
from config.kernel.ids import parse_uuid
from config.tenancy.authentication import account_forbidden


def account_in_realm(call: Call, account_id: object) -> BillingAccount:
    """Return the realm's account of that id, for a caller that may use it.

    Refuses an unknown or malformed id (404), one outside the key's list (403) and,
    for a write, another account than the headers name (403).
    """
    account = _account(call, account_id)
    if account is None:
        raise NotFound(f"There is no billing account {account_id}.")
    _check_usable(call, account)
    return account


def user_in_realm(call: Call, user_id: object) -> BillingUser:
    """Return the realm's user of that id. Refuses as `account_in_realm`."""
    user = _user(call, user_id)
    if user is None:
        raise NotFound(f"There is no billing user {user_id}.")
    _check_usable(call, user.account)
    return user


def assignment_in_realm(call: Call, assignment_id: str) -> PlanAssignment:
    """Return the realm's assignment of that id. Refuses as `account_in_realm`."""
    assignment = assignment_of(call.realm, assignment_id)
    _check_usable(call, assignment.account)
    return assignment


def _account(call: Call, account_id: object) -> BillingAccount | None:
    key = account_id if isinstance(account_id, UUID) else parse_uuid(account_id)
    if key is None:
        return None
    accounts = BillingAccount.objects.in_realm(call.realm).select_related("realm")
    return accounts.filter(pk=key).first()


def _user(call: Call, user_id: object) -> BillingUser | None:
    key = user_id if isinstance(user_id, UUID) else parse_uuid(user_id)
    if key is None:
        return None
    users = BillingUser.objects.in_realm(call.realm).select_related("account__realm")
    return users.filter(pk=key).first()


def _check_usable(call: Call, account: BillingAccount) -> None:
    _check_allowed(call, account)
    if call.request.method in {"GET", "HEAD"}:
        return
    bound = call.caller.bindings
    principal_id, claimed = spelled(bound.principal_id), bound.billing_account_id
    if (principal_id and principal_id != account.billing_principal_id) or (
        claimed and parse_uuid(claimed) != account.pk
    ):
        raise _mismatch()


def _mismatch() -> Forbidden:
    return Forbidden(
        "The headers name another account.",
        field="billing_account_id",
    )


def _check_allowed(call: Call, account: BillingAccount) -> None:
    if not call.caller.may_use_account(account.pk):
        raise account_forbidden()


def spelled(name: str | None) -> str:
    """Return a principal or user id in the one spelling it is stored in."""
    return unicodedata.normalize("NFC", name or "").strip()


def account_of_principal(call: Call, principal_id: str) -> BillingAccount:
    """Return the principal's account, creating a new principal's.

    Refuses an account outside the key's list (403), so that a limited key creates
    none.
    """
    known = _known(call, principal_id)
    if known is None and not call.caller.allowed_accounts:
        known = ensure_account(
            realm=call.realm, principal_id=principal_id, at=call.at, by=call.by
        )
    if known is None:
        raise account_forbidden()
    _check_allowed(call, known)
    return known


def account_named(call: Call, principal_id: str) -> BillingAccount:
    """Return the account of the principal that a body names, creating a new one's.

    Refuses as `account_of_principal`, and headers that name another account (403);
    a refused call creates nothing.
    """
    bound = call.caller.bindings
    if spelled(bound.principal_id) not in {"", principal_id}:
        raise _mismatch()
    if bound.billing_account_id and _known(call, principal_id) is None:
        raise _mismatch()
    account = account_of_principal(call, principal_id)
    _check_usable(call, account)
    return account


def _known(call: Call, principal_id: str) -> BillingAccount | None:
    accounts = BillingAccount.objects.in_realm(call.realm).select_related("realm")
    return accounts.filter(billing_principal_id=principal_id).first()


def active_user(
    call: Call, account: BillingAccount, business_user_id: str
) -> BillingUser:
    """Return the account's active user, creating a new one where seats allow.

    Refuses a disabled or deleted one (403), and a new one where no seat is free (403).
    """
    user = ensure_user(
        account=account, business_user_id=business_user_id, at=call.at, by=call.by
    )
    if user.status != UserStatus.ACTIVE:
        raise Forbidden(
            f"User {business_user_id} is {user.status}.",
            code="AUTH.BILLING_USER_DISABLED",
        )
    return user


class AccountView(ServiceView):
    """A view bound to the account that its headers name."""

    def bind(self, call: Call) -> None:
        """Set `call.account`, creating a new principal's.

        Refuses: neither principal nor account named 401, an account id that is unknown
        or not the principal's 403, and one outside the key's list 403. A refused call
        creates nothing.
        """
        principal_id = spelled(call.caller.bindings.principal_id)
        claimed = call.caller.bindings.billing_account_id
        if not principal_id and not claimed:
            raise Unauthenticated(
                "Name the account: send X-Principal-Id or X-Billing-Account-Id.",
                code="AUTH.MISSING_SERVICE_BINDINGS",
            )
        account = _account(call, claimed) if claimed else None
        if claimed and (
            account is None or principal_id not in {"", account.billing_principal_id}
        ):
            raise Forbidden(
                "X-Billing-Account-Id is no account of this realm, or not the account "
                "of X-Principal-Id.",
                code="AUTH.SERVICE_BINDINGS_INVALID",
            )
        if account is None:
            account = account_of_principal(call, principal_id)
        _check_allowed(call, account)
        call.account = account


class RuntimeView(ServiceView):
    """A view bound to the account and user its headers name."""

    def bind(self, call: Call) -> None:
        """Set `call.account` and `call.user`, creating new ones.

        Refuses: a missing principal or user 401, an explicit account or user id that
        is unknown 404 or another's 403, and as `active_user`. A refused call creates
        nothing.
        """
        principal_id = spelled(call.caller.bindings.principal_id)
        user_id = spelled(call.caller.bindings.user_id)
        if not principal_id or not user_id:
            raise Unauthenticated(
                "Name the account and user: send X-Principal-Id and X-User-Id.",
                code="AUTH.MISSING_RUNTIME_BINDINGS",
            )
        _check_claimed_account(call, principal_id)
        _check_claimed_user(call, principal_id, user_id)
        call.account, call.user = _account_and_user(call, principal_id, user_id)


def _account_and_user(
    call: Call, principal_id: str, user_id: str
) -> tuple[BillingAccount, BillingUser]:
    known = _known(call, principal_id)
    if known is not None:
        _check_allowed(call, known)
        return known, active_user(call, known, user_id)
    # Both or neither: where the user is refused, no account is left behind.
    with transaction.atomic():
        account = account_of_principal(call, principal_id)
        return account, active_user(call, account, user_id)


def _check_claimed_account(call: Call, principal_id: str) -> None:
    claimed = call.caller.bindings.billing_account_id
    if not claimed:
        return
    account = _account(call, claimed)
    if account is None:
        raise NotFound(
            "X-Billing-Account-Id names no account of this realm.",
            code="AUTH.BILLING_ACCOUNT_NOT_FOUND",
        )
    if account.billing_principal_id != principal_id:
        raise Forbidden(
            "X-Billing-Account-Id is not the account of X-Principal-Id.",
            code="AUTH.BILLING_ACCOUNT_MISMATCH",
        )


def _check_claimed_user(call: Call, principal_id: str, user_id: str) -> None:
    claimed = call.caller.bindings.billing_user_id
    if not claimed:
        return
    user = _user(call, claimed)
    if user is None:
        raise NotFound(
            "X-Billing-User-Id names no user of this realm.",
            code="AUTH.BILLING_USER_NOT_FOUND",
        )
    named = (user.account.billing_principal_id, user.business_user_id)
    if named != (principal_id, user_id):
        raise Forbidden(
            "X-Billing-User-Id is not the user that X-User-Id names.",
            code="AUTH.BILLING_USER_MISMATCH",
        )


class TokenRuntimeView(TokenView):
    """A view bound to the account and user of its platform token."""

    def bind(self, call: Call) -> None:
        """Set `call.account` and `call.user`. Refuses a user no longer active."""
        bound = call.caller.bindings
        user = _user(call, bound.billing_user_id)
        account_id = parse_uuid(bound.billing_account_id)
        if (
            user is None
            or user.account_id != account_id
            or user.status != UserStatus.ACTIVE
        ):
            raise Forbidden(
                "The token's user is no longer active.",
                code="AUTH.BILLING_USER_DISABLED",
            )
        call.account, call.user = user.account, user
