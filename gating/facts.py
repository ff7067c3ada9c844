"""What the gate decides about: the facts of one request, at one instant. Pure.

`decide` and `settle` read nothing else, so a verdict can be given again from its
stored facts. Quantities are integers of a meter's smallest unit (`*_minor`), money
integers of 10^-6 USD (`*_xusd`), instants aware UTC.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from config.kernel.money import INT64_MAX
from gating.pricing.contract import TermFault

SubjectScope = Literal["user", "account"]
CounterKind = Literal["quota", "rate"]
Enforcement = Literal["reserve", "optimistic"]
BillingMode = Literal["prepaid", "postpaid", "hybrid"]
EntitlementVerdict = Literal["allowed", "denied", "missing", "not_required"]
Hint = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Ask:
    """What a caller asks to do.

    `estimate_minor` is None where none was given; `budget` is the caller's own
    reference of a budget.
    """

    feature_code: str
    feature_family_code: str | None = None
    estimate_minor: int | None = None
    budget: str | None = None


@dataclass(frozen=True, slots=True, order=True)
class CounterKey:
    """Which counter. Policies that name the same one share its use."""

    kind: CounterKind
    scope: SubjectScope
    subject_id: UUID
    feature_code: str
    key: str
    window_start: datetime
    window_end: datetime


@dataclass(frozen=True, slots=True)
class PolicyWindow:
    """A quota or rate policy in the window that holds now, and its counter's state.

    `limit` None is unlimited; `version` is the instant of the policy's last change.
    """

    policy_id: UUID
    name: str
    window_seconds: int
    limit: int | None
    enforcement: Enforcement
    version: datetime
    counter: CounterKey
    used_minor: int = 0
    reserved_minor: int = 0

    @property
    def room_minor(self) -> int:
        """Return what may still be counted; below 0 where the limit was lowered.

        An unlimited policy has the room that its counter has: 64 bits.
        """
        limit = INT64_MAX if self.limit is None else self.limit
        return limit - self.used_minor - self.reserved_minor

    @property
    def rank(self) -> tuple[int, int, str]:
        """Return the order in which policies are checked: the tightest first."""
        limit = INT64_MAX if self.limit is None else self.limit
        return limit, self.window_seconds, self.name


def least_limits(windows: Iterable[PolicyWindow]) -> dict[CounterKey, int | None]:
    """Return each counter's limit: the least of the policies that share it."""
    limits: dict[CounterKey, int | None] = {}
    for window in windows:
        known = [x for x in (limits.get(window.counter), window.limit) if x is not None]
        limits[window.counter] = min(known, default=None)
    return limits


@dataclass(frozen=True, slots=True)
class SeatWindow:
    """A seats policy, and the seats taken in it by active users of the account.

    `scope_code` is the feature whose seats these are, or `*` for all features;
    `window_end` None means that a seat, once taken, is kept. `holds` says whether
    the user has one already.
    """

    policy_id: UUID
    name: str
    limit: int | None
    version: datetime
    scope_code: str
    key: str
    window_start: datetime
    window_end: datetime | None
    taken: int = 0
    holds: bool = False


@dataclass(frozen=True, slots=True)
class FeatureFact:
    """The feature asked for, as the catalog has it."""

    feature_code: str
    feature_family_code: str
    active: bool


@dataclass(frozen=True, slots=True)
class PriceTerm:
    """The contract's term that made a price, and the catalog's price it started from.

    `effective_at` is the instant from which that version of the term holds.
    """

    contract_id: str
    effective_at: datetime
    catalog_price_xusd: int
    catalog_quantity_minor: int


@dataclass(frozen=True, slots=True)
class UnitPrice:
    """What a quantity costs: `price_xusd` (0 or more) for `quantity_minor` (1 or more).

    `whole_blocks`: sold in blocks of `quantity_minor` only. `term` None: it is the
    catalog's.
    """

    price_xusd: int
    quantity_minor: int
    whole_blocks: bool = False
    term: PriceTerm | None = None

    def at_most(self, quantity_minor: int) -> int:
        """Return the most that a quantity can cost, whatever was carried before.

        Rating rounds down and carries the remainder on (`gating.pricing`), so what
        is carried in can raise the amount to the price rounded up, and no further.
        """
        if self.whole_blocks:
            return -(-quantity_minor // self.quantity_minor) * self.price_xusd
        return -(-quantity_minor * self.price_xusd // self.quantity_minor)

    def affordable(self, available_xusd: int) -> int | None:
        """Return the greatest quantity that costs no more; None: any quantity."""
        if self.price_xusd == 0:
            return None
        if self.whole_blocks:
            return available_xusd // self.price_xusd * self.quantity_minor
        return available_xusd * self.quantity_minor // self.price_xusd


@dataclass(frozen=True, slots=True)
class Funding:
    """Who pays, and with what.

    `price` is that of the primary activity meter, None where it has none;
    `unpriced` names the feature's activity meters without a price; `zero_cost` says
    that the feature has meters and none of them has a price or a cost; `faults` are the
    terms of the contract in force that have no effect.
    """

    billing_mode: BillingMode
    available_xusd: int
    price: UnitPrice | None = None
    zero_cost: bool = False
    unpriced: Sequence[str] = ()
    faults: Sequence[TermFault] = ()


@dataclass(frozen=True, slots=True)
class BudgetFact:
    """A user's budget that was named, as it stands.

    What is reserved is held by leases until they end. `limit_xusd` None is unlimited,
    a bound that is None open; `feature_codes` None means every feature.
    """

    budget_id: UUID
    consumed_xusd: int
    reserved_xusd: int
    limit_xusd: int | None = None
    window_start: datetime | None = None
    window_end: datetime | None = None
    closed_at: datetime | None = None
    feature_codes: Sequence[str] | None = None

    @property
    def room_xusd(self) -> int:
        """Return what may still be reserved or consumed; below 0 once it is passed.

        An unlimited budget has the room that its numbers have: 64 bits.
        """
        limit = INT64_MAX if self.limit_xusd is None else self.limit_xusd
        return limit - self.consumed_xusd - self.reserved_xusd


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything an admission depends on, at the instant `at`.

    `feature` is None where the realm has none of that code; the rest is then empty.
    `budget` is None where none was named, or the user has none of that reference.
    `bundle_missing` says that no plan names a bundle and the realm's default bundle
    is absent or disabled.
    """

    at: datetime
    feature: FeatureFact | None = None
    entitlement: EntitlementVerdict = "missing"
    plan_code: str | None = None
    bundle_missing: bool = False
    quotas: Sequence[PolicyWindow] = ()
    rates: Sequence[PolicyWindow] = ()
    seats: Sequence[SeatWindow] = ()
    funding: Funding = field(default_factory=lambda: Funding("prepaid", 0))
    budget: BudgetFact | None = None
