"""The ratings of usage without a lease: how they are booked, and how told again."""

from collections.abc import Sequence
from dataclasses import asdict

from config.kernel.ids import new_id
from config.kernel.windows import format_instant
from gating.answers import Admission, Committed, Line, commit_answer
from gating.evidence import read_budget
from gating.ingestion import (
    IngestFacts,
    carried_on,
    funded_xusd,
    rate_uses,
    settle_ingest,
    totals,
)
from gating.models import Direction, LineStatus, RatingKind
from gating.pricing import RatedLine
from gating.rules import Rules
from gating.selectors.ratings import stored_commit
from gating.services.functions import Document, gate_ingest_book
from gating.services.ingest_requests import OPERATION, Ingesting
from gating.settle import Settlement


def book(usage: Ingesting, realm_id: str, rules: Rules, read: Document) -> Admission:
    """Rate and settle usage on what was read and locked, and store what came of it.

    Returns the answer. In the transaction of `gate_ingest_read`. Refuses (`Invalid`)
    an amount beyond 64 bits.
    """
    request, at = usage.request, usage.occurred_at
    uses = request.uses(rules)
    pairs = [(use.meter_code, use.quantity_minor) for use in uses]
    rated = rate_uses(rules, pairs, read["carried"], at=at)
    facts = _facts(request.quantity, rules, rated, read)
    settlement = settle_ingest(facts)
    etags = [use.client_pricing_etag for use in uses]
    committed = _committed(usage, facts, settlement, _lines(rated, etags))
    gate_ingest_book(
        {
            **_rating(usage, rules, committed, facts),
            **_whose(realm_id, read),
            "funded_xusd": funded_xusd(facts, settlement),
        },
        [
            _line(number, line, each, usage, realm_id)
            for number, (line, each) in enumerate(
                zip(committed.lines, rated, strict=True), start=1
            )
        ],
        [asdict(remainder) for remainder in carried_on(rated)],
        budget_xusd=settlement.budget_xusd,
        request_hash=request.digest.hex(),
        entry_id=new_id(),
        at=usage.at,
    )
    data, hints = commit_answer(rules, committed, settlement)
    return Admission(data, hints)


def told_again(realm_id: str, answer: Document) -> Admission:
    """Return the answer that was given to the same request before."""
    rules, committed, trace_id = stored_commit(
        realm_id, answer["rating"], answer["rated_at"]
    )
    settlement = settle_ingest(ingest_facts(rules, committed))
    data, hints = commit_answer(rules, committed, settlement)
    return Admission(data, hints, replayed=True, trace_id=trace_id)


def ingest_facts(rules: Rules, committed: Committed) -> IngestFacts:
    """Return what the settlement of a stored rating depended on."""
    known = committed.evidence
    return IngestFacts(
        feature_code=rules.feature.feature_code,
        billing_mode=committed.billing_mode,  # type: ignore[arg-type]
        available_xusd=known["available_xusd"],
        quantity_minor=committed.quantity_minor,
        amount_xusd=sum(line.amount_xusd for line in committed.lines),
        cost_xusd=sum(line.cost_xusd for line in committed.lines),
        unpriced=known["unpriced"],
        budget=read_budget(known.get("budget")),
    )


def _facts(
    quantity_minor: int, rules: Rules, rated: Sequence[RatedLine], read: Document
) -> IngestFacts:
    amount_xusd, cost_xusd = totals(rated)
    return IngestFacts(
        feature_code=rules.feature.feature_code,
        billing_mode=rules.billing_mode,
        available_xusd=read["available"],
        quantity_minor=quantity_minor,
        amount_xusd=amount_xusd,
        cost_xusd=cost_xusd,
        unpriced=_unpriced(rated),
        budget=read_budget(read.get("budget")),
    )


def _unpriced(rated: Sequence[RatedLine]) -> list[str]:
    missing = (line.meter_code for line in rated if line.status == "missing_price")
    return list(dict.fromkeys(missing))


def _lines(rated: Sequence[RatedLine], etags: Sequence[str | None]) -> list[Line]:
    return [
        Line(
            line_id=new_id(),
            meter_code=line.meter_code,
            unit=line.unit,
            quantity_minor=line.quantity_minor,
            amount_xusd=line.revenue.amount_xusd,
            cost_xusd=line.cost.amount_xusd,
            remainder_in=line.revenue.previous_remainder_numer,
            cost_remainder_in=line.cost.previous_remainder_numer,
            client_pricing_etag=etag,
            priced=line.status == "priced",
        )
        for line, etag in zip(rated, etags, strict=True)
    ]


def _committed(
    usage: Ingesting,
    facts: IngestFacts,
    settlement: Settlement,
    lines: Sequence[Line],
) -> Committed:
    return Committed(
        rating_id=usage.rating_id,
        at=usage.occurred_at,
        billing_mode=facts.billing_mode,
        quantity_minor=facts.quantity_minor,
        status=settlement.status,
        reasons=settlement.reasons,
        applied_minor=settlement.quantity_minor,
        applied_xusd=settlement.amount_xusd,
        cost_xusd=settlement.cost_xusd,
        lines=lines,
        evidence=_evidence(facts),
    )


def _evidence(facts: IngestFacts) -> Document:
    known: Document = {
        "available_xusd": facts.available_xusd,
        "unpriced": list(facts.unpriced),
    }
    if facts.budget is not None:
        known["budget"] = {
            "budget_id": str(facts.budget.budget_id),
            "limit_xusd": facts.budget.limit_xusd,
            "consumed_xusd": facts.budget.consumed_xusd,
            "reserved_xusd": facts.budget.reserved_xusd,
        }
    return known


def _rating(
    usage: Ingesting, rules: Rules, committed: Committed, facts: IngestFacts
) -> Document:
    return {
        "id": str(committed.rating_id),
        "rating_kind": RatingKind.INGEST,
        "direction": Direction.DEBIT,
        "feature_code": rules.feature.feature_code,
        "feature_family_code": rules.feature.feature_family_code,
        "billing_mode": facts.billing_mode,
        "canonical_quantity_minor": facts.quantity_minor,
        "canonical_amount_xusd": facts.amount_xusd,
        "canonical_cost_xusd": facts.cost_xusd,
        "application_status": committed.status,
        "reason_codes": list(committed.reasons),
        "late_rating": False,
        "applied_quantity_minor": committed.applied_minor,
        "applied_amount_xusd": committed.applied_xusd,
        "applied_cost_xusd": committed.cost_xusd,
        "labels": dict(usage.request.labels),
        "evidence": committed.evidence,
        "metadata": usage.metadata,
        "rated_at": format_instant(committed.at),
        "operation": OPERATION,
        "idempotency_key": usage.idempotency_key,
        "trace_id": usage.by.trace_id,
    }


def _whose(realm_id: str, read: Document) -> Document:
    return {
        "realm_id": realm_id,
        "account_id": read["account"],
        "user_id": read["user"],
        "plan_assignment_id": read["assignment"],
        "rule_set_id": read["rules"],
        "budget_id": read["budget"]["budget_id"] if read.get("budget") else None,
    }


def _line(
    number: int, line: Line, rated: RatedLine, usage: Ingesting, realm_id: str
) -> Document:
    return {
        "id": str(line.line_id),
        "realm_id": realm_id,
        "rating_id": str(usage.rating_id),
        "line_number": number,
        "meter_code": line.meter_code,
        "unit": line.unit,
        "rating_status": LineStatus(rated.status),
        "quantity_minor": line.quantity_minor,
        "amount_xusd": line.amount_xusd,
        "cost_xusd": line.cost_xusd,
        "rate_identity": rated.revenue.rate_identity,
        "cost_rate_identity": rated.cost.rate_identity,
        "remainder_in": line.remainder_in,
        "remainder_out": rated.revenue.next_remainder_numer,
        "cost_remainder_in": line.cost_remainder_in,
        "cost_remainder_out": rated.cost.next_remainder_numer,
        "client_pricing_etag": line.client_pricing_etag,
        "rated_at": format_instant(usage.occurred_at),
    }
