"""The ends of a lease other than its commit: cancellation and expiry."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.db.models import Sum

from billing.models import BillingAccount, BillingUser
from config.kernel.errors import Refused
from gating.guards import reached
from gating.models import Lease, LeaseState
from gating.options import options
from gating.services.counters import release
from gating.services.state import GateMoved, lock_gate
from grants.services import funding

AT_ONCE = 1000


class LeaseUnknown(Refused):
    """The user has no lease by that reference (422)."""

    default_code = "RESOURCE.NOT_FOUND"

    def __init__(self, reference: str) -> None:
        super().__init__(
            f"lease not found: this user has no lease {reference}.",
            field="lease",
            error_type="invalid_lease",
        )


@dataclass(frozen=True, slots=True)
class Cancellation:
    """Whether a lease was canceled by this call, and the quantity it gave back."""

    canceled: bool
    released_minor: int


def lease_of(user: BillingUser, reference: str) -> Lease:
    """Return the user's lease of that reference. Refuses an unknown one (422)."""
    lease = (
        Lease.objects.in_realm(user.realm_id)
        .filter(user=user, account_id=user.account_id, lease=reference)
        .first()
    )
    if lease is None:
        raise LeaseUnknown(reference)
    return lease


@transaction.atomic
def cancel_lease(
    *, account: BillingAccount, user: BillingUser, reference: str, at: datetime
) -> Cancellation:
    """Give up an authorization, and what it holds. A lease already ended stays so.

    Refuses a reference that the user does not have (422 RESOURCE.NOT_FOUND).
    """
    lock_gate(account.realm_id, account.pk)
    lease = lease_of(user, reference)
    expire_if_overdue(lease, user, at=at)
    if lease.state != LeaseState.ACTIVE:
        return Cancellation(canceled=False, released_minor=0)
    end_lease(lease, user, LeaseState.CANCELED, at=at)
    reached("cancel.decided")
    return Cancellation(canceled=True, released_minor=lease.reserved_minor)


def end_lease(
    lease: Lease, user: BillingUser, state: LeaseState, *, at: datetime
) -> None:
    """End an active lease and give back all it holds, under the account's lock."""
    close(lease, state, at=at)
    release(lease.counter_ids, lease.reserved_minor)
    if lease.reserved_xusd:
        balance = funding.lock_balance(user=user, at=at)
        funding.release(balance, amount_xusd=lease.reserved_xusd, at=at)


def close(lease: Lease, state: LeaseState, *, at: datetime) -> None:
    """Mark an active lease as ended; what it holds is the caller's to settle."""
    changed = Lease.objects.filter(
        realm_id=lease.realm_id, pk=lease.pk, state=LeaseState.ACTIVE
    ).update(state=state, ended_at=at, updated_at=at)
    if changed != 1:
        raise GateMoved("The lease")
    lease.state, lease.ended_at = state, at


def expire_if_overdue(lease: Lease, user: BillingUser, *, at: datetime) -> None:
    """Expire a lease that nobody may commit any more, under the account's lock."""
    overdue = at > lease.expires_at + options().lease_grace
    if overdue and lease.state == LeaseState.ACTIVE:
        end_lease(lease, user, LeaseState.EXPIRED, at=at)


def expire_overdue(realm_id: str, account_id: UUID, *, at: datetime) -> int:
    """Expire an account's overdue leases, under its lock; return how many.

    At most 1000 at once, the longest overdue first. A lease is overdue when its grace
    has passed as well: until then a late commit still counts, out of what it holds.
    """
    leases = list(
        Lease.objects.in_realm(realm_id)
        .filter(
            account_id=account_id,
            state=LeaseState.ACTIVE,
            expires_at__lt=at - options().lease_grace,
        )
        .only("counter_ids", "reserved_minor", "reserved_xusd", "user_id")
        .order_by("expires_at", "id")[:AT_ONCE]
    )
    if not leases:
        return 0
    ids = [lease.pk for lease in leases]
    active = Lease.objects.filter(pk__in=ids, state=LeaseState.ACTIVE)
    changed = active.update(state=LeaseState.EXPIRED, ended_at=at, updated_at=at)
    if changed != len(leases):
        raise GateMoved("A lease")
    for lease in leases:
        release(lease.counter_ids, lease.reserved_minor)
    _release_money(ids, at=at)
    return len(leases)


def _release_money(lease_ids: Sequence[UUID], *, at: datetime) -> None:
    held = (
        Lease.objects.filter(pk__in=lease_ids, reserved_xusd__gt=0)
        .values("user_id")
        .annotate(total=Sum("reserved_xusd"))
        .order_by("user_id")
    )
    totals = {row["user_id"]: row["total"] for row in held}
    for user in BillingUser.objects.filter(pk__in=totals).order_by("pk"):
        balance = funding.lock_balance(user=user, at=at)
        funding.release(balance, amount_xusd=totals[user.pk], at=at)


def expire_leases(*, at: datetime, batch: int = 500) -> int:
    """Expire overdue leases of up to `batch` accounts; return how many (a job).

    One transaction per account. An account whose gate is busy is left to the next
    run, or to its next authorize, which expires its own.
    """
    accounts = (
        Lease.objects.filter(
            state=LeaseState.ACTIVE, expires_at__lt=at - options().lease_grace
        )
        .order_by("realm_id", "account_id")
        .values_list("realm_id", "account_id")
        .distinct()[:batch]
    )
    expired = 0
    for realm_id, account_id in list(accounts):
        with transaction.atomic():
            if lock_gate(realm_id, account_id, wait=False):
                expired += expire_overdue(realm_id, account_id, at=at)
    return expired
