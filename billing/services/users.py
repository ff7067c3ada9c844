"""Verbs on billing users, and the seats they take."""

from datetime import datetime
from typing import Any

from django.db import transaction

from billing.models import BillingAccount, BillingUser, UserStatus
from billing.services.accounts import lock_account
from billing.services.assignments import assign_default_plan
from catalog.services.rows import rewritten
from config.kernel.audit import AuditContext
from config.kernel.errors import Invalid, Refused
from config.kernel.metadata import UserMetadata, check_metadata
from config.tenancy.history import auditing
from config.tenancy.services.events import record_event


class SeatCapacityExceeded(Refused):
    """Every seat of the account is taken (403)."""

    status = 403
    default_code = "SEAT.CAPACITY_EXCEEDED"


class UserDeleted(Refused):
    """A deleted user can be activated again, and not be disabled (422)."""

    default_code = "USER.DELETED"


def ensure_user(
    *, account: BillingAccount, business_user_id: str, at: datetime, by: AuditContext
) -> BillingUser:
    """Return the account's user, creating an active one on first sight.

    Never reactivates a disabled or deleted user. Refuses (403
    SEAT.CAPACITY_EXCEEDED) a new user where no seat is free.
    """
    found = _user_of(account, business_user_id)
    return found or _create_user(account, business_user_id, {}, at=at, by=by)


@transaction.atomic
def create_user(
    *,
    account: BillingAccount,
    business_user_id: str,
    metadata: dict[str, Any],
    at: datetime,
    by: AuditContext,
) -> BillingUser:
    """Create an active user, or merge into and reactivate an existing one.

    `metadata` is merged key by key. Refuses bad metadata (`Invalid`) and a full
    account (403 SEAT.CAPACITY_EXCEEDED).
    """
    account = lock_account(account)
    user = _user_of(account, business_user_id)
    merged = {**(user.metadata if user else {}), **metadata}
    check_metadata(UserMetadata, merged)
    if user is None:
        return _create_user(account, business_user_id, merged, at=at, by=by)
    return _change(user, UserStatus.ACTIVE, merged, account, at=at, by=by)


@transaction.atomic
def change_user(
    *,
    user: BillingUser,
    status: str | None = None,
    metadata: dict[str, Any] | None = None,
    named: dict[str, Any] | None = None,
    at: datetime,
    by: AuditContext,
) -> BillingUser:
    """Change a user's status, metadata (whole) or both; None keeps what is there.

    `named` are single keys to set in the metadata, or, as None, to remove from it.
    Refuses an unknown status and bad metadata (`Invalid`), activating without a free
    seat (403 SEAT.CAPACITY_EXCEEDED), and to disable a deleted user (USER.DELETED).
    """
    if status is not None and status not in UserStatus.values:
        raise Invalid(f"Unknown user status {status!r}.", field="status")
    account = lock_account(user.account)
    user = BillingUser.objects.select_related("account").get(pk=user.pk)
    if user.status == UserStatus.DELETED and status == UserStatus.DISABLED:
        raise UserDeleted(
            f"User {user.business_user_id} is deleted; restore the user first.",
            field="status",
        )
    document = {**(user.metadata if metadata is None else metadata), **(named or {})}
    for name, value in (named or {}).items():
        if value is None:
            del document[name]
    if document != user.metadata:
        check_metadata(UserMetadata, document)
    return _change(user, status or user.status, document, account, at=at, by=by)


def _user_of(account: BillingAccount, business_user_id: str) -> BillingUser | None:
    return (
        BillingUser.objects.in_realm(account.realm_id)
        .select_related("account")
        .filter(account=account, business_user_id=business_user_id)
        .first()
    )


@transaction.atomic
def _create_user(
    account: BillingAccount,
    business_user_id: str,
    metadata: dict[str, Any],
    *,
    at: datetime,
    by: AuditContext,
) -> BillingUser:
    account = lock_account(account)
    # Another first request may have created the user while this one waited.
    found = _user_of(account, business_user_id)
    if found is not None:
        return found
    _require_seat(account)
    user = BillingUser(
        realm_id=account.realm_id,
        account=account,
        business_user_id=business_user_id,
        metadata=metadata,
    )
    with auditing(by, at=at):
        user.save(force_insert=True)
        _activated(user, at=at, by=by)
    return user


def _change(
    user: BillingUser,
    status: str,
    metadata: dict[str, Any],
    account: BillingAccount,
    *,
    at: datetime,
    by: AuditContext,
) -> BillingUser:
    activates = status == UserStatus.ACTIVE and user.status != UserStatus.ACTIVE
    if activates:
        _require_seat(account)
    with auditing(by, at=at):
        if not rewritten(user, {"status": status, "metadata": metadata}, at=at):
            return user
        if activates:
            _activated(user, at=at, by=by)
        record_event(
            realm=account.realm,
            kind="billing_user.changed",
            subject=user,
            payload={"status": status},
            at=at,
            by=by,
        )
    return user


def _activated(user: BillingUser, *, at: datetime, by: AuditContext) -> None:
    assign_default_plan(user=user, at=at, by=by)
    record_event(
        realm=user.account.realm,
        kind="billing_user.activated",
        subject=user,
        at=at,
        by=by,
    )


def _require_seat(account: BillingAccount) -> None:
    """Refuse a further active user of a full account; the account row is locked."""
    if account.seat_limit is None:
        return
    users = BillingUser.objects.in_realm(account.realm_id).filter(account=account)
    active = users.filter(status=UserStatus.ACTIVE).count()
    if active >= account.seat_limit:
        raise SeatCapacityExceeded(
            f"All {account.seat_limit} seats of account "
            f"{account.billing_principal_id} are taken ({active} active users).",
            meta={
                "details": {
                    "billing_account_id": str(account.pk),
                    "seat_limit": account.seat_limit,
                    "active_user_count": active,
                }
            },
        )
