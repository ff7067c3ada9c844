"""Asking the gate: authorize takes what it admits, preflight only says so."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import structlog

from billing.models import BillingAccount, BillingUser
from catalog.services.registration import RegistryFull
from config.kernel.audit import AuditContext
from config.kernel.errors import Conflict
from config.kernel.ids import new_id
from config.kernel.windows import format_instant
from gating.answers import Admission
from gating.decide import decide
from gating.facts import Ask, Facts
from gating.selectors.repeats import admitted_before
from gating.services.admissions import (
    AuthorizeRequest,
    Decision,
    KeyReused,
    admitted,
    as_uuid,
    replayed,
)
from gating.services.admitting import authorize_items
from gating.services.coalescing import authorize_together
from gating.services.denials import GateDenied, record_denial
from gating.services.functions import (
    Document,
    Function,
    GateMoved,
    gate_preflight,
)
from gating.services.registry import registered_feature
from gating.services.subjects import Subject
from gating.verdicts import Verdict

log = structlog.get_logger("plangate.gate")


class LeaseTaken(Conflict):
    """The user already has a lease of that reference (409)."""

    default_code = "WRITE.INVALID_PAYLOAD"

    def __init__(self, reference: str) -> None:
        super().__init__(
            f"This user already has a lease {reference}, authorized with another "
            "Idempotency-Key.",
            field="lease",
            error_type="conflict",
        )


def authorize(
    *,
    account: BillingAccount,
    user: BillingUser,
    request: AuthorizeRequest,
    idempotency_key: str,
    at: datetime,
    by: AuditContext,
) -> Admission:
    """Admit one unit of work and hold what it may use, or refuse (`GateDenied`).

    The first answer to a key is given again whatever has changed since; the key with
    another body is refused (`KeyReused`), as is a reference in use (`LeaseTaken`). A
    denial takes nothing, is not kept for the key, and leaves its evidence.
    """
    return authorize_as(
        Subject.of(account, user),
        request=request,
        idempotency_key=idempotency_key,
        at=at,
        by=by,
    )


def authorize_as(
    subject: Subject,
    *,
    request: AuthorizeRequest,
    idempotency_key: str,
    at: datetime,
    by: AuditContext,
) -> Admission:
    """Do what `authorize` does for a user known by name only."""
    asked = item_of(request, idempotency_key, by)
    function = authorize_together if subject.together else authorize_items
    (answer,) = asked_of(subject, function, [request], [asked], at=at, by=by)
    at = answer.get("sent_at", at) if answer else at
    return settled(answer, subject, request, str(asked["id"]), at=at, by=by)


def asked_of(
    subject: Subject,
    function: Function,
    requests: Sequence[AuthorizeRequest],
    asked: Sequence[Document],
    *,
    at: datetime,
    by: AuditContext,
) -> list[Document | None]:
    """Return the function's answer to each request, as `Subject.asked`.

    Where the realm does not have the feature, a repeat is answered as before. Else the
    feature is registered, where uses may register, and asked for again, after the
    others.
    """
    features = [request.ask.feature_code for request in requests]
    answers = subject.asked(function, features, asked, at=at)
    again = []
    for place, found in enumerate(answers):
        answer = found or admitted_before(subject.bind()[1], asked[place])
        answers[place] = answer
        family = requests[place].ask.feature_family_code
        try:
            if answer is None and registered_feature(
                subject, features[place], family, source="authorize", at=at, by=by
            ):
                again.append(place)
        except RegistryFull:
            answers[place] = {"o": "registry_full"}
    if again:
        told = subject.asked(
            function, [features[x] for x in again], [asked[x] for x in again], at=at
        )
        for place, answer in zip(again, told, strict=True):
            answers[place] = answer
    return answers


def item_of(
    request: AuthorizeRequest, idempotency_key: str, by: AuditContext
) -> Document:
    """Return the request as the gate's function takes it, without its subject."""
    ask = request.ask
    return {
        "family": ask.feature_family_code,
        "estimate": ask.estimate_minor,
        "budget": ask.budget,
        "key": idempotency_key,
        "hash": request.digest.hex(),
        "lease": request.reference,
        "id": str(new_id()),
        "labels": dict(request.labels),
        "trace": by.trace_id,
    }


def settled(
    answer: Document | None,
    subject: Subject,
    request: AuthorizeRequest,
    lease_id: str,
    *,
    at: datetime,
    by: AuditContext,
) -> Admission:
    """Return the admission that the function told, or raise its refusal.

    `answer` None stands for a feature that the realm does not have.
    """
    outcome = answer["o"] if answer else "denied"
    if outcome == "key_reused":
        raise KeyReused
    if outcome == "lease_taken":
        raise LeaseTaken(request.reference or "")
    if outcome == "registry_full":
        raise RegistryFull(request.ask.feature_code)
    if answer is not None and outcome == "replayed":
        return replayed(answer, request)
    if answer is not None and outcome == "admitted":
        return admitted(answer, request, lease_id, at=at)
    facts = Decision.told(answer).facts(at) if answer else Facts(at)
    verdict = judged(request.ask, facts, answer)
    decision_id = record_denial(
        subject.realm_id,
        *_whose(answer, subject),
        ask=request.ask,
        facts=facts,
        verdict=verdict,
        at=at,
        trace_id=by.trace_id,
    )
    raise denied(request.ask, facts, verdict, decision_id)


def _whose(answer: Document | None, subject: Subject) -> tuple[UUID, UUID]:
    """Return the ids of account and user."""
    if answer is not None:
        return as_uuid(answer["account"]), as_uuid(answer["user"])
    account, user = subject.bind()
    return account.pk, user.pk


def preflight(
    *, account: BillingAccount, user: BillingUser, ask: Ask, at: datetime
) -> Admission:
    """Say what authorize would, of one instant, and write nothing.

    Refuses (`GateDenied`) with the denial that authorize would give.
    """
    return preflight_as(Subject.of(account, user), ask=ask, at=at)


def preflight_as(subject: Subject, *, ask: Ask, at: datetime) -> Admission:
    """Do what `preflight` does for a user known by name only."""
    asked = {
        "family": ask.feature_family_code,
        "estimate": ask.estimate_minor,
        "budget": ask.budget,
    }
    (answer,) = subject.asked(gate_preflight, [ask.feature_code], [asked], at=at)
    if answer is None:
        facts = Facts(at)
        raise denied(ask, facts, judged(ask, facts, None))
    decision = Decision.told(answer)
    if answer["o"] != "admitted":
        facts = decision.facts(at)
        raise denied(ask, facts, judged(ask, facts, answer))
    data, hints = decision.admission(ask, at=at, before={"as_of": format_instant(at)})
    return Admission(data, hints)


def judged(ask: Ask, facts: Facts, answer: Document | None) -> Verdict:
    """Return the specification's verdict on what the function denied.

    Logs as critical where the two differ; refuses (`GateMoved`) to answer where the
    specification would admit.
    """
    verdict = decide(ask, facts)
    told = answer["reason"] if answer is not None else None
    if verdict.denial is None or told not in {None, verdict.denial.reason}:
        log.critical("gate diverges from its specification", answer=answer, ask=ask)
    if verdict.denial is None:
        raise GateMoved("The account's gate")
    return verdict


def denied(
    ask: Ask, facts: Facts, verdict: Verdict, decision_id: UUID | None = None
) -> GateDenied:
    """Return the refusal that tells a denial, and by which id it is explained."""
    if verdict.denial is None:
        raise AssertionError("an admission is no denial")
    refusal = GateDenied(verdict.denial, ask, facts)
    if decision_id is not None:
        refusal.meta["decision_id"] = str(decision_id)
    return refusal
