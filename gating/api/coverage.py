"""How far a balance, or a budget, reaches on a meter."""

from datetime import datetime
from typing import Literal

from billing.models import BillingUser
from config.api.wire import Instant, UInt, WireModel, omitted
from config.kernel.errors import Invalid, Refused
from gating.pricing import MeterRate
from gating.selectors.limits import Purse, coverage_of
from gating.sentences import no_budget
from grants.selectors.budgets import budget_named
from grants.services import funding


class CoverageOut(WireModel):
    """How far the user's balance, or a budget, reaches at the price; advisory."""

    basis: Literal["xusd", "budget"]
    budget_id: str = omitted()
    balance_xusd: UInt
    balance_limited: bool
    max_quantity_minor_estimated: str | None
    optimistic_quantity_minor: str | None
    advisory: Literal[True]
    as_of: Instant

    @classmethod
    def of(cls, rate: MeterRate, purse: Purse, as_of: datetime) -> "CoverageOut":
        """Return the wire form of a purse's reach."""
        reach = coverage_of(rate, purse)
        most, optimistic = reach.conservative_minor, reach.optimistic_minor
        named = {"budget_id": purse.budget_id} if purse.budget_id else {}
        return cls(
            basis="budget" if named else "xusd",
            balance_xusd=max(0, purse.left_xusd),
            balance_limited=most is not None,
            max_quantity_minor_estimated=None if most is None else str(most),
            optimistic_quantity_minor=None if optimistic is None else str(optimistic),
            advisory=True,
            as_of=as_of,
            **named,
        )


def purse_of(user: BillingUser, basis: str, name: str | None, as_of: datetime) -> Purse:
    """Return what coverage is told of. Refuses (422) a budget that is not there.

    `name` is the budget's id or reference.
    """
    if basis == "xusd":
        return Purse(funding.available_xusd(user=user, at=as_of))
    if name is None:
        raise Invalid(
            "Coverage by budget needs coverage_budget_id.", field="coverage_budget_id"
        )
    budget = budget_named(user=user, name=name)
    if budget is None:
        raise Refused(
            no_budget(name), code="RESOURCE.NOT_FOUND", field="coverage_budget_id"
        )
    limited = budget.limit_xusd is not None
    return Purse(budget.room_xusd, budget_id=str(budget.pk), limited=limited)
