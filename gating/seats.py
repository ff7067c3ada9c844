"""Seats that are billed: on which terms, in which windows, settled how. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from config.kernel.metadata import PolicyMetadata
from config.kernel.recurrence import calendar_period
from config.kernel.windows import Window, fixed_window
from gating.facts import BillingMode, SubjectScope
from gating.pricing import RatedLine
from gating.settle import CommitFacts, HeldWindow, Settlement, settle

SeatMode = Literal["assigned", "active_window"]
BILLING_KEYS = ("billing_feature_code", "billing_meter_code", "billing_mode")
"""The metadata of a seats policy that say how its seats are billed: all, or none."""

_INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class SeatTerms:
    """What a seat is billed as: a feature, a meter of it, and which seats count."""

    feature_code: str
    meter_code: str
    mode: SeatMode


def seat_terms(known: PolicyMetadata) -> SeatTerms | None:
    """Return on which terms a policy's seats are billed; None where they are not."""
    feature, meter, mode = (getattr(known, key) for key in BILLING_KEYS)
    if feature is None or meter is None or mode is None:
        return None
    return SeatTerms(feature, meter, mode)


@dataclass(frozen=True, slots=True)
class SeatPolicy:
    """A seats policy that bills, as it stood from `valid_from` until `valid_until`.

    `scope_code` is the feature whose seats these are, or `*`; `counter_key` names the
    seats that policies may share; `valid_until` None means that it still stands so.
    """

    policy_id: UUID
    realm_id: str
    name: str
    bundle_key: str
    scope: SubjectScope
    scope_code: str
    counter_key: str
    window_seconds: int
    terms: SeatTerms
    valid_from: datetime
    valid_until: datetime | None

    def window(self, at: datetime) -> Window:
        """Return what is billed at once: the window around `at`, or the UTC month.

        Seats that are kept have no window of their own.
        """
        if self.window_seconds == 0:
            return calendar_period("month", at)
        return fixed_window(at, self.window_seconds)

    @property
    def begins(self) -> datetime:
        """Return where the first window begins that is billed under this version."""
        return self.window(self.valid_from).start

    def ended_by(self, at: datetime) -> datetime:
        """Return where the last window ends that ended by `at` under this version."""
        return self.window(min(at, self.valid_until or at)).start


@dataclass(frozen=True, slots=True)
class Span:
    """A window that has ended: from `start` up to, and not including, `end`."""

    start: datetime
    end: datetime

    @property
    def last(self) -> datetime:
        """Return its last instant, at which its seats are priced."""
        return self.end - _INSTANT


def settle_seat(
    *,
    policy: SeatPolicy,
    line: RatedLine,
    allowed: bool,
    billing_mode: BillingMode,
    available_xusd: int,
    zero_cost: bool,
) -> Settlement:
    """Return what a seat applies: as a commit does that holds nothing.

    No quota bounds it, and it comes in time. `allowed` says that the feature has the
    meter; what cannot be priced is kept aside, and a prepaid seat costs no more than
    is available.
    """
    unpriced = [line.meter_code] if line.status == "missing_price" else []
    at = line.computed_at
    return settle(
        CommitFacts(
            at=at,
            feature_code=policy.terms.feature_code,
            lease_state="active",
            expires_at=at,
            grace=timedelta(0),
            windows=[HeldWindow(policy.policy_id, None, 0, 0, 0)],
            billing_mode=billing_mode,
            held_xusd=0,
            available_xusd=available_xusd,
            quantity_minor=line.quantity_minor,
            amount_xusd=line.revenue.amount_xusd,
            cost_xusd=line.cost.amount_xusd,
            unpriced=unpriced if allowed else (),
            not_allowed=() if allowed else [line.meter_code],
            zero_cost=zero_cost,
        )
    )
