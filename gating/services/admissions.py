"""What an admission takes, stored with the answer that promises it."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from billing.models import BillingAccount, BillingUser
from config.kernel.audit import AuditContext
from config.kernel.errors import Conflict
from config.kernel.ids import new_id
from config.kernel.windows import format_instant
from gating.evidence import decision_document
from gating.facts import (
    Ask,
    CounterKey,
    FeatureFact,
    Hint,
    PolicyWindow,
    SeatWindow,
    least_limits,
)
from gating.guards import reached
from gating.models import Lease, Seat
from gating.options import options
from gating.selectors.facts import Reading
from gating.services.counters import count, hold, open_counter
from gating.verdicts import Verdict
from grants.services import funding


class KeyReused(Conflict):
    """The idempotency key stands for another request of the user (409)."""

    default_code = "WRITE.INVALID_PAYLOAD"

    def __init__(self) -> None:
        super().__init__(
            "idempotency conflict: this Idempotency-Key was used with another body.",
            field="Idempotency-Key",
            error_type="conflict",
        )


@dataclass(frozen=True, slots=True)
class AuthorizeRequest:
    """What authorize is asked: the decision's part, and what is only kept.

    `reference` is the caller's own name for the lease, None to have one made.
    """

    ask: Ask
    reference: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> bytes:
        """Return what makes two requests with one key the same request."""
        ask = self.ask
        return digest_of(
            [
                "authorize",
                self.reference,
                ask.feature_code,
                ask.feature_family_code,
                None if ask.estimate_minor is None else str(ask.estimate_minor),
                ask.budget,
                dict(self.labels),
            ]
        )


def digest_of(document: Any) -> bytes:
    """Return the SHA-256 of a JSON document, whatever the order of its keys."""
    return hashlib.sha256(orjson.dumps(document, option=orjson.OPT_SORT_KEYS)).digest()


@dataclass(frozen=True, slots=True)
class Admission:
    """An answer of the gate: `data` and `hints` of the envelope.

    `replayed` says that it was given before, to the same request with the same key.
    """

    data: Mapping[str, Any]
    hints: Sequence[Hint]
    replayed: bool = False


def stored_admission(
    user: BillingUser, request: AuthorizeRequest, idempotency_key: str
) -> Admission | None:
    """Return the answer already given for the key, None where there is none.

    Refuses the key with another body (`KeyReused`).
    """
    lease = (
        Lease.objects.in_realm(user.realm_id)
        .filter(user=user, idempotency_key=idempotency_key)
        .only("request_hash", "response")
        .first()
    )
    if lease is None:
        return None
    if bytes(lease.request_hash) != request.digest:
        raise KeyReused
    answer = lease.response
    return Admission(answer["data"], answer["hints"], replayed=True)


def admitted_under(
    reading: Reading, verdict: Verdict
) -> tuple[FeatureFact, PolicyWindow]:
    """Return the feature and the first quota window of an admission."""
    feature, window = reading.facts.feature, verdict.window
    if feature is None or window is None:
        raise AssertionError("an admission has a feature and a window")
    return feature, window


def answer_of(reading: Reading, verdict: Verdict) -> dict[str, Any]:
    """Return what authorize and preflight both answer to an admission."""
    feature, window = admitted_under(reading, verdict)
    return {
        "feature_code": feature.feature_code,
        "feature_family_code": feature.feature_family_code,
        "window_start": format_instant(window.counter.window_start),
        "window_end": format_instant(window.counter.window_end),
    }


@dataclass(frozen=True, slots=True)
class Taker:
    """Takes what a verdict admits, in the transaction that decided it."""

    account: BillingAccount
    user: BillingUser
    request: AuthorizeRequest
    idempotency_key: str
    reading: Reading
    verdict: Verdict

    def take(self, *, at: datetime, by: AuditContext) -> Admission:
        """Return the answer, once everything it promises is stored."""
        verdict, user = self.verdict, self.user
        held = hold(self.account, verdict.holds)
        count(self.account, verdict.increments)
        self._take_seats(verdict.seats, at=at)
        if verdict.wallet_xusd:
            balance = funding.lock_balance(user=user, at=at)
            funding.reserve(balance, amount_xusd=verdict.wallet_xusd, at=at)
        reached("authorize.held")
        lease = self._lease(held, at=at, by=by)
        lease.save(force_insert=True)
        reached("authorize.stored")
        answer = lease.response
        return Admission(answer["data"], answer["hints"])

    def _lease(
        self, held: Mapping[CounterKey, UUID], *, at: datetime, by: AuditContext
    ) -> Lease:
        request, verdict, facts = self.request, self.verdict, self.reading.facts
        feature, window = admitted_under(self.reading, verdict)
        lease_id, expires_at = new_id(), at + options().lease_ttl
        lease = Lease(
            id=lease_id,
            realm_id=self.user.realm_id,
            account=self.account,
            user=self.user,
            lease=request.reference or f"lease.{lease_id}",
            feature_code=feature.feature_code,
            feature_family_code=feature.feature_family_code,
            billing_mode=facts.funding.billing_mode,
            policy_id=window.policy_id,
            window_start=window.counter.window_start,
            window_end=window.counter.window_end,
            estimate_minor=request.ask.estimate_minor,
            cap_minor=verdict.cap_minor,
            counter_ids=list(held.values()),
            reserved_minor=max((h.quantity_minor for h in verdict.holds), default=0),
            reserved_xusd=verdict.wallet_xusd,
            zero_cost=self.reading.zero_cost,
            plan_assignment_id=self.reading.assignment_id,
            authorized_at=at,
            expires_at=expires_at,
            idempotency_key=self.idempotency_key,
            request_hash=request.digest,
            labels=dict(request.labels),
            trace_id=by.trace_id,
        )
        lease.windows = self._windows(held)
        lease.evidence = decision_document(request.ask, facts, verdict)
        lease.response = self._response(lease)
        return lease

    def _response(self, lease: Lease) -> dict[str, Any]:
        data = {
            "lease": lease.lease,
            **answer_of(self.reading, self.verdict),
            "expires_at": format_instant(lease.expires_at),
        }
        return {"data": data, "hints": [dict(hint) for hint in self.verdict.hints]}

    def _windows(self, held: Mapping[CounterKey, UUID]) -> list[dict[str, Any]]:
        """Return the quota counters that the commit will count on, as documents."""
        known = self.reading.counter_ids or {}
        return [
            {
                "counter_id": str(
                    held.get(key) or known.get(key) or open_counter(self.account, key)
                ),
                "limit": None if limit is None else str(limit),
                "held": key in held,
            }
            for key, limit in least_limits(self.reading.facts.quotas).items()
        ]

    def _take_seats(self, seats: Iterable[SeatWindow], *, at: datetime) -> None:
        rows = [
            Seat(
                realm_id=self.user.realm_id,
                account=self.account,
                user=self.user,
                scope_code=window.scope_code,
                key=window.key,
                window_start=window.window_start,
                window_end=window.window_end,
                taken_at=at,
            )
            for window in seats
        ]
        if rows:
            Seat.objects.bulk_create(rows, ignore_conflicts=True)
