"""Ingesting: usage that nobody authorized becomes a rating, paid and not counted."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import transaction

from billing.models import BillingAccount, BillingUser
from config.kernel.audit import AuditContext
from gating.answers import Admission
from gating.decide import access
from gating.evidence import read_budget
from gating.facts import Facts
from gating.ingestion import access_facts, refuse
from gating.rules import Rules
from gating.selectors.rules import stored_rules
from gating.services.admissions import KeyReused
from gating.services.authorize import denied
from gating.services.commits import MeterNotAllowed
from gating.services.denials import GateDenied, record_denial
from gating.services.functions import Document, GateMoved, gate_ingest_read
from gating.services.ingest_requests import Ingesting, IngestRequest
from gating.services.ingested import book, told_again
from gating.services.projections import resolve_past
from gating.services.registry import registered_feature, registered_meters
from gating.services.subjects import Subject
from gating.verdicts import Denial, Verdict

TRIES = 12
"""How often what governs is read, where it changes or is registered meanwhile."""


def ingest(
    *,
    account: BillingAccount,
    user: BillingUser,
    request: IngestRequest,
    idempotency_key: str,
    at: datetime,
    by: AuditContext,
) -> Admission:
    """Rate and pay usage that was not authorized (`gating.ingestion`).

    Everything is judged at the instant at which it occurred. The first answer to a key
    is given again; the key with another body is refused (`KeyReused`). Refuses an
    instant ahead of our clock or too long ago (`OccurredInFuture`,
    `OccurredTooEarly`), a feature that is unknown, off or not allowed, a budget that
    was not to be used then (`GateDenied`), a meter that the feature does not have
    (`MeterNotAllowed`), and an amount beyond 64 bits (`Invalid`).
    """
    return ingest_as(
        Subject.of(account, user),
        request=request,
        idempotency_key=idempotency_key,
        at=at,
        by=by,
    )


def ingest_as(
    subject: Subject,
    *,
    request: IngestRequest,
    idempotency_key: str,
    at: datetime,
    by: AuditContext,
) -> Admission:
    """Do what `ingest` does for a user known by name only."""
    usage = Ingesting(request, idempotency_key, at, by)
    resolved: Document = {}
    for _ in range(TRIES):
        item = subject.item(request.feature_code) | usage.item | resolved
        with transaction.atomic():
            answer = gate_ingest_read(item, at=at, version=subject.version)
            if answer["o"] == "replayed":
                return told_again(subject.realm_id, answer)
            if answer["o"] == "key_reused":
                raise KeyReused
            request.check_occurred(at)
            judged = _judged(usage, answer) if answer["o"] == "open" else None
            if judged is not None and judged.is_fine:
                return book(usage, subject.realm_id, judged.rules, answer)
        if judged is None:
            resolved = _resolved(subject, usage, current=answer["current"])
        elif judged.denial is not None:
            raise _denied(subject, usage, judged.facts, judged.denial)
        elif not registered_meters(
            subject, request.feature_code, judged.foreign, **usage.why
        ):
            raise MeterNotAllowed(request.feature_code, judged.foreign)
    raise GateMoved("What governs the account")


@dataclass(frozen=True, slots=True)
class _Judged:
    """What the rules say of usage: refused, or on meters the feature does not have."""

    rules: Rules
    facts: Facts
    denial: Denial | None
    foreign: list[str]

    @property
    def is_fine(self) -> bool:
        """Return whether it is taken."""
        return self.denial is None and not self.foreign


def _judged(usage: Ingesting, answer: Document) -> _Judged:
    rules = stored_rules(UUID(answer["rules"]))
    budget = read_budget(answer.get("budget"))
    facts = access_facts(rules, answer["available"], usage.occurred_at, budget)
    uses = usage.request.uses(rules)
    foreign = {use.meter_code for use in uses if use.meter_code not in rules.units}
    return _Judged(rules, facts, refuse(usage.request.ask, facts), sorted(foreign))


def _resolved(subject: Subject, usage: Ingesting, *, current: bool) -> Document:
    """Resolve what governs, so that it is found; register the feature where it may be.

    Returns what a past instant adds to the item. Refuses an unknown feature.
    """
    code, at, occurred = usage.request.feature_code, usage.at, usage.occurred_at
    if not current and not subject.project(code, at=at):
        if not registered_feature(subject, code, **usage.why):
            facts = Facts(occurred)
            raise _denied(subject, usage, facts, refuse(usage.request.ask, facts))
        return {}
    if occurred == at:
        return {}
    account, user = subject.bind()
    found = resolve_past(
        account=account, user=user, feature_code=code, as_of=occurred, at=at
    )
    return found or {}


def _denied(
    subject: Subject, usage: Ingesting, facts: Facts, denial: Denial | None
) -> GateDenied:
    """Return the refusal; its evidence is kept outside the transaction that locked.

    That of a budget is not: it cannot be decided again without policies.
    """
    ask, verdict = usage.request.ask, Verdict(denial)
    if access(ask, facts) is None:
        return denied(ask, facts, verdict)
    account, user = subject.bind()
    decision_id = record_denial(
        subject.realm_id,
        account.pk,
        user.pk,
        ask=ask,
        facts=facts,
        verdict=verdict,
        at=usage.at,
        trace_id=usage.by.trace_id,
    )
    return denied(ask, facts, verdict, decision_id)
