"""The evidence of a price as documents: one builder per snapshot schema.

Every snapshot has a fingerprint over all its other fields except `computed_at`: the
same fact computed twice has the same fingerprint. Integers are written as decimal
strings, instants as RFC 3339 in UTC with microseconds.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from config.kernel.windows import format_instant

PricingKind = Literal["revenue", "cost"]
RatingStatus = Literal["priced", "missing_price"]
Document = dict[str, Any]

RATIONAL_FLOOR = "integer_rational_floor_v1"
NOT_RATED = "not_rated_missing_price_v1"
RATIONAL_SCHEMA = "gate/rational-pricing-snapshot:v1"
MISSING_SCHEMA = "gate/missing-pricing-snapshot:v1"
AGGREGATE_SCHEMA = "gate/aggregate-pricing-snapshot:v1"


def fingerprint(document: Mapping[str, Any]) -> str:
    """Return the sha256, in hex, of a JSON document's canonical text.

    Canonical: keys sorted, no spaces, ASCII with escapes; so equal documents have
    equal fingerprints whatever the order of their keys.
    """
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def rational_snapshot(
    *,
    rate_facts: Mapping[str, Any],
    rate_identity: str,
    unit: str,
    quantity_minor: int,
    previous_remainder_numer: int,
    amount_xusd: int,
    next_remainder_numer: int,
    computed_at: datetime,
) -> Document:
    """Return the snapshot of a priced side.

    `rate_facts` holds pricing kind, prices, effective instant and provenance. For a
    meter that bills blocks it also holds `residual_mode` and `residual_algorithm`:
    clients know one `algorithm` only, so that field keeps its name, and
    `residual_algorithm` names the rule that made the amount.
    """
    facts = {
        **rate_facts,
        "schema": RATIONAL_SCHEMA,
        "algorithm": RATIONAL_FLOOR,
        "unit": unit,
        "rate_identity": rate_identity,
        "quantity_minor": str(quantity_minor),
        "previous_remainder_numer": str(previous_remainder_numer),
        "amount_xusd": str(amount_xusd),
        "next_remainder_numer": str(next_remainder_numer),
    }
    return _sealed(facts, computed_at)


def missing_snapshot(
    *,
    kind: PricingKind,
    feature_code: str,
    meter_code: str,
    unit: str,
    quantity_minor: int,
    computed_at: datetime,
) -> Document:
    """Return the snapshot of a side that has no price: the amount is 0."""
    facts = {
        "schema": MISSING_SCHEMA,
        "algorithm": NOT_RATED,
        "pricing_kind": kind,
        "unit": unit,
        "feature_code": feature_code,
        "meter_code": meter_code,
        "quantity_minor": str(quantity_minor),
        "amount_xusd": "0",
        "provenance": {"source": "missing"},
    }
    return _sealed(facts, computed_at)


def aggregate_component(
    *,
    meter_code: str,
    status: RatingStatus,
    rate_identity: str | None,
    fact_fingerprint: str,
    quantity_minor: int,
    amount_xusd: int,
) -> Document:
    """Return one line's part of an aggregate; without a price, no rate identity."""
    component = {
        "meter_code": meter_code,
        "status": status,
        "fact_fingerprint": fact_fingerprint,
        "quantity_minor": str(quantity_minor),
        "amount_xusd": str(amount_xusd),
    }
    if rate_identity is not None:
        component["rate_identity"] = rate_identity
    return component


def aggregate_snapshot(
    *,
    kind: PricingKind,
    unit: str,
    quantity_minor: int,
    amount_xusd: int,
    components: Sequence[Mapping[str, Any]],
    computed_at: datetime,
) -> Document:
    """Return the snapshot of a rating's total, with its lines as components."""
    facts = {
        "schema": AGGREGATE_SCHEMA,
        "algorithm": RATIONAL_FLOOR,
        "pricing_kind": kind,
        "unit": unit,
        "quantity_minor": str(quantity_minor),
        "amount_xusd": str(amount_xusd),
        "components": [dict(component) for component in components],
    }
    return _sealed(facts, computed_at)


def _sealed(facts: Document, computed_at: datetime) -> Document:
    return {
        **facts,
        "fingerprint": fingerprint(facts),
        "computed_at": format_instant(computed_at),
    }
