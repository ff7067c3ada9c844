"""Ending a hold in its caller's place: by staff, or by whoever manages the realm.

The same verbs as the caller's own, under the same lock; beside them stands who did it
and why (`LeaseEnd`).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from django.db import transaction

from config.kernel.audit import AuditContext
from config.kernel.errors import Conflict, Refused
from gating.answers import Admission
from gating.models import EndKind, Lease, LeaseState
from gating.options import options
from gating.services.commits import CommitRequest, OtherFeature, commit_as
from gating.services.leases import Cancellation, cancel_lease, explain_end
from gating.services.subjects import Subject
from gating.services.usage import MeterUse

OPERATION = "commit_hold"
"""Whose idempotency keys these commits have: never the caller's own."""

_TOO_LATE = frozenset({"lease_closed_at_commit", "late_commit_exceeded"})


class HoldEnded(Conflict):
    """The hold is not there to be committed any more (409). Nothing was charged."""

    default_code = "HOLD.ENDED"


class FeatureGone(Refused):
    """The realm has the hold's feature no more, so nothing can be priced (422)."""

    default_code = "RESOURCE.NOT_FOUND"


def release_hold(*, lease: Lease, at: datetime, by: AuditContext) -> Cancellation:
    """Give a hold back, as its caller's cancel would. One already ended stays so.

    `lease` comes with its account and user. What its caller commits afterwards is kept
    as quarantined usage. Refuses an effective time still to come
    (422 AUDIT.EFFECTIVE_IN_FUTURE).
    """
    by.require_in_effect(at)
    return cancel_lease(
        account=lease.account, user=lease.user, reference=lease.lease, at=at, by=by
    )


@transaction.atomic
def commit_hold(
    *,
    lease: Lease,
    quantity_minor: int,
    meters: Sequence[MeterUse] = (),
    labels: Mapping[str, str] | None = None,
    idempotency_key: str,
    at: datetime,
    by: AuditContext,
) -> Admission:
    """Commit a hold in its caller's place, as its own commit would.

    `lease` comes with its account and user. The first answer to a key is given again.
    Unlike the caller's, a commit of a hold that has ended, or ran out before its
    grace, is refused (409 `HoldEnded`): a person decides, and there is nothing to keep.
    Refuses a feature that is gone (422 `FeatureGone`), an effective time still to come
    (422 AUDIT.EFFECTIVE_IN_FUTURE), and what `commit_lease` refuses.
    """
    request = CommitRequest(
        reference=lease.lease,
        feature_code=lease.feature_code,
        quantity_minor=quantity_minor,
        meters=meters,
        labels=labels or {},
        operation=OPERATION,
    )
    admission = _committed(lease, request, idempotency_key, at=at, by=by)
    if admission.replayed:
        return admission
    by.require_in_effect(at)
    if not _TOO_LATE.isdisjoint(admission.data["reason_codes"]):
        # Undoes the commit, which was kept for a caller's sake only.
        raise _ended(lease, at)
    rating_id = UUID(admission.data["commit_id"])
    explain_end(lease, EndKind.COMMITTED, rating_id=rating_id, at=at, by=by)
    return admission


def _committed(
    lease: Lease,
    request: CommitRequest,
    idempotency_key: str,
    *,
    at: datetime,
    by: AuditContext,
) -> Admission:
    subject = Subject.of(lease.account, lease.user)
    try:
        return commit_as(
            subject, request=request, idempotency_key=idempotency_key, at=at, by=by
        )
    except OtherFeature:
        raise FeatureGone(
            f"The realm has no feature {lease.feature_code} any more, so its use has "
            "no price. Release the hold.",
        ) from None


def _ended(lease: Lease, at: datetime) -> HoldEnded:
    row = Lease.objects.in_realm(lease.realm_id).get(pk=lease.pk)
    last = row.expires_at + options().lease_grace
    how = {
        LeaseState.CLOSED: f"was committed at {_minute(row.ended_at or at)}",
        LeaseState.CANCELED: f"was released at {_minute(row.ended_at or at)}",
    }.get(
        LeaseState(row.state),
        f"ran out: it could be committed until {_minute(last)}",
    )
    return HoldEnded(
        f"This hold {how}. Nothing was charged now.", meta={"state": row.state}
    )


def _minute(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
