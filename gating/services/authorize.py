"""Asking the gate: authorize takes what it admits, preflight only says so."""

from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from billing.models import BillingAccount, BillingUser
from config.kernel.audit import AuditContext
from config.kernel.errors import Conflict
from config.kernel.windows import format_instant
from gating.decide import decide
from gating.facts import Ask
from gating.guards import reached
from gating.models import Lease
from gating.options import options
from gating.selectors.facts import Reading, one_snapshot, read_facts
from gating.services.admissions import (
    Admission,
    AuthorizeRequest,
    Taker,
    answer_of,
    stored_admission,
)
from gating.services.denials import GateDenied, record_denial
from gating.services.leases import expire_overdue
from gating.services.state import lock_gate
from gating.verdicts import Verdict
from grants.services.funding import FundingExhausted


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
    call = _Call(account, user, request, idempotency_key)
    try:
        outcome = call.attempt(at=at, by=by)
    except FundingExhausted:
        # The balance was taken from between reading and holding: judge what is left.
        outcome = call.attempt(at=at, by=by)
    reached("authorize.committed")
    if isinstance(outcome, Admission):
        return outcome
    reading, verdict = outcome
    record_denial(
        user=user, ask=request.ask, facts=reading.facts, verdict=verdict, by=by
    )
    raise denied(request.ask, reading, verdict)


@dataclass(frozen=True, slots=True)
class _Call:
    account: BillingAccount
    user: BillingUser
    request: AuthorizeRequest
    idempotency_key: str

    def attempt(
        self, *, at: datetime, by: AuditContext
    ) -> Admission | tuple[Reading, Verdict]:
        """Return the answer, or the denial with what it was decided on."""
        stored = self._stored()
        if stored is not None:
            return stored
        with transaction.atomic():
            lock_gate(self.account.realm_id, self.account.pk)
            # Whoever sent the same request first has ended by now.
            return self._stored() or self._decide(at=at, by=by)

    def _stored(self) -> Admission | None:
        return stored_admission(self.user, self.request, self.idempotency_key)

    def _decide(
        self, *, at: datetime, by: AuditContext
    ) -> Admission | tuple[Reading, Verdict]:
        account, user, request = self.account, self.user, self.request
        if request.reference is not None:
            _refuse_taken(user, request.reference)
        expire_overdue(account.realm_id, account.pk, at=at)
        reading = read_facts(account=account, user=user, ask=request.ask, at=at)
        verdict = decide(request.ask, reading.facts)
        reached("authorize.decided")
        if not verdict.allowed:
            return reading, verdict
        taker = Taker(account, user, request, self.idempotency_key, reading, verdict)
        return taker.take(at=at, by=by)


def preflight(
    *, account: BillingAccount, user: BillingUser, ask: Ask, at: datetime
) -> Admission:
    """Say what authorize would, of one instant, and write nothing.

    Refuses (`GateDenied`) with the denial that authorize would give.
    """
    with one_snapshot():
        reading = read_facts(
            account=account,
            user=user,
            ask=ask,
            at=at,
            overdue_before=at - options().lease_grace,
        )
    verdict = decide(ask, reading.facts)
    if not verdict.allowed:
        raise denied(ask, reading, verdict)
    return Admission(
        {"as_of": format_instant(at), **answer_of(reading, verdict)},
        list(verdict.hints),
    )


def denied(ask: Ask, reading: Reading, verdict: Verdict) -> GateDenied:
    """Return the refusal that tells a verdict's denial."""
    if verdict.denial is None:
        raise AssertionError("an admission is no denial")
    return GateDenied(verdict.denial, ask, reading.facts)


def _refuse_taken(user: BillingUser, reference: str) -> None:
    same = Lease.objects.in_realm(user.realm_id).filter(user=user, lease=reference)
    if same.exists():
        raise LeaseTaken(reference)
