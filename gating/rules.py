"""What governs one feature for one user while nothing changes. Pure.

`Rules` are the part of the facts that no request alters: entitlement, policies,
prices. They are resolved once (`gating.selectors.rules`), stored once per content
(`gate_rule_sets`) and never changed, so that a decision is kept as the rules' id and
the few numbers that were seen: `facts_of(rules, seen)` makes its facts again.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from pydantic import TypeAdapter

from config.kernel.money import INT64_MAX
from gating.facts import (
    BillingMode,
    BudgetFact,
    EntitlementVerdict,
    Facts,
    FeatureFact,
    Funding,
    PolicyWindow,
    SeatWindow,
    UnitPrice,
)
from gating.pricing import MeterRate, TermFault
from gating.projection import PolicyFact, counter_of, seats_window

_KINDS = ("quota", "rate", "seats")


@dataclass(frozen=True, slots=True)
class MeterRule:
    """A meter that usage of the feature may be committed on; `rate` None: no price.

    `fault`: why the contract's term on it has no effect, None where it has one.
    """

    meter_code: str
    unit: str
    rate: MeterRate | None
    fault: TermFault | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """Everything about a feature and those who use it that holds between changes.

    `policies` stand in the order of `ranked`. The names are those of `Facts`,
    `Funding` and `gating.projection`.
    """

    feature: FeatureFact
    entitlement: EntitlementVerdict
    plan_code: str | None
    bundle_missing: bool
    policies: tuple[PolicyFact, ...]
    billing_mode: BillingMode
    price: UnitPrice | None
    zero_cost: bool
    unpriced: tuple[str, ...]
    meters: tuple[MeterRule, ...]

    def of_kind(self, kind: str) -> list[PolicyFact]:
        """Return the policies of a kind."""
        return [policy for policy in self.policies if policy.kind == kind]

    @property
    def rates(self) -> dict[str, MeterRate]:
        """Return the meters' rates in force by code; unpriced meters are absent."""
        return {m.meter_code: m.rate for m in self.meters if m.rate is not None}

    @property
    def faults(self) -> tuple[TermFault, ...]:
        """Return the terms of the contract in force that have no effect."""
        return tuple(m.fault for m in self.meters if m.fault is not None)

    @property
    def units(self) -> dict[str, str]:
        """Return the meters' units by code."""
        return {meter.meter_code: meter.unit for meter in self.meters}


@dataclass(frozen=True, slots=True)
class Seen:
    """What a decision saw of what changes: one pair of numbers per policy.

    `pairs` follow `Rules.policies`: used and reserved of a quota or rate, seats taken
    and 1 where the user holds one. `available_xusd` is 0 where no balance decides.
    `budget` is the one named, where the user has it.
    """

    pairs: tuple[tuple[int, int], ...]
    available_xusd: int = 0
    budget: BudgetFact | None = None


def ranked(policies: Sequence[PolicyFact]) -> tuple[PolicyFact, ...]:
    """Return policies by kind, and within it the tightest first."""
    return tuple(
        sorted(
            policies,
            key=lambda p: (
                _KINDS.index(p.kind),
                INT64_MAX if p.limit is None else p.limit,
                p.window_seconds,
                p.name,
                p.policy_id,
            ),
        )
    )


_DOCUMENT = TypeAdapter(Rules)


def write_rules(rules: Rules) -> str:
    """Return the rules as their one JSON text: equal rules have equal texts."""
    document = _DOCUMENT.dump_python(rules, mode="json")
    return json.dumps(document, sort_keys=True, separators=(",", ":"))


def read_rules(text: str) -> Rules:
    """Return the rules that were written as `text`."""
    return _DOCUMENT.validate_json(text)


def rules_id(realm_id: str, text: str) -> UUID:
    """Return the id of a realm's rules of that text: 128 bits of its SHA-256."""
    digest = hashlib.sha256(f"{realm_id}\n{text}".encode())
    return UUID(bytes=digest.digest()[:16])


def facts_of(
    rules: Rules, seen: Seen, *, account_id: UUID, user_id: UUID, at: datetime
) -> Facts:
    """Return what a decision at `at` (aware UTC) under the rules depends on."""
    pairs = dict(zip(rules.policies, seen.pairs, strict=True))

    def windows(kind: str) -> list[PolicyWindow]:
        return [
            _window(policy, pairs[policy], rules, account_id, user_id, at)
            for policy in rules.of_kind(kind)
        ]

    return Facts(
        at=at,
        feature=rules.feature,
        entitlement=rules.entitlement,
        plan_code=rules.plan_code,
        bundle_missing=rules.bundle_missing,
        quotas=windows("quota"),
        rates=windows("rate"),
        seats=[_seats(p, pairs[p], at) for p in rules.of_kind("seats")],
        funding=Funding(
            billing_mode=rules.billing_mode,
            available_xusd=seen.available_xusd,
            price=rules.price,
            zero_cost=rules.zero_cost,
            unpriced=rules.unpriced,
            faults=rules.faults,
        ),
        budget=seen.budget,
    )


def _window(
    policy: PolicyFact,
    pair: tuple[int, int],
    rules: Rules,
    account_id: UUID,
    user_id: UUID,
    at: datetime,
) -> PolicyWindow:
    used, reserved = pair
    return PolicyWindow(
        policy_id=policy.policy_id,
        name=policy.name,
        window_seconds=policy.window_seconds,
        limit=policy.limit,
        enforcement=policy.enforcement,
        version=policy.version,
        counter=counter_of(
            policy,
            feature_code=rules.feature.feature_code,
            account_id=account_id,
            user_id=user_id,
            at=at,
        ),
        used_minor=used,
        reserved_minor=reserved,
    )


def _seats(policy: PolicyFact, pair: tuple[int, int], at: datetime) -> SeatWindow:
    start, end = seats_window(policy, at)
    taken, holds = pair
    return SeatWindow(
        policy_id=policy.policy_id,
        name=policy.name,
        limit=policy.limit,
        version=policy.version,
        scope_code=policy.feature_code,
        key=policy.counter_key,
        window_start=start,
        window_end=end,
        taken=taken,
        holds=bool(holds),
    )
