"""Asking the gate: authorize takes what it admits, preflight only says so."""

from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

import structlog

from billing.models import BillingAccount, BillingUser
from config.kernel.audit import AuditContext
from config.kernel.errors import Conflict
from config.kernel.ids import new_id
from config.kernel.windows import format_instant
from gating.answers import Admission
from gating.decide import decide
from gating.facts import Ask, Facts
from gating.services.admissions import (
    AuthorizeRequest,
    Decision,
    KeyReused,
    admitted,
    replayed,
)
from gating.services.coalescing import authorize_together
from gating.services.denials import GateDenied, record_denial
from gating.services.functions import (
    Document,
    GateMoved,
    gate_authorize,
    gate_preflight,
)
from gating.services.subjects import Subject

log = structlog.get_logger("plangate.gate")

TRIES = 3
"""How often a projection that went stale meanwhile is resolved again."""


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
    function = authorize_together if subject.together else gate_authorize
    answer = _asked(subject, request.ask, asked, function, at=at)
    at = answer.get("sent_at", at) if answer else at
    return settled(answer, subject, request, str(asked["id"]), at=at, by=by)


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
    if answer is not None and outcome == "replayed":
        return replayed(answer, request)
    if answer is not None and outcome == "admitted":
        return admitted(answer, request, lease_id, at=at)
    facts = Decision.told(answer).facts(at) if answer else Facts(at)
    denial = denied(request.ask, facts, answer)
    if answer is None:
        account, user = subject.bind()
        whose = account.pk, user.pk
    else:
        whose = UUID(answer["account"]), UUID(answer["user"])
    decision_id = record_denial(
        subject.realm_id, *whose, ask=request.ask, facts=facts, trace_id=by.trace_id
    )
    denial.meta["decision_id"] = str(decision_id)
    raise denial


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
    answer = _asked(subject, ask, asked, gate_preflight, at=at)
    if answer is None:
        raise denied(ask, Facts(at), None)
    decision = Decision.told(answer)
    if answer["o"] != "admitted":
        raise denied(ask, decision.facts(at), answer)
    data, hints = decision.admission(ask, at=at, before={"as_of": format_instant(at)})
    return Admission(data, hints)


def _asked(
    subject: Subject,
    ask: Ask,
    asked: Document,
    function: Callable[..., Sequence[Document]],
    *,
    at: datetime,
) -> Document | None:
    """Return the function's answer; None where the realm has no such feature."""
    for _ in range(TRIES):
        item = subject.item(ask.feature_code) | asked
        (answer,) = function([item], at=at, version=subject.version)
        if answer["o"] != "stale":
            return answer
        if not subject.project(ask.feature_code, at=at):
            return None
    raise GateMoved("What governs the account")


def denied(ask: Ask, facts: Facts, answer: Document | None) -> GateDenied:
    """Return the refusal that tells a denial, in the words of the specification."""
    verdict = decide(ask, facts)
    if verdict.denial is None or (
        answer is not None and verdict.denial.reason != answer["reason"]
    ):
        log.critical("gate diverges from its specification", answer=answer, ask=ask)
    if verdict.denial is None:
        raise GateMoved("The account's gate")
    return GateDenied(verdict.denial, ask, facts)
