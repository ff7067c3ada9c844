"""The ends of a lease other than its commit: cancellation and expiry."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import structlog
from django.db import IntegrityError, connection, transaction

from billing.models import BillingAccount, BillingUser
from config.kernel.audit import AuditContext
from config.kernel.errors import Refused
from config.tenancy.services.events import record_event
from gating.models import EndKind, Lease, LeaseEnd, LeaseState
from gating.options import options
from gating.services.counters import release
from gating.services.functions import GateMoved
from gating.services.state import lock_gate
from grants.services import funding
from grants.services.budgets import release_budget

log = structlog.get_logger(__name__)

AT_ONCE = 1000
CANCELED = "lease.canceled"
"""The event of a lease that was given up."""

_EXPIRE = "SELECT gate_expire(%s, %s, %s, %s, %s)"


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
    *,
    account: BillingAccount,
    user: BillingUser,
    reference: str,
    at: datetime,
    by: AuditContext,
) -> Cancellation:
    """Give up an authorization, and what it holds. A lease already ended stays so.

    A `LeaseEnd` keeps who did, and why. Refuses a reference that the user does not have
    (422 RESOURCE.NOT_FOUND).
    """
    lock_gate(account.realm_id, account.pk)
    lease = lease_of(user, reference)
    expire_if_overdue(lease, at=at)
    if lease.state != LeaseState.ACTIVE:
        return Cancellation(canceled=False, released_minor=0)
    end_lease(lease, LeaseState.CANCELED, at=at)
    explain_end(lease, EndKind.RELEASED, at=at, by=by)
    record_event(
        realm=account.realm,
        kind=CANCELED,
        subject=lease,
        payload={
            "lease": lease.lease,
            "operator": by.operator,
            "reason": by.reason,
            "ticket_id": by.ticket_id,
        },
        at=at,
        by=by,
    )
    return Cancellation(canceled=True, released_minor=lease.reserved_minor)


def explain_end(
    lease: Lease,
    kind: EndKind,
    *,
    rating_id: UUID | None = None,
    at: datetime,
    by: AuditContext,
) -> LeaseEnd:
    """Keep who ended a lease by decision and why, in the transaction that ended it."""
    return LeaseEnd.objects.create(
        realm_id=lease.realm_id,
        account_id=lease.account_id,
        user_id=lease.user_id,
        lease_id=lease.pk,
        reference=lease.lease,
        feature_code=lease.feature_code,
        kind=kind,
        rating_id=rating_id,
        actor_kind=by.actor.kind,
        actor_id=by.actor.identifier,
        operator=by.operator,
        reason=by.reason,
        ticket_id=by.ticket_id,
        trace_id=by.trace_id,
        effective_at=by.effective_at,
        occurred_at=at,
    )


def end_lease(lease: Lease, state: LeaseState, *, at: datetime) -> None:
    """End an active lease and give back all it holds, under the account's lock."""
    close(lease, state, at=at)
    release(lease.counter_ids, lease.reserved_minor)
    if lease.reserved_xusd:
        held = funding.Hold(lease.held_lots, lease.held_amounts)
        funding.release(held, at=at)
        if lease.budget_id is not None:
            amount_xusd = lease.reserved_xusd
            release_budget(lease.budget_id, amount_xusd=amount_xusd, at=at)


def close(lease: Lease, state: LeaseState, *, at: datetime) -> None:
    """Mark an active lease as ended; what it holds is the caller's to settle."""
    changed = Lease.objects.filter(
        realm_id=lease.realm_id, pk=lease.pk, state=LeaseState.ACTIVE
    ).update(state=state, ended_at=at, updated_at=at)
    if changed != 1:
        raise GateMoved("The lease")
    lease.state, lease.ended_at = state, at


def expire_if_overdue(lease: Lease, *, at: datetime) -> None:
    """Expire a lease that nobody may commit any more, under the account's lock."""
    overdue = at > lease.expires_at + options().lease_grace
    if overdue and lease.state == LeaseState.ACTIVE:
        end_lease(lease, LeaseState.EXPIRED, at=at)


def expire_overdue(realm_id: str, account_id: UUID, *, at: datetime) -> int:
    """Expire an account's overdue leases, under its lock; return how many.

    At most 1000 at once, the longest overdue first. A lease is overdue when its grace
    has passed as well: until then a late commit still counts, out of what it holds.
    """
    before = at - options().lease_grace
    with connection.cursor() as cursor:
        cursor.execute(_EXPIRE, [realm_id, account_id, before, at, AT_ONCE])
        expired: int = cursor.fetchone()[0]
    return expired


def expire_leases(*, at: datetime, batch: int = 500) -> int:
    """Expire overdue leases of up to `batch` accounts; return how many (a job).

    One transaction per account. An account whose gate is busy is left to the next
    run, or to its next authorize, which expires its own. One whose rows a constraint
    holds as they are is logged, and the others go on.
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
        try:
            with transaction.atomic():
                if lock_gate(realm_id, account_id, wait=False):
                    expired += expire_overdue(realm_id, account_id, at=at)
        except IntegrityError:
            log.exception(
                "leases were not expired", realm=realm_id, account=str(account_id)
            )
    return expired
