"""Storing a rating with its lines, and the answer that tells it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from billing.models import BillingAccount, BillingUser
from config.kernel.audit import AuditContext
from config.kernel.ids import new_id
from gating.evidence import settlement_document
from gating.models import Lease, RatedRecord, Rating, RatingKind
from gating.pricing import RatedLine
from gating.services.admissions import Admission
from gating.services.usage import RatedUse
from gating.settle import CommitFacts, Settlement


@dataclass(frozen=True, slots=True)
class Booking:
    """Whose commit is rated, of which lease, under which key."""

    account: BillingAccount
    user: BillingUser
    lease: Lease
    operation: str
    idempotency_key: str
    request_hash: bytes
    labels: Mapping[str, str]
    rating_id: UUID = field(default_factory=new_id)

    @property
    def source_ref(self) -> str:
        """Return the name under which the rating is paid."""
        return f"gate_rating:{self.rating_id}"


def store_rating(
    booking: Booking,
    use: RatedUse,
    facts: CommitFacts,
    settlement: Settlement,
    *,
    funded_xusd: int,
    at: datetime,
    by: AuditContext,
) -> Admission:
    """Store what was used, what it costs and what was applied; return the answer.

    `funded_xusd` is what the balance paid of it (10^-6 USD).
    """
    lines = [(new_id(), line) for line in use.lines]
    hints = [dict(hint) for hint in (*settlement.hints, *use.hints)]
    unpaid = settlement.amount_xusd - funded_xusd
    reasons = [*settlement.reasons, *(["cash_funding_applied"] if unpaid else [])]
    data = {
        "commit_id": str(booking.rating_id),
        # What was applied: a quarantined commit debits nothing.
        "amount_xusd": str(settlement.amount_xusd),
        "cost_xusd": str(settlement.cost_xusd),
        "application_status": settlement.status,
        "reason_codes": reasons,
        "lines": [line.as_document(str(line_id)) for line_id, line in lines],
    }
    rating = _rating(booking, use, facts, settlement)
    rating.funded_xusd = funded_xusd
    rating.reason_codes = reasons
    rating.rated_at = at
    rating.trace_id = by.trace_id
    rating.response = {"data": data, "hints": hints}
    rating.save(force_insert=True)
    RatedRecord.objects.bulk_create(_records(rating, lines))
    if settlement.status != "quarantined":
        use.remainders.store()
    return Admission(data, hints)


def _rating(
    booking: Booking, use: RatedUse, facts: CommitFacts, settlement: Settlement
) -> Rating:
    lease, total = booking.lease, use.total
    return Rating(
        id=booking.rating_id,
        realm_id=booking.user.realm_id,
        account=booking.account,
        user=booking.user,
        rating_kind=RatingKind.GATE,
        lease=lease,
        feature_code=lease.feature_code,
        feature_family_code=lease.feature_family_code,
        billing_mode=lease.billing_mode,
        plan_assignment_id=lease.plan_assignment_id,
        canonical_quantity_minor=facts.quantity_minor,
        canonical_amount_xusd=total.amount_xusd,
        canonical_cost_xusd=total.cost_xusd,
        application_status=settlement.status,
        late_rating=settlement.late,
        applied_quantity_minor=settlement.quantity_minor,
        applied_amount_xusd=settlement.amount_xusd,
        applied_cost_xusd=settlement.cost_xusd,
        pricing_fingerprint=total.pricing_snapshot["fingerprint"],
        cost_fingerprint=total.cost_snapshot["fingerprint"],
        pricing_snapshot=dict(total.pricing_snapshot),
        cost_snapshot=dict(total.cost_snapshot),
        labels={**lease.labels, **booking.labels},
        evidence=settlement_document(facts, settlement),
        operation=booking.operation,
        idempotency_key=booking.idempotency_key,
        request_hash=booking.request_hash,
    )


def _records(
    rating: Rating, lines: Sequence[tuple[UUID, RatedLine]]
) -> list[RatedRecord]:
    return [
        RatedRecord(
            id=line_id,
            realm_id=rating.realm_id,
            rating=rating,
            line_number=number,
            rated_at=rating.rated_at,
            **_columns(line),
        )
        for number, (line_id, line) in enumerate(lines, start=1)
    ]


def _columns(line: RatedLine) -> dict[str, Any]:
    revenue, cost = line.revenue, line.cost
    return {
        "meter_code": line.meter_code,
        "unit": line.unit,
        "rating_status": line.status,
        "quantity_minor": line.quantity_minor,
        "amount_xusd": revenue.amount_xusd,
        "cost_xusd": cost.amount_xusd,
        "rate_identity": revenue.rate_identity,
        "cost_rate_identity": cost.rate_identity,
        "pricing_fingerprint": revenue.fact_fingerprint,
        "cost_fingerprint": cost.fact_fingerprint,
        "pricing_snapshot": dict(revenue.snapshot),
        "cost_snapshot": dict(cost.snapshot),
    }
