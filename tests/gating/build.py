"""Facts for the pure tests, with plain defaults."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from gating.facts import (
    Ask,
    BudgetFact,
    CounterKey,
    Facts,
    FeatureFact,
    Funding,
    PolicyWindow,
    SeatWindow,
    UnitPrice,
)
from gating.settle import CommitFacts, HeldWindow

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
DAY = datetime(2026, 3, 10, tzinfo=UTC)
NEXT_DAY = DAY + timedelta(days=1)
ACCOUNT = UUID(int=1)
USER = UUID(int=2)
POLICY = UUID(int=3)
BUDGET = UUID(int=4)


def counter(kind="quota", key="calls", *, scope="user", start=DAY, end=NEXT_DAY):
    subject = USER if scope == "user" else ACCOUNT
    return CounterKey(kind, scope, subject, "chat", key, start, end)


def quota(
    limit=500,
    used=0,
    reserved=0,
    *,
    mode="reserve",
    name="api_calls",
    key="calls",
    scope="user",
):
    return PolicyWindow(
        policy_id=POLICY,
        name=name,
        window_seconds=86_400,
        limit=limit,
        enforcement=mode,
        version=DAY,
        counter=counter(key=key, scope=scope),
        used_minor=used,
        reserved_minor=reserved,
    )


def rate(limit=10, used=0, *, name="per_minute", key="minute", seconds=60):
    start = NOON - timedelta(seconds=30)
    return PolicyWindow(
        policy_id=POLICY,
        name=name,
        window_seconds=seconds,
        limit=limit,
        enforcement="reserve",
        version=DAY,
        counter=counter(
            "rate", key, start=start, end=start + timedelta(seconds=seconds)
        ),
        used_minor=used,
    )


def seats(limit=5, taken=0, *, holds=False, name="team"):
    return SeatWindow(
        policy_id=POLICY,
        name=name,
        limit=limit,
        version=DAY,
        scope_code="chat",
        key="seats",
        window_start=DAY,
        window_end=NEXT_DAY,
        taken=taken,
        holds=holds,
    )


def prepaid(available=10**9, *, price=None, zero_cost=False, unpriced=()):
    return Funding("prepaid", available, price or UnitPrice(1, 1), zero_cost, unpriced)


def budget(limit=5000, consumed=0, reserved=0, **changes):
    return BudgetFact(
        BUDGET,
        consumed_xusd=consumed,
        reserved_xusd=reserved,
        limit_xusd=limit,
        **changes,
    )


FREE = Funding("prepaid", 0, None, zero_cost=True)
CHAT = FeatureFact("chat", "ai", active=True)


def facts(*quotas, **changes):
    return replace(
        Facts(
            at=NOON,
            feature=CHAT,
            entitlement="allowed",
            plan_code="pro",
            quotas=quotas or (quota(),),
            funding=FREE,
        ),
        **changes,
    )


def ask(estimate=None, **changes):
    return replace(Ask("chat", estimate_minor=estimate), **changes)


def held(held_minor=75, *, limit=500, used=0, reserved=None, number=1):
    """A window whose counter holds at least what the lease holds."""
    return HeldWindow(
        UUID(int=number),
        limit,
        held_minor,
        used,
        held_minor if reserved is None else reserved,
    )


def commit(quantity=75, *windows, **changes):
    return replace(
        CommitFacts(
            at=NOON,
            feature_code="chat",
            lease_state="active",
            expires_at=NOON + timedelta(hours=12),
            grace=timedelta(seconds=60),
            windows=windows or (held(),),
            billing_mode="prepaid",
            held_xusd=0,
            available_xusd=10**9,
            quantity_minor=quantity,
            amount_xusd=quantity * 10,
            cost_xusd=quantity,
        ),
        **changes,
    )
