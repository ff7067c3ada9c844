"""Verbs on billing accounts."""

from datetime import datetime

from django.db import transaction

from billing.models import BillingAccount, SeatLimitSource
from billing.services.plans import default_plan
from catalog.services.rows import rewritten
from config.kernel.audit import AuditContext
from config.kernel.errors import Invalid
from config.kernel.metadata import PlanMetadata, check_metadata
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
    if plan is None:
        return None
    limit = check_metadata(PlanMetadata, plan.metadata).known.seat_limit
    return limit.seats() if limit else None


def lock_account(account: BillingAccount) -> BillingAccount:
    """Return the account as it is now, locked for the rest of the transaction.

    The one lock that serializes an account's seats and assignments. Rows that only
    refer to the account are written beside it.
    """
    return (
        BillingAccount.objects.select_for_update(of=("self",), no_key=True)
        .select_related("realm")
        .get(pk=account.pk)
    )


@transaction.atomic
def set_seat_limit(
    *, account: BillingAccount, seat_limit: int | None, at: datetime, by: AuditContext
) -> BillingAccount:
    """Set the most active users of an account; None is unlimited.

    Never disables anybody: an account over its limit only cannot add users. From then
    on the limit counts as set by staff, also where the number stays. Refuses a number
    outside 0 to 2^31 - 1 (`Invalid` on `seat_limit`).
    """
    if seat_limit is not None and not 0 <= seat_limit <= MAX_SEATS:
        raise Invalid(f"A seat limit is 0 to {MAX_SEATS}.", field="seat_limit")
    account = lock_account(account)
    manual = SeatLimitSource.OPS_MANUAL
    if (account.seat_limit, account.seat_limit_source) == (seat_limit, manual):
        return account
    values = {
        "seat_limit": seat_limit,
        "seat_limit_source": manual,
        "seat_limit_updated_at": at,
    }
    with auditing(by, at=at):
        rewritten(account, values, at=at)
        record_event(
            realm=account.realm,
            kind="billing_account.changed",
            subject=account,
            payload={"seat_limit": seat_limit},
            at=at,
            by=by,
        )
    return account
