"""A few days of traffic, through the gate's own verbs: admissions and denials."""

import random
from datetime import datetime, timedelta
from typing import Any

from config.kernel.audit import Actor, AuditContext
from config.kernel.ids import new_trace_id
from demo.accounts import Customer
from gating.facts import Ask
from gating.services.admissions import AuthorizeRequest
from gating.services.authorize import authorize
from gating.services.commits import CommitRequest, commit_lease
from gating.services.denials import GateDenied
from grants.services.budgets import BudgetTerms, create_budget

SEED = 7
CALLS = {"chat.completion": (900, 4_000), "search.query": (1, 3), "chat.vision": (1, 2),
         "export.csv": (1, 1)}  # fmt: skip
BUDGET, BUDGET_XUSD = "campaign-spring", 50_000
DAYS = 3
CALLS_A_DAY = 3


def create_usage(customers: list[Customer]) -> None:
    """Let each customer's users call features over the last days.

    Some calls are denied, as customers' calls are: no plan, no credit, used up. One
    lease of the first customer is left open, as a hold to look at. That customer's
    calls count on a budget.
    """
    first = customers[0]
    at = first.when(-DAYS)
    create_budget(
        user=first.users[0],
        terms=BudgetTerms(BUDGET_XUSD, name="Spring campaign", window_start=at),
        reference=BUDGET,
        at=at,
        by=first.why("a cap for the campaign", "SUP-470", at),
    )
    chance = random.Random(SEED)  # noqa: S311 - the demo looks the same every time.
    for day in range(-DAYS, 0):
        for call in range(CALLS_A_DAY):
            for customer in customers:
                budget = BUDGET if customer is first else None
                _use(customer, chance, day + 0.2 + 0.1 * call, call, budget=budget)
    _use(first, chance, -0.01, 0, budget=BUDGET, commit=False)


def _explained(key: str, at: datetime) -> AuditContext:
    return AuditContext(
        actor=Actor("service_key", "demo"),
        operator="orbit-api",
        reason="usage",
        ticket_id=key,
        effective_at=at,
        trace_id=new_trace_id(),
        idempotency_key=key,
    )


def _use(
    customer: Customer,
    chance: random.Random,
    at_days: float,
    call: int,
    *,
    budget: str | None,
    commit: bool = True,
) -> None:
    user = customer.users[0]
    turn = call + len(customer.account.billing_principal_id)
    feature = list(CALLS)[turn % len(CALLS)]
    quantity = chance.randint(*CALLS[feature])
    key = f"demo-{user.pk}-{at_days}"
    at = customer.when(at_days)
    acting: dict[str, Any] = {
        "account": customer.account,
        "user": user,
        "by": _explained(key, at),
    }
    try:
        held = authorize(
            request=AuthorizeRequest(
                Ask(feature, estimate_minor=quantity, budget=budget)
            ),
            idempotency_key=key,
            at=at,
            **acting,
        )
    except GateDenied:
        return  # Its evidence is kept: that is what the demo shows.
    if commit:
        commit_lease(
            request=CommitRequest(held.data["lease"], feature, quantity),
            idempotency_key=key,
            at=at + timedelta(seconds=2),
            **acting,
        )
