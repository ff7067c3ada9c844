"""May they? The specification of the gate, as one pure function.

`decide(ask, facts)` gives the verdict of authorize and preflight alike. The checks
run in this order, and the first that fails denies: feature, entitlement, policies,
seats, quota, rate, budget, funding. An admission says what to take, and nothing is
ever taken that the facts do not cover:

- `reserve` quotas hold the estimate, or 1 where none is given, on each counter, and
  its price on the balance of a prepaid account, rounded up so that it covers whatever
  remainder is carried into the commit. An estimate of 0 holds nothing and is admitted
  while anything is left;
- a budget that is named holds what the balance does, out of what it has left. Usage
  that is paid later counts on it, and is not stopped by it;
- `optimistic` quotas admit while anything is left, and count at commit;
- rates count each admission.
"""

from collections.abc import Iterable

from gating import sentences
from gating.facts import (
    Ask,
    Facts,
    FeatureFact,
    Funding,
    PolicyWindow,
    least_limits,
)
from gating.hints import (
    advice,
    budget_shortfall_hint,
    fault_hints,
    rate_hint,
    rate_hints,
    seconds_left,
    shortfall_hint,
)
from gating.verdicts import Denial, Hold, Verdict


def decide(ask: Ask, facts: Facts) -> Verdict:
    """Return the verdict on `ask` under `facts`; the same for the same arguments."""
    denial = (
        access(ask, facts)
        or _policies(ask, facts)
        or _seats(facts)
        or _quota(ask, facts)
        or _rate(facts)
        or _budget(ask, facts)
        or _funding(ask, facts)
    )
    return Verdict(denial) if denial else _admission(ask, facts)


def access(ask: Ask, facts: Facts) -> Denial | None:
    """Return why the feature may not be used at all: unknown, off, or no plan."""
    feature = facts.feature
    if feature is None:
        return Denial(
            422,
            "RESOURCE.NOT_FOUND",
            "feature_not_found",
            sentences.feature_unknown(ask.feature_code),
        )
    return _feature(ask, feature) or _entitlement(ask, facts)


def _feature(ask: Ask, feature: FeatureFact) -> Denial | None:
    asked = ask.feature_family_code
    if asked is not None and asked != feature.feature_family_code:
        return Denial(
            422,
            "RESOURCE.NOT_FOUND",
            "feature_in_other_family",
            sentences.feature_elsewhere(
                feature.feature_code, feature.feature_family_code, asked
            ),
            error_type="feature_mismatch",
        )
    if not feature.active:
        return Denial(
            422,
            "RESOURCE.NOT_FOUND",
            "feature_inactive",
            sentences.feature_inactive(feature.feature_code),
        )
    return None


def _entitlement(ask: Ask, facts: Facts) -> Denial | None:
    if facts.entitlement in {"allowed", "not_required"}:
        return None
    denied = facts.entitlement == "denied"
    return Denial(
        403,
        "ENTITLEMENT.DENIED" if denied else "ENTITLEMENT.REQUIRED",
        "entitlement_denied" if denied else "entitlement_required",
        sentences.not_entitled(facts, ask.feature_code),
    )


def _policies(ask: Ask, facts: Facts) -> Denial | None:
    code = ask.feature_code
    if facts.bundle_missing:
        return Denial(
            500,
            "SERVER.CONFIG",
            "default_bundle_missing",
            sentences.no_default_bundle(code),
        )
    if not (facts.quotas or facts.rates or facts.seats):
        return Denial(
            422, "RESOURCE.NOT_FOUND", "policy_not_found", sentences.no_policy(code)
        )
    if not facts.quotas:
        return Denial(500, "SERVER.CONFIG", "quota_missing", sentences.no_quota(code))
    return None


def _seats(facts: Facts) -> Denial | None:
    for seats in facts.seats:
        if seats.holds or seats.limit is None or seats.taken < seats.limit:
            continue
        return Denial(
            403, "SEAT.CAPACITY_EXCEEDED", "seats_taken", sentences.no_seat(seats)
        )
    return None


def held_minor(ask: Ask) -> int:
    """Return the quantity that a reserving quota holds: the estimate, else 1."""
    return 1 if ask.estimate_minor is None else ask.estimate_minor


def _asked(ask: Ask, window: PolicyWindow) -> int:
    """Return the quantity that must be left; an estimate of 0 asks for any."""
    return max(held_minor(ask), 1) if window.enforcement == "reserve" else 1


def _quota(ask: Ask, facts: Facts) -> Denial | None:
    short = [w for w in facts.quotas if w.room_minor < _asked(ask, w)]
    if not short:
        return None
    worst = min(short, key=lambda w: (w.room_minor, w.rank))
    left = max(0, min(w.room_minor for w in facts.quotas))
    return Denial(
        402,
        "QUOTA.EXHAUSTED",
        "quota_exhausted",
        sentences.quota_used_up(worst, _asked(ask, worst)),
        [{"type": "quota.remaining", "max_quantity_minor": left}],
    )


def _rate(facts: Facts) -> Denial | None:
    for window in sorted(facts.rates, key=lambda w: w.rank):
        if window.room_minor >= 1:
            continue
        seconds = seconds_left(window, facts)
        return Denial(
            429,
            "LIMIT.RATE_EXCEEDED",
            "rate_exceeded",
            sentences.rate_exceeded(window, seconds),
            [rate_hint(window, facts, 0)],
            retry_after=seconds,
        )
    return None


def unusable_budget(ask: Ask, facts: Facts) -> Denial | None:
    """Return why the budget that is named may not be used, whatever it has left."""
    if ask.budget is None:
        return None
    sentence: str | None = sentences.no_budget(ask.budget)
    if facts.budget is not None:
        code, at = ask.feature_code, facts.at
        sentence = sentences.budget_shut(ask.budget, facts.budget, code, at)
    if sentence is None:
        return None
    return Denial(422, "RESOURCE.NOT_FOUND", "budget_not_found", sentence)


def _budget(ask: Ask, facts: Facts) -> Denial | None:
    budget = facts.budget
    if ask.budget is None or budget is None:
        return unusable_budget(ask, facts)
    if (denial := unusable_budget(ask, facts)) is not None:
        return denial
    needed_xusd = _wallet_xusd(ask, facts)
    if not _pays_before(facts.funding) or budget.room_xusd >= max(needed_xusd, 1):
        return None
    return Denial(
        402,
        "BUDGET.EXHAUSTED",
        "budget_exhausted",
        sentences.budget_used_up(ask.budget, budget, needed_xusd, held_minor(ask)),
        [
            budget_shortfall_hint(_least_xusd(needed_xusd, facts.funding), budget),
            *fault_hints(facts.funding),
        ],
    )


def _pays_before(funding: Funding) -> bool:
    """Return whether use must be covered before it is made."""
    return funding.billing_mode == "prepaid" and not funding.zero_cost


def _least_xusd(needed_xusd: int, funding: Funding) -> int:
    """Return what must be there: the price of one unit, where nothing is asked for."""
    return max(1, needed_xusd or (funding.price.at_most(1) if funding.price else 0))


def _funding(ask: Ask, facts: Facts) -> Denial | None:
    funding = facts.funding
    if not _pays_before(funding):
        return None
    needed_xusd = _wallet_xusd(ask, facts)
    if funding.available_xusd >= max(needed_xusd, 1):
        return None
    return Denial(
        402,
        "FUNDING.EXHAUSTED",
        "funding_exhausted",
        sentences.funds_lacking(funding, needed_xusd, held_minor(ask)),
        [
            shortfall_hint(_least_xusd(needed_xusd, funding), funding),
            *fault_hints(funding),
        ],
    )


def _reserves(facts: Facts) -> bool:
    return any(window.enforcement == "reserve" for window in facts.quotas)


def _wallet_xusd(ask: Ask, facts: Facts) -> int:
    """Return what to reserve on the balance: nothing unless some quota reserves."""
    funding = facts.funding
    if not _pays_before(funding) or funding.price is None or not _reserves(facts):
        return 0
    return funding.price.at_most(held_minor(ask))


def _admission(ask: Ask, facts: Facts) -> Verdict:
    quotas = sorted(facts.quotas, key=lambda w: w.rank)
    limited = [w.room_minor for w in quotas if w.limit is not None]
    cap = ask.estimate_minor or min(limited, default=None)
    reserving = [w for w in quotas if w.enforcement == "reserve"]
    return Verdict(
        hints=[*rate_hints(facts), *advice(ask, facts)],
        window=quotas[0],
        holds=_per_counter(reserving, held_minor(ask)) if held_minor(ask) else (),
        increments=_per_counter(facts.rates, 1),
        seats=[seats for seats in facts.seats if not seats.holds],
        wallet_xusd=_wallet_xusd(ask, facts),
        cap_minor=cap,
    )


def _per_counter(windows: Iterable[PolicyWindow], quantity_minor: int) -> list[Hold]:
    limits = least_limits(windows)
    return [Hold(key, quantity_minor, limits[key]) for key in sorted(limits)]
