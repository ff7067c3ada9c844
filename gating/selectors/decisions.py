"""Decisions as they were made: what was asked, and what was known."""

from gating.facts import Ask, Facts
from gating.models import Lease
from gating.rules import Seen, facts_of
from gating.selectors.rules import stored_rules


def admission_of(lease: Lease) -> tuple[Ask, Facts]:
    """Return what a lease was asked for, and the facts that admitted it."""
    rules = stored_rules(lease.rule_set_id)
    pairs = zip(lease.seen_first, lease.seen_second, strict=True)
    ask = Ask(
        feature_code=lease.feature_code,
        estimate_minor=lease.estimate_minor,
        budget=lease.budget,
    )
    return ask, facts_of(
        rules,
        Seen(tuple(pairs), lease.available_xusd),
        account_id=lease.account_id,
        user_id=lease.user_id,
        at=lease.authorized_at,
    )
