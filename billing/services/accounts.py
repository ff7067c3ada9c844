"""Verbs on billing accounts."""

from datetime import datetime
from typing import Any

from django.db import transaction

from billing.models import BillingAccount, SeatLimitSource
from billing.services.plans import default_plan
from config.kernel.audit import AuditContext
from config.kernel.errors import Invalid
from config.kernel.metadata import AccountMetadata, check_metadata
from config.tenancy.history import auditing
from config.tenancy.models import Realm
from config.tenancy.services.events import record_event

MAX_SEATS = 2**31 - 1


def ensure_account(
    *, realm: Realm, principal_id: str, at: datetime, by: AuditContext
) -> BillingAccount:
    """Return the principal's account, creating it on first sight.

    Safe against concurrent first requests: the unique key decides, and the loser
    reads the winner's row. Seats are initialized once from the default plan.
    """
    found = (
        BillingAccount.objects.in_realm(realm)
        .filter(billing_principal_id=principal_id)
        .first()
    )
    return found or _create_account(realm, principal_id, at=at, by=by)


@transaction.atomic
def _create_account(
    realm: Realm, principal_id: str, *, at: datetime, by: AuditContext
) -> BillingAccount:
    seat_limit = _default_seat_limit(realm)
    account = BillingAccount(
        realm=realm,
        billing_principal_id=principal_id,
        seat_limit=seat_limit,
        seat_limit_source=None if seat_limit is None else SeatLimitSource.DEFAULT,
        seat_limit_updated_at=None if seat_limit is None else at,
    )
    with auditing(by, at=at):
        BillingAccount.objects.bulk_create([account], ignore_conflicts=True)
        stored = BillingAccount.objects.in_realm(realm).get(
            billing_principal_id=principal_id
        )
        if stored.pk == account.pk:
            record_event(
                realm=realm,
                kind="billing_account.created",
                subject=stored,
                at=at,
                by=by,
            )
    return stored


def _default_seat_limit(realm: Realm) -> int | None:
    plan = default_plan(realm)
    limit = plan.metadata.get("seat_limit") if plan else None
    is_count = isinstance(limit, int) and not isinstance(limit, bool)
    return limit if is_count and 0 <= limit <= MAX_SEATS else None


@transaction.atomic
def set_seat_limit(
    *, account: BillingAccount, seat_limit: int | None, at: datetime, by: AuditContext
) -> BillingAccount:
    """Set the most active users of an account; None is unlimited.

    Never disables anybody: an account over its limit only cannot add users. Refuses a
    number outside 0 to 2^31−1 (`Invalid` on `seat_limit`).
    """
    if seat_limit is not None and not 0 <= seat_limit <= MAX_SEATS:
        raise Invalid(f"A seat limit is 0 to {MAX_SEATS}.", field="seat_limit")
    account = BillingAccount.objects.select_for_update().get(pk=account.pk)
    if account.seat_limit == seat_limit and account.seat_limit_source:
        return account
    account.seat_limit = seat_limit
    account.seat_limit_source = SeatLimitSource.OPS_MANUAL
    account.seat_limit_updated_at = at
    account.updated_at = at
    with auditing(by, at=at):
        account.save(
            update_fields=[
                "seat_limit",
                "seat_limit_source",
                "seat_limit_updated_at",
                "updated_at",
            ]
        )
    return account


@transaction.atomic
def change_account_metadata(
    *,
    account: BillingAccount,
    metadata: dict[str, Any],
    at: datetime,
    by: AuditContext,
) -> BillingAccount:
    """Replace an account's annotations. Refuses a bad document (`Invalid`)."""
    check_metadata(AccountMetadata, metadata)
    account.metadata = metadata
    account.updated_at = at
    with auditing(by, at=at):
        account.save(update_fields=["metadata", "updated_at"])
    return account
