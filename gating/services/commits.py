"""Committing: usage becomes a rating, counted and paid, once per lease."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, cast

from django.db import transaction

from billing.models import BillingAccount, BillingUser
from config.kernel.audit import AuditContext
from config.kernel.errors import Refused
from gating.guards import reached
from gating.models import Lease, LeaseState, Rating
from gating.options import options
from gating.selectors.windows import held_windows
from gating.services.admissions import Admission, KeyReused, digest_of
from gating.services.counters import settle_counters
from gating.services.leases import close, expire_if_overdue, lease_of
from gating.services.ratings import Booking, store_rating
from gating.services.state import lock_gate
from gating.services.usage import MeterUse, RatedUse, rate_use
from gating.settle import CommitFacts, settle
from gating.settle import LeaseState as State
from grants.models import CreditBalance
from grants.services import funding

if TYPE_CHECKING:
    from gating.facts import BillingMode

OPERATION = "commit"


class OtherFeature(Refused):
    """The lease is for another feature (422)."""

    def __init__(self, lease: Lease, feature_code: str) -> None:
        super().__init__(
            f"The lease {lease.lease} is for {lease.feature_code}, not for "
            f"{feature_code}.",
            field="feature_code",
            error_type="feature_mismatch",
        )


class MeterNotAllowed(Refused):
    """Usage on a meter that the feature does not have, in strict mode (422)."""

    default_code = "VALIDATION.INVALID_INPUT"

    def __init__(self, feature_code: str, meters: Sequence[str]) -> None:
        super().__init__(
            f"meter_not_allowed_for_feature: {feature_code} has no activity meter "
            f"{', '.join(meters)}.",
            field="meters",
            hints=[
                {
                    "type": "feature.meter_not_allowed",
                    "feature_code": feature_code,
                    "meters": list(meters),
                }
            ],
            error_type="meter_not_allowed_for_feature",
        )


@dataclass(frozen=True, slots=True)
class CommitRequest:
    """What was used: the feature's quantity, and where given each meter's.

    `reference` names the lease. Without `meters` the feature's primary meter counts
    the whole quantity; with them, they alone are priced.
    """

    reference: str
    feature_code: str
    quantity_minor: int
    meters: Sequence[MeterUse] = ()
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def uses(self) -> Sequence[MeterUse]:
        """Return what to rate: the meters given, else the primary one."""
        return self.meters or (MeterUse(self.feature_code, self.quantity_minor),)

    @property
    def digest(self) -> bytes:
        """Return what makes two requests with one key the same request."""
        return digest_of(
            [
                OPERATION,
                self.reference,
                self.feature_code,
                str(self.quantity_minor),
                [use.document for use in self.meters],
                dict(self.labels),
            ]
        )


def commit_lease(
    *,
    account: BillingAccount,
    user: BillingUser,
    request: CommitRequest,
    idempotency_key: str,
    at: datetime,
    by: AuditContext,
) -> Admission:
    """Rate what was used under a lease, settle it (`gating.settle`), close the lease.

    The first answer to a key is given again; the key with another body is refused
    (`KeyReused`). A second commit under another key is kept as quarantined usage.
    Refuses an unknown lease (`LeaseUnknown`), another feature's (`OtherFeature`), an
    amount beyond 64 bits (`Invalid`) and, where strict, a foreign meter
    (`MeterNotAllowed`).
    """
    stored = _stored(user, request, idempotency_key)
    if stored is not None:
        return stored
    with transaction.atomic():
        lock_gate(account.realm_id, account.pk)
        stored = _stored(user, request, idempotency_key)
        if stored is not None:
            return stored
        lease = _lease(user, request, at=at)
        use = _use(account, user, request, at=at)
        booking = Booking(
            account,
            user,
            lease,
            OPERATION,
            idempotency_key,
            request.digest,
            request.labels,
        )
        answer = _settle(booking, request.quantity_minor, use, at=at, by=by)
    reached("commit.committed")
    return answer


def _lease(user: BillingUser, request: CommitRequest, *, at: datetime) -> Lease:
    lease = lease_of(user, request.reference)
    if lease.feature_code != request.feature_code:
        raise OtherFeature(lease, request.feature_code)
    expire_if_overdue(lease, user, at=at)
    return lease


def _use(
    account: BillingAccount, user: BillingUser, request: CommitRequest, *, at: datetime
) -> RatedUse:
    use = rate_use(
        user=user,
        realm=account.realm,
        feature_code=request.feature_code,
        uses=request.uses,
        at=at,
    )
    if use.not_allowed and options().strict_meters:
        raise MeterNotAllowed(request.feature_code, use.not_allowed)
    return use


def _stored(
    user: BillingUser, request: CommitRequest, idempotency_key: str
) -> Admission | None:
    rating = (
        Rating.objects.in_realm(user.realm_id)
        .filter(user=user, operation=OPERATION, idempotency_key=idempotency_key)
        .only("request_hash", "response")
        .first()
    )
    if rating is None:
        return None
    if bytes(rating.request_hash) != request.digest:
        raise KeyReused
    answer = rating.response
    return Admission(answer["data"], answer["hints"], replayed=True)


def _settle(
    booking: Booking,
    quantity_minor: int,
    use: RatedUse,
    *,
    at: datetime,
    by: AuditContext,
) -> Admission:
    lease = booking.lease
    balance = None
    if _pays(lease, use):
        balance = funding.lock_balance(user=booking.user, at=at)
    facts = _facts(lease, quantity_minor, use, balance, at=at)
    settlement = settle(facts)
    reached("commit.decided")
    settle_counters(settlement.takes)
    funded_xusd = 0
    if balance is not None:
        funded_xusd = funding.settle(
            balance,
            reserved_xusd=lease.reserved_xusd,
            # A postpaid balance pays what it has; the rest is owed.
            spend_xusd=settlement.amount_xusd,
            source_ref=booking.source_ref,
            at=at,
        )
    reached("commit.paid")
    if lease.state == LeaseState.ACTIVE:
        close(lease, LeaseState.CLOSED, at=at)
    answer = store_rating(
        booking, use, facts, settlement, funded_xusd=funded_xusd, at=at, by=by
    )
    reached("commit.stored")
    return answer


def _pays(lease: Lease, use: RatedUse) -> bool:
    """Return whether the balance may change at all."""
    owes = lease.reserved_xusd > 0 or use.total.amount_xusd > 0
    return owes and lease.state == LeaseState.ACTIVE


def _facts(
    lease: Lease,
    quantity_minor: int,
    use: RatedUse,
    balance: CreditBalance | None,
    *,
    at: datetime,
) -> CommitFacts:
    return CommitFacts(
        at=at,
        feature_code=lease.feature_code,
        lease_state=cast("State", lease.state),
        expires_at=lease.expires_at,
        grace=options().lease_grace,
        windows=held_windows(lease),
        billing_mode=cast("BillingMode", lease.billing_mode),
        held_xusd=lease.reserved_xusd,
        available_xusd=balance.available_xusd if balance else 0,
        quantity_minor=quantity_minor,
        amount_xusd=use.total.amount_xusd,
        cost_xusd=use.total.cost_xusd,
        unpriced=use.unpriced,
        not_allowed=use.not_allowed,
        zero_cost=lease.zero_cost,
    )
