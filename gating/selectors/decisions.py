"""Decisions as they were made: what was asked, what was known, what was said."""

from dataclasses import dataclass
from datetime import datetime

import structlog

from config.kernel.errors import NotFound
from config.kernel.ids import parse_uuid
from config.tenancy.models import Realm
from gating.evidence import read_ask, read_budget, read_facts
from gating.explanations import Explanation, explain
from gating.facts import Ask, Facts
from gating.models import Denial, Lease
from gating.rules import Seen, facts_of
from gating.selectors.idle_plans import idle_plans
from gating.selectors.rules import stored_rules
from gating.sentences import told_today

log = structlog.get_logger("plangate.gate")


@dataclass(frozen=True, slots=True)
class Decision:
    """A stored decision, made again from its evidence.

    `times` is how often it was given in its minute; `agrees` says that today's
    specification comes to what was stored, and `stored` what that was: the reason of a
    denial, empty for an admission.
    """

    row: Lease | Denial
    decided_at: datetime
    times: int
    ask: Ask
    facts: Facts
    explanation: Explanation
    stored: str
    agrees: bool


def asked_and_seen(lease: Lease) -> tuple[Ask, Seen]:
    """Return what a lease was asked for, and the numbers that admitted it."""
    pairs = zip(lease.seen_first, lease.seen_second, strict=True)
    seen = lease.budget_seen
    budget = seen and {**seen, "budget_id": str(lease.budget_id)}
    ask = Ask(
        feature_code=lease.feature_code,
        estimate_minor=lease.estimate_minor,
        budget=lease.budget,
    )
    return ask, Seen(tuple(pairs), lease.available_xusd, read_budget(budget))


def admission_of(lease: Lease) -> tuple[Ask, Facts]:
    """Return what a lease was asked for, and the facts that admitted it."""
    ask, seen = asked_and_seen(lease)
    return ask, facts_of(
        stored_rules(lease.rule_set_id),
        seen,
        account_id=lease.account_id,
        user_id=lease.user_id,
        at=lease.authorized_at,
    )


def decision_of(realm: Realm, decision_id: str) -> Decision:
    """Return the decision of that id: a lease's, or a denial's.

    Where it comes out otherwise today, that is logged as critical. Refuses an id that
    the realm does not have (404).
    """
    key = parse_uuid(decision_id)
    if key is not None:
        leases = Lease.objects.in_realm(realm).select_related("account", "user")
        if lease := leases.filter(pk=key).first():
            return decision_on_lease(lease)
        denials = Denial.objects.in_realm(realm).select_related("account", "user")
        if denial := denials.filter(pk=key).first():
            return decision_on_denial(denial)
    raise NotFound(f"There is no decision {decision_id}.")


def decision_on_lease(lease: Lease) -> Decision:
    """Return the decision that admitted a lease, made again."""
    ask, facts = admission_of(lease)
    again = explain(ask, facts)
    held = max((hold.quantity_minor for hold in again.verdict.holds), default=0)
    agrees = again.verdict.allowed and (held, again.verdict.wallet_xusd) == (
        lease.reserved_minor,
        lease.reserved_xusd,
    )
    return _checked(
        Decision(lease, lease.authorized_at, 1, ask, facts, again, "", agrees)
    )


def decision_on_denial(denial: Denial) -> Decision:
    """Return the decision that denied, made again."""
    ask = read_ask(denial.evidence["ask"])
    facts = read_facts(denial.evidence["facts"])
    again = explain(ask, facts)
    if denial.reason == "entitlement_required":
        plans = idle_plans(
            account=denial.account, user_id=denial.user_id, at=denial.first_at
        )
        again = again.also("entitlement", plans)
    told = again.verdict.denial
    agrees = told is not None and (told.reason, told.sentence) == (
        denial.reason,
        told_today(denial.sentence),
    )
    return _checked(
        Decision(
            denial,
            denial.first_at,
            denial.count,
            ask,
            facts,
            again,
            denial.reason,
            agrees,
        )
    )


def _checked(decision: Decision) -> Decision:
    if not decision.agrees:
        log.critical(
            "a stored decision comes out otherwise today",
            decision=str(decision.row.pk),
            stored=decision.stored or "admitted",
        )
    return decision
