"""A decision as it was recorded, and how what it admitted came to its end. Pure."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from gating.facts import Ask, Facts, PolicyWindow, SeatWindow
from gating.projection import PolicyFact
from gating.rules import MeterRule, Rules, Seen, facts_of
from gating.sentences import told_today
from gating.settle import CommitFacts
from gating.verdicts import Verdict


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a lease: what its commit settled, None where it was given back."""

    at: datetime
    commit: CommitFacts | None = None


@dataclass(frozen=True, slots=True)
class Recorded:
    """A decision: what was asked, known and said.

    `rules` is None where the realm had no such feature. `reason` is empty of an
    admission, which held `held_minor` on each reserving counter and `held_xusd`.
    `times` counts the denials of one minute, of which the first is this one.
    `balance_xusd` is what the user had, where somebody looked it up; the decision
    itself saw a balance only where one decided.
    """

    decision_id: UUID
    account_id: UUID
    user_id: UUID
    at: datetime
    ask: Ask
    rules: Rules | None
    seen: Seen
    reason: str = ""
    sentence: str = ""
    held_minor: int = 0
    held_xusd: int = 0
    times: int = 1
    ended: Ended | None = None
    balance_xusd: int | None = None

    @property
    def admitted(self) -> bool:
        """Return whether it was admitted."""
        return not self.reason

    def facts(self, rules: Rules | None, seen: Seen) -> Facts:
        """Return what the decision would depend on under those rules."""
        if rules is None:
            return Facts(self.at)
        return facts_of(
            rules,
            seen,
            account_id=self.account_id,
            user_id=self.user_id,
            at=self.at,
        )

    def agrees(self, verdict: Verdict) -> bool:
        """Return whether a verdict is the recorded one, and would take the same."""
        if verdict.denial is not None:
            told = (verdict.denial.reason, verdict.denial.sentence)
            return told == (self.reason, told_today(self.sentence))
        held = max((hold.quantity_minor for hold in verdict.holds), default=0)
        return self.admitted and (held, verdict.wallet_xusd) == (
            self.held_minor,
            self.held_xusd,
        )


def rules_of(facts: Facts) -> tuple[Rules | None, Seen]:
    """Return the rules and the numbers that a denial's facts were made of.

    As far as a verdict depends on them: units and rates are left out, and a policy's
    feature is the one that was asked for.
    """
    if facts.feature is None:
        return None, Seen(())
    windows = [*facts.quotas, *facts.rates]
    policies = [_counted(window) for window in windows]
    policies += [_of_seats(seats) for seats in facts.seats]
    pairs = [(window.used_minor, window.reserved_minor) for window in windows]
    pairs += [(seats.taken, int(seats.holds)) for seats in facts.seats]
    funding = facts.funding
    rules = Rules(
        feature=facts.feature,
        entitlement=facts.entitlement,
        plan_code=facts.plan_code,
        bundle_missing=facts.bundle_missing,
        policies=tuple(policies),
        billing_mode=funding.billing_mode,
        price=funding.price,
        zero_cost=funding.zero_cost,
        unpriced=tuple(funding.unpriced),
        meters=tuple(
            MeterRule(fault.meter_code, "", None, fault) for fault in funding.faults
        ),
    )
    return rules, Seen(tuple(pairs), funding.available_xusd, facts.budget)


def _counted(window: PolicyWindow) -> PolicyFact:
    counter = window.counter
    return PolicyFact(
        policy_id=window.policy_id,
        name=window.name,
        kind=counter.kind,
        scope=counter.scope,
        feature_code=counter.feature_code,
        counter_key=counter.key,
        unit="",
        window_seconds=window.window_seconds,
        limit=window.limit,
        enforcement=window.enforcement,
        version=window.version,
    )


def _of_seats(seats: SeatWindow) -> PolicyFact:
    length = 0
    if seats.window_end is not None:
        length = int((seats.window_end - seats.window_start).total_seconds())
    return PolicyFact(
        policy_id=seats.policy_id,
        name=seats.name,
        kind="seats",
        scope="account",
        feature_code=seats.scope_code,
        counter_key=seats.key,
        unit="seat",
        window_seconds=length,
        limit=seats.limit,
        enforcement="reserve",
        version=seats.version,
    )
