"""What usage without a lease comes to: the specification, as pure functions.

Nobody was asked beforehand: nothing is held, no quota or rate is checked, and no
counter counts. What remains is judged at the instant at which the usage occurred:

- the feature must be switched on and allowed, else it is refused;
- a meter without a price is rated 0, and said so; nothing is quarantined;
- prepaid accounts pay what their balance has, and no more: the rest is clipped
  (reason `overshoot`), and the rating keeps the whole. Postpaid and hybrid accounts
  owe the whole amount; what the balance has pays for it, and the rest is owed
  (`cash_funding_applied`);
- a budget that is named must have been usable, and consumes what is applied, as that
  of a commit does that holds nothing on it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from config.kernel.money import INT64_MAX, check_int64
from gating.decide import access, unusable_budget
from gating.facts import Ask, BillingMode, BudgetFact, Facts, Funding, Hint
from gating.pricing import MeterRate, RatedLine, price_meter, rate_identity
from gating.rules import Rules
from gating.settle import Settlement, budget_lacks, budget_takes
from gating.verdicts import Denial


@dataclass(frozen=True, slots=True)
class IngestFacts:
    """Everything that the settlement of usage without a lease depends on.

    Amounts are canonical, in 10^-6 USD: what the whole quantity costs.
    `available_xusd` is what the balance has; `unpriced` names meters; `budget` is the
    one that was named.
    """

    feature_code: str
    billing_mode: BillingMode
    available_xusd: int
    quantity_minor: int
    amount_xusd: int
    cost_xusd: int
    unpriced: Sequence[str] = ()
    budget: BudgetFact | None = None

    @property
    def purse_xusd(self) -> int:
        """Return the most that the balance pays."""
        return max(0, self.available_xusd)

    @property
    def budget_xusd(self) -> int:
        """Return the most that prepaid use may count on the budget, or 64 bits."""
        return INT64_MAX if self.budget is None else max(0, self.budget.room_xusd)


def settle_ingest(facts: IngestFacts) -> Settlement:
    """Return what usage without a lease applies; the same for the same facts."""
    reasons, hints = ["ingest"], list[Hint]()
    if facts.unpriced:
        reasons.append("pricing_not_configured")
        hints.append(
            {
                "type": "pricing.not_configured",
                "feature_code": facts.feature_code,
                "meters": list(facts.unpriced),
            }
        )
    amount_xusd, lacking = _amount(facts)
    clipped = amount_xusd < facts.amount_xusd
    if clipped:
        reasons.append("overshoot")
    budget_xusd, counted, told = budget_takes(facts.budget, 0, amount_xusd)
    reasons += counted
    hints += [*lacking, *told]
    if facts.purse_xusd < amount_xusd:
        reasons.append("cash_funding_applied")
    return Settlement(
        status="applied_clipped" if clipped else "applied",
        reasons=reasons,
        hints=hints,
        late=False,
        takes=(),
        quantity_minor=facts.quantity_minor,
        amount_xusd=amount_xusd,
        cost_xusd=facts.cost_xusd,
        budget_xusd=budget_xusd,
    )


def _amount(facts: IngestFacts) -> tuple[int, list[Hint]]:
    """Return what is owed, and which purse lacks the rest."""
    asked, hints = facts.amount_xusd, list[Hint]()
    if facts.billing_mode != "prepaid":
        return asked, hints
    if facts.purse_xusd < asked:
        missing = asked - facts.purse_xusd
        hints.append({"type": "funding.xusd_shortfall", "shortfall_xusd": missing})
    if facts.budget is not None and facts.budget_xusd < asked:
        hints.append(budget_lacks(facts.budget, asked - facts.budget_xusd))
    return min(asked, facts.purse_xusd, facts.budget_xusd), hints


def funded_xusd(facts: IngestFacts, settlement: Settlement) -> int:
    """Return how much of what is applied the balance pays."""
    return min(settlement.amount_xusd, facts.purse_xusd)


def access_facts(
    rules: Rules, available_xusd: int, at: datetime, budget: BudgetFact | None = None
) -> Facts:
    """Return what is known when usage that occurred at `at` (aware UTC) is judged.

    A budget that was closed afterwards was open then.
    """
    if budget and budget.closed_at is not None and budget.closed_at > at:
        budget = replace(budget, closed_at=None)
    return Facts(
        at=at,
        feature=rules.feature,
        entitlement=rules.entitlement,
        plan_code=rules.plan_code,
        funding=Funding(
            billing_mode=rules.billing_mode,
            available_xusd=available_xusd,
            price=rules.price,
            zero_cost=rules.zero_cost,
            unpriced=rules.unpriced,
            faults=rules.faults,
        ),
        budget=budget,
    )


def refuse(ask: Ask, facts: Facts) -> Denial | None:
    """Return why usage is not taken: the feature, the plans, the budget."""
    return access(ask, facts) or unusable_budget(ask, facts)


def default_meter(rules: Rules) -> str:
    """Return the meter of usage that names none.

    The feature's primary one, where it counts activity; else the only one that has a
    price; else the first by code. A feature without any has its primary one refused.
    """
    codes = [meter.meter_code for meter in rules.meters]
    if not codes or rules.feature.feature_code in codes:
        return rules.feature.feature_code
    priced = [code for code in codes if code in rules.rates]
    return priced[0] if len(priced) == 1 else min(codes)


def rate_uses(
    rules: Rules,
    uses: Iterable[tuple[str, int]],
    carried: Mapping[str, int],
    *,
    at: datetime,
) -> list[RatedLine]:
    """Return a line per (meter code, quantity) of the rules' meters, rated at `at`.

    `carried` are the remainders by rate identity; what a line carries on, the next one
    of its meter carries in. Refuses (`Invalid`) an amount beyond 64 bits.
    """
    known, lines = dict(carried), []
    for meter_code, quantity_minor in uses:
        rate = rules.rates.get(meter_code)
        revenue, cost = _carried_in(rate, known)
        line = price_meter(
            rate,
            quantity_minor,
            revenue,
            cost,
            at,
            rules.feature.feature_code,
            meter_code=meter_code,
            unit=rules.units[meter_code],
        )
        for side in (line.revenue, line.cost):
            if side.rate_identity is not None:
                known[side.rate_identity] = side.next_remainder_numer
        lines.append(line)
    return lines


def _carried_in(rate: MeterRate | None, known: Mapping[str, int]) -> tuple[int, int]:
    if rate is None:
        return 0, 0
    return (
        known.get(rate_identity(rate, "revenue"), 0),
        known.get(rate_identity(rate, "cost"), 0),
    )


@dataclass(frozen=True, slots=True)
class Remainder:
    """What is carried on under a rate: `numer` of `denom`, for the next usage."""

    rate_identity: str
    meter_code: str
    denom: int
    numer: int


def carried_on(lines: Iterable[RatedLine]) -> list[Remainder]:
    """Return the remainders after the lines, one per rate identity."""
    last = {
        side.rate_identity: Remainder(
            side.rate_identity,
            line.meter_code,
            int(side.snapshot["unit_quantity_minor"]),
            side.next_remainder_numer,
        )
        for line in lines
        for side in (line.revenue, line.cost)
        if side.rate_identity is not None
    }
    return list(last.values())


def totals(lines: Sequence[RatedLine]) -> tuple[int, int]:
    """Return amount and cost of the lines. Refuses (`Invalid`) beyond 64 bits."""
    amount_xusd = sum(line.revenue.amount_xusd for line in lines)
    cost_xusd = sum(line.cost.amount_xusd for line in lines)
    return check_int64(amount_xusd, "amount_xusd"), check_int64(cost_xusd, "cost_xusd")
