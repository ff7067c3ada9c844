"""Ratings as they were answered."""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from gating.answers import Committed, Line
from gating.models import LineStatus, RatedRecord, Rating
from gating.pricing import RatedTotal, aggregate
from gating.rules import Rules
from gating.selectors.rules import stored_rules


def stored_commit(
    realm_id: str, rating_id: str, rated_at: str | datetime
) -> tuple[Rules, Committed, str]:
    """Return the rules of a rating, what was committed, and its trace id."""
    rating = Rating.objects.in_realm(realm_id).get(pk=rating_id, rated_at=rated_at)
    lines = RatedRecord.objects.in_realm(realm_id).filter(
        rating_id=rating.pk, rated_at=rating.rated_at
    )
    rules = stored_rules(rating.rule_set_id)
    return rules, committed(rating, lines.order_by("line_number")), rating.trace_id


def committed(rating: Rating, lines: Iterable[RatedRecord]) -> Committed:
    """Return a rating with its lines, in their order, as its answer needs it."""
    return Committed(
        rating_id=UUID(str(rating.pk)),
        at=rating.rated_at,
        billing_mode=rating.billing_mode,
        quantity_minor=rating.canonical_quantity_minor,
        status=rating.application_status,
        reasons=rating.reason_codes,
        applied_minor=rating.applied_quantity_minor,
        applied_xusd=rating.applied_amount_xusd,
        cost_xusd=rating.applied_cost_xusd,
        lines=[_line(line) for line in lines],
        evidence=rating.evidence,
    )


def _line(line: RatedRecord) -> Line:
    return Line(
        line_id=line.pk,
        meter_code=line.meter_code,
        unit=line.unit,
        quantity_minor=line.quantity_minor,
        amount_xusd=line.amount_xusd,
        cost_xusd=line.cost_xusd,
        remainder_in=line.remainder_in,
        cost_remainder_in=line.cost_remainder_in,
        client_pricing_etag=line.client_pricing_etag,
        priced=line.rating_status == LineStatus.PRICED,
    )


def rated_total(rating: Rating) -> RatedTotal:
    """Return the sum of a rating's lines, with the evidence of both its sides."""
    rules, stored, _trace_id = stored_commit(
        rating.realm_id, str(rating.pk), rating.rated_at
    )
    return aggregate([line.rated(rules, stored.at) for line in stored.lines])
