"""The answers of authorize and commit, made from what is stored. Pure.

The gate's functions store numbers; the words, hints and snapshots follow from them
and from the rules. So a repeat of a request is answered by making the answer again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID

from config.kernel.money import INT64_MAX
from config.kernel.windows import EPOCH, fixed_window, format_instant, parse_instant
from gating.evidence import read_budget
from gating.facts import Ask, BudgetFact, Hint
from gating.hints import NEARLY, advice, rate_hints
from gating.pricing import RatedLine, price_meter
from gating.rules import Rules, Seen, facts_of
from gating.settle import CommitFacts, HeldWindow, Settlement


@dataclass(frozen=True, slots=True)
class Admission:
    """An answer of the gate: `data` and `hints` of the envelope.

    `replayed` says that it was given before, to the same request with the same key,
    under the trace id `trace_id`.
    """

    data: Mapping[str, Any]
    hints: Sequence[Hint]
    replayed: bool = False
    trace_id: str | None = None


def admission_data(
    rules: Rules, at: datetime, budget: BudgetFact | None = None
) -> dict[str, Any]:
    """Return what authorize and preflight both answer to an admission at `at`."""
    seconds = rules.of_kind("quota")[0].window_seconds
    start, end = _edges((at - EPOCH) // timedelta(seconds=seconds), seconds)
    data = {
        "feature_code": rules.feature.feature_code,
        "feature_family_code": rules.feature.feature_family_code,
        "window_start": start,
        "window_end": end,
    }
    if budget is not None:
        data["budget_id"] = str(budget.budget_id)
    return data


@lru_cache(maxsize=1024)
def _edges(number: int, seconds: int) -> tuple[str, str]:
    """Return start and end of a quota's window, counted from 1970, as instants."""
    window = fixed_window(EPOCH + number * timedelta(seconds=seconds), seconds)
    if window.end is None:
        raise AssertionError("a quota's window ends")
    return format_instant(window.start), format_instant(window.end)


def admission_hints(
    ask: Ask, rules: Rules, seen: Seen, *, account_id: UUID, user_id: UUID, at: datetime
) -> list[Hint]:
    """Return the hints of an admission."""
    # Most have none, and the facts need not be made to know it.
    if not rules.faults and not _may_hint(ask, rules, seen):
        return []
    facts = facts_of(rules, seen, account_id=account_id, user_id=user_id, at=at)
    return [*rate_hints(facts), *advice(ask, facts)]


def _may_hint(ask: Ask, rules: Rules, seen: Seen) -> bool:
    """Return whether `rate_hints` or `advice` may have something to say."""
    asked = ask.estimate_minor or 0
    for policy, (used, reserved) in zip(rules.policies, seen.pairs, strict=True):
        limit = INT64_MAX if policy.limit is None else policy.limit
        spare = NEARLY + 1 if policy.kind == "rate" else asked
        if policy.kind != "seats" and limit - used - reserved <= spare:
            return True
    if not asked:
        return False
    price = rules.price if rules.billing_mode == "prepaid" else None
    return bool(rules.unpriced) or (
        price is not None and price.at_most(asked) > seen.available_xusd
    )


@dataclass(frozen=True, slots=True)
class Line:
    """A stored line of a rating: what was used of one meter, and carried in.

    `priced` is False where it had no rate in the rules. Amounts in 10^-6 USD.
    """

    line_id: UUID
    meter_code: str
    unit: str
    quantity_minor: int
    amount_xusd: int
    cost_xusd: int
    remainder_in: int
    cost_remainder_in: int
    client_pricing_etag: str | None
    priced: bool

    def rated(self, rules: Rules, at: datetime) -> RatedLine:
        """Return the line as it was rated at `at`, with its evidence."""
        rate = rules.rates[self.meter_code] if self.priced else None
        return price_meter(
            rate,
            self.quantity_minor,
            self.remainder_in,
            self.cost_remainder_in,
            at,
            rules.feature.feature_code,
            meter_code=self.meter_code,
            unit=self.unit,
        )


@dataclass(frozen=True, slots=True)
class Committed:
    """A stored rating, as its answer needs it.

    `quantity_minor` is the canonical one; the applied amounts and `reasons` are what
    came of it. `evidence` is what the settlement saw.
    """

    rating_id: UUID
    at: datetime
    billing_mode: str
    quantity_minor: int
    status: str
    reasons: Sequence[str]
    applied_minor: int
    applied_xusd: int
    cost_xusd: int
    lines: Sequence[Line]
    evidence: Mapping[str, Any] = field(default_factory=dict)


def commit_facts(rules: Rules, committed: Committed) -> CommitFacts:
    """Return what the settlement of a rating depended on."""
    known = committed.evidence
    return CommitFacts(
        at=committed.at,
        feature_code=rules.feature.feature_code,
        lease_state=known["state"],
        expires_at=parse_instant(known["expires_at"]),
        grace=timedelta(seconds=known["grace_seconds"]),
        windows=[_held(window) for window in known["windows"]],
        billing_mode=committed.billing_mode,  # type: ignore[arg-type]
        held_xusd=known["held_xusd"],
        void_xusd=known.get("void_xusd", 0),
        available_xusd=known["available_xusd"],
        quantity_minor=committed.quantity_minor,
        amount_xusd=sum(line.amount_xusd for line in committed.lines),
        cost_xusd=sum(line.cost_xusd for line in committed.lines),
        unpriced=known["unpriced"],
        not_allowed=known["not_allowed"],
        zero_cost=known["zero_cost"],
        budget=read_budget(known.get("budget")),
    )


def _held(window: Sequence[Any]) -> HeldWindow:
    counter_id, limit, held, used, reserved = window
    return HeldWindow(UUID(counter_id), limit, held, used, reserved)


def commit_answer(
    rules: Rules, committed: Committed, settlement: Settlement
) -> tuple[dict[str, Any], list[Hint]]:
    """Return data and hints of a commit's answer."""
    rated = [line.rated(rules, committed.at) for line in committed.lines]
    changed = [
        hint
        for line, priced in zip(committed.lines, rated, strict=True)
        for hint in _changed(line, priced)
    ]
    data = {
        "commit_id": str(committed.rating_id),
        # What was applied: a quarantined commit debits nothing.
        "amount_xusd": str(committed.applied_xusd),
        "cost_xusd": str(committed.cost_xusd),
        "application_status": committed.status,
        "reason_codes": list(committed.reasons),
        "lines": [
            priced.as_document(str(line.line_id))
            for line, priced in zip(committed.lines, rated, strict=True)
        ],
    }
    used = {line.meter_code for line in committed.lines}
    faults = [fault.hint for fault in rules.faults if fault.meter_code in used]
    budget = read_budget(committed.evidence.get("budget"))
    if budget is not None:
        data |= _budget_data(budget, settlement.budget_xusd)
    return data, [*map(dict, settlement.hints), *changed, *faults]


def _budget_data(budget: BudgetFact, consumed_xusd: int) -> dict[str, str]:
    """Return what a commit tells of its budget; an unlimited one has no remainder."""
    data = {
        "budget_id": str(budget.budget_id),
        "budget_consumed_delta_xusd": str(consumed_xusd),
    }
    if budget.limit_xusd is not None:
        left_xusd = budget.limit_xusd - budget.consumed_xusd - consumed_xusd
        data["budget_remaining_xusd"] = str(left_xusd)
    return data


def _changed(line: Line, rated: RatedLine) -> list[Hint]:
    """Return the hint that the rate is not the one the caller knew."""
    current = rated.revenue.rate_identity
    if current is None or line.client_pricing_etag in {None, current}:
        return []
    return [
        {
            "type": "pricing.changed",
            "meter_code": line.meter_code,
            "previous_fingerprint": line.client_pricing_etag,
            "current_fingerprint": current,
        }
    ]
