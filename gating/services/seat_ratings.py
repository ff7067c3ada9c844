"""The rating of one seat: priced, settled, paid, stored, under the account's lock."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection

from billing.models import BillingAccount, BillingUser
from config.kernel.audit import AuditContext
from config.kernel.ids import new_id
from config.kernel.windows import format_instant
from gating.models import (
    RatedRecord,
    Rating,
    RatingKind,
    ResidualBucket,
    RuleSet,
)
from gating.pricing import RatedLine, price_meter, rate_identity
from gating.rules import Rules
from gating.seats import SeatPolicy, Span, settle_seat
from gating.services.projections import rule_set_of
from gating.settle import Settlement
from grants.services import funding

OPERATION = "bill_seats"
"""The operation of the keys of seats; no call has it."""

_CLAIM = """
INSERT INTO gate_rating_keys (
    rating_id, realm_id, user_id, operation, idempotency_key, request_hash, rated_at)
VALUES (%s, %s, %s, %s, %s, '', %s) ON CONFLICT DO NOTHING
"""
_CARRY = "SELECT gate_book_remainders(%s, %s, %s, %s, %s, %s, %s)"


@dataclass(frozen=True, slots=True)
class SeatBill:
    """A seat to bill: whose, in which window, under which rules.

    `since` is the first instant of the window at which the active user had it; `rules`
    are those of the feature it is billed as, at the window's end; `quantity_minor` is
    one seat in the meter's smallest unit.
    """

    policy: SeatPolicy
    account: BillingAccount
    user: BillingUser
    span: Span
    since: datetime
    rules: Rules
    assignment_id: UUID | None
    quantity_minor: int

    @property
    def rated_at(self) -> datetime:
        """Return when the rating stands: at the window's last instant."""
        return self.span.last

    @property
    def key(self) -> str:
        """Return what the rating is unique by, for its user: policy and window."""
        start, end = format_instant(self.span.start), format_instant(self.span.end)
        return f"{self.policy.policy_id} {start} {end}"


def rate_seat(bill: SeatBill, *, at: datetime, by: AuditContext) -> bool:
    """Rate one seat, in the caller's transaction; False where it is rated already."""
    rating_id = new_id()
    if not _claim(bill, rating_id):
        return False
    line = _priced(bill)
    available = 0
    if line.revenue.amount_xusd:
        available = funding.gross_xusd(user=bill.user, at=at)
    settled = settle_seat(
        policy=bill.policy,
        line=line,
        allowed=line.meter_code in bill.rules.units,
        billing_mode=bill.rules.billing_mode,
        available_xusd=available,
        zero_cost=bill.rules.zero_cost,
    )
    funded = min(settled.amount_xusd, available)
    if settled.amount_xusd:
        funding.settle(
            user=bill.user,
            spend_xusd=funded,
            owed_xusd=settled.amount_xusd - funded,
            source_ref=f"gate_rating:{rating_id}",
            at=at,
        )
    rating = _rating(bill, line, settled, funded=funded, available=available)
    rating.pk, rating.trace_id = rating_id, by.trace_id
    _store(rating, line, bill.rules)
    if settled.status != "quarantined":
        _carry_on(bill, line)
    return True


def _claim(bill: SeatBill, rating_id: UUID) -> bool:
    """Take the key of the seat's rating; False where it is taken."""
    with connection.cursor() as cursor:
        cursor.execute(
            _CLAIM,
            [
                rating_id,
                bill.account.realm_id,
                bill.user.pk,
                OPERATION,
                bill.key,
                bill.rated_at,
            ],
        )
        return bool(cursor.rowcount == 1)


def _priced(bill: SeatBill) -> RatedLine:
    meter_code = bill.policy.terms.meter_code
    rate = bill.rules.rates.get(meter_code)
    carried: dict[str, int] = {}
    identities = []
    if rate is not None:
        identities = [rate_identity(rate, "revenue"), rate_identity(rate, "cost")]
        buckets = ResidualBucket.objects.in_realm(bill.account.realm_id).filter(
            user=bill.user, meter_code=meter_code, rate_identity__in=identities
        )
        carried = dict(buckets.values_list("rate_identity", "remainder_numer"))
    revenue, cost = [carried.get(each, 0) for each in identities] or (0, 0)
    return price_meter(
        rate,
        bill.quantity_minor,
        revenue,
        cost,
        bill.rated_at,
        bill.rules.feature.feature_code,
        meter_code=meter_code,
        unit=bill.rules.units.get(meter_code, "seat"),
    )


def _rating(
    bill: SeatBill, line: RatedLine, settled: Settlement, *, funded: int, available: int
) -> Rating:
    """Return the rating, unsaved, but for its id and its trace."""
    rules = bill.rules
    owed = ["cash_funding_applied"] if funded < settled.amount_xusd else []
    return Rating(
        realm_id=bill.account.realm_id,
        account=bill.account,
        user=bill.user,
        rating_kind=RatingKind.SEATS,
        feature_code=rules.feature.feature_code,
        feature_family_code=rules.feature.feature_family_code,
        billing_mode=rules.billing_mode,
        plan_assignment_id=bill.assignment_id,
        canonical_quantity_minor=line.quantity_minor,
        canonical_amount_xusd=line.revenue.amount_xusd,
        canonical_cost_xusd=line.cost.amount_xusd,
        application_status=settled.status,
        reason_codes=[*settled.reasons, *owed],
        applied_quantity_minor=settled.quantity_minor,
        applied_amount_xusd=settled.amount_xusd,
        applied_cost_xusd=settled.cost_xusd,
        funded_xusd=funded,
        evidence=_evidence(bill, available),
        rated_at=bill.rated_at,
        operation=OPERATION,
        idempotency_key=bill.key,
    )


def _store(rating: Rating, line: RatedLine, rules: Rules) -> None:
    """Store the rating with its rules and its one line."""
    rule_set = rule_set_of(rating.realm_id, rules)
    RuleSet.objects.bulk_create([rule_set], ignore_conflicts=True)
    rating.rule_set_id = rule_set.pk
    rating.save(force_insert=True)
    RatedRecord.objects.create(
        realm_id=rating.realm_id,
        rating=rating,
        line_number=1,
        meter_code=line.meter_code,
        unit=line.unit,
        rating_status=line.status,
        quantity_minor=line.quantity_minor,
        amount_xusd=line.revenue.amount_xusd,
        cost_xusd=line.cost.amount_xusd,
        rate_identity=line.revenue.rate_identity,
        cost_rate_identity=line.cost.rate_identity,
        remainder_in=line.revenue.previous_remainder_numer,
        remainder_out=line.revenue.next_remainder_numer,
        cost_remainder_in=line.cost.previous_remainder_numer,
        cost_remainder_out=line.cost.next_remainder_numer,
        rated_at=rating.rated_at,
    )


def _evidence(bill: SeatBill, available: int) -> dict[str, Any]:
    """Return what was known of the seat, for people and for a second look."""
    policy, span = bill.policy, bill.span
    return {
        "seat": {
            "policy_id": str(policy.policy_id),
            "policy_name": policy.name,
            "policy_version": format_instant(policy.valid_from),
            "billing_mode": policy.terms.mode,
            "scope_code": policy.scope_code,
            "window_start": format_instant(span.start),
            "window_end": format_instant(span.end),
            "held_since": format_instant(bill.since),
        },
        "available_xusd": available,
    }


def _carry_on(bill: SeatBill, line: RatedLine) -> None:
    """Keep the remainders for the user's next usage under the same rate."""
    rate = bill.rules.rates.get(line.meter_code)
    if rate is None:
        return
    per = [rate.unit_quantity_minor, rate.cost_unit_quantity_minor]
    sides = [line.revenue, line.cost]
    given: list[Any] = [
        bill.account.realm_id,
        bill.user.pk,
        [side.rate_identity for side in sides],
        [side.next_remainder_numer for side in sides],
        per,
        [line.meter_code] * 2,
        [side.next_remainder_numer != side.previous_remainder_numer for side in sides],
    ]
    with connection.cursor() as cursor:
        cursor.execute(_CARRY, given)
