"""How the gate's limits, times and reasons read to people."""

from collections.abc import Iterable
from datetime import datetime

from catalog.admin.words import units
from config.admin.bases import instant_text
from config.kernel.metadata import PolicyMetadata, check_metadata
from gating.lengths import duration_text
from gating.models import GatePolicy, PolicyKind, SubjectScope
from gating.projection import WILDCARD
from gating.seats import seat_terms

DENIAL_REASONS = {
    "feature_not_found": "Unknown feature",
    "feature_in_other_family": "Feature of another family",
    "feature_inactive": "Feature switched off",
    "entitlement_required": "No plan allows it",
    "entitlement_denied": "A plan denies it",
    "default_bundle_missing": "No default policy bundle",
    "policy_not_found": "No policy",
    "quota_missing": "No quota policy",
    "seats_taken": "No seat left",
    "quota_exhausted": "Quota used up",
    "rate_exceeded": "Too many calls",
    "budget_not_found": "Budget unknown, closed or not for this",
    "budget_exhausted": "Budget used up",
    "funding_exhausted": "Balance too low",
}
RATING_REASONS = {
    "ingest": "Reported without a lease",
    "overshoot": "Not all of it fitted",
    "lease_closed_at_commit": "The lease had already ended",
    "late_commit": "Committed late, within the grace time",
    "late_commit_exceeded": "Committed after the grace time",
    "policy_window_not_found": "No quota window to count in",
    "meter_not_allowed_for_feature": "The feature does not have that meter",
    "pricing_not_configured": "No price is set",
    "budget_consumed": "Counted on a budget",
    "budget_limit_exceeded": "Counted on a budget, beyond its limit",
    "cash_funding_applied": "The balance paid only part; the rest is owed",
}


def reason_text(code: str, known: dict[str, str]) -> str:
    """Return the words for a reason; a code that has none, readable."""
    return known.get(code) or code.replace("_", " ").capitalize()


def reasons_text(codes: Iterable[str]) -> str:
    """Return the words for the reasons of a rating."""
    return "; ".join(reason_text(code, RATING_REASONS) for code in codes)


def per_window(seconds: int) -> str:
    """Return a window as the end of a limit: `per day`, `per 1 hour 30 minutes`."""
    text = duration_text(seconds)
    single = text.startswith("1 ") and text.count(" ") == 1
    return f"per {text.removeprefix('1 ') if single else text}"


def limit_text(policy: GatePolicy) -> str:
    """Return what a policy allows: `1,000 tokens per day`."""
    if policy.kind == PolicyKind.SEATS:
        kept = "" if policy.window_sec == 0 else f" {per_window(policy.window_sec)}"
        seats = "Unlimited seats" if policy.limit is None else _seats(policy.limit)
        return f"{seats}{kept}"
    window = per_window(policy.window_sec)
    what = "call" if policy.kind == PolicyKind.RATE else policy.unit
    if policy.limit is None:
        return f"Unlimited {units(0, what).removeprefix('0 ')} {window}"
    return f"{units(policy.limit, what)} {window}"


def _seats(count: int) -> str:
    return f"{count:,} seat{'' if count == 1 else 's'}"


SEAT_MODES = {
    "assigned": "Every seat that is assigned",
    "active_window": "Every seat that is used",
}


def billing_text(policy: GatePolicy) -> str:
    """Return how a policy's seats are billed, or that they are not."""
    terms = seat_terms(check_metadata(PolicyMetadata, policy.metadata).known)
    if terms is None:
        return "Not billed"
    per = (
        "per calendar month"
        if policy.window_sec == 0
        else per_window(policy.window_sec)
    )
    mode = SEAT_MODES[terms.mode]
    return f"{mode}, {per}, as {terms.feature_code} on meter {terms.meter_code}"


def scope_text(scope: str) -> str:
    """Return whose use is counted together."""
    return str(SubjectScope(scope).label)


def feature_text(feature_code: str) -> str:
    """Return a policy's feature; the wildcard in words."""
    return "Every other feature (*)" if feature_code == WILDCARD else feature_code


def window_text(start: datetime, end: datetime) -> str:
    """Return a window in two instants, in UTC."""
    return f"{instant_text(start).removesuffix(' UTC')} to {instant_text(end)}"
