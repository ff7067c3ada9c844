"""`/gate/authorize`, `/gate/preflight` and `/gate/cancel`."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from pydantic import AliasChoices, Field

from billing.api.context import RuntimeView
from config.api.envelope import Answer
from config.api.operations import Call, operation
from config.api.wire import Code, Instant, Labels, Reference, UInt, WireModel, omitted
from config.tenancy.models import Scope
from gating.api.context import GateView, answered
from gating.facts import Ask
from gating.services.admissions import AuthorizeRequest
from gating.services.authorize import authorize_as, preflight_as
from gating.services.leases import cancel_lease


def lease_field(*, required: bool) -> Any:
    """Return the field of a lease reference; `lease_token` is its older name."""
    names = AliasChoices("lease", "lease_token")
    if required:
        return Field(validation_alias=names)
    return Field(default=None, validation_alias=names)


def texts(labels: Mapping[str, Any] | None) -> dict[str, str]:
    """Return labels as the wire type left them: text by text, {} for none."""
    return {key: str(value) for key, value in (labels or {}).items()}


class PreflightBody(WireModel):
    """What a user is about to do."""

    feature_code: Code
    feature_family_code: Code = omitted()
    estimated_quantity_minor: UInt = omitted()
    budget: Reference = omitted()
    labels: Labels = omitted()

    def ask(self) -> Ask:
        """Return what the gate decides about."""
        return Ask(
            feature_code=self.feature_code,
            feature_family_code=self.feature_family_code,
            estimate_minor=self.estimated_quantity_minor,
            budget=self.budget,
        )


class AuthorizeBody(PreflightBody):
    """What a user is about to do, and the caller's own name for the lease."""

    lease: Reference | None = lease_field(required=False)

    def request(self) -> AuthorizeRequest:
        """Return what to authorize."""
        return AuthorizeRequest(self.ask(), self.lease, texts(self.labels))


class AuthorizeOut(WireModel):
    """Permission for one commit until `expires_at`.

    The window is that of the tightest quota. `decision_id` is what the decision is
    explained by.
    """

    lease: str
    decision_id: str
    feature_code: str
    feature_family_code: str
    window_start: Instant
    window_end: Instant
    expires_at: Instant
    budget_id: str = omitted()


class PreflightOut(WireModel):
    """What authorize would admit, judged at `as_of`."""

    as_of: Instant
    feature_code: str
    feature_family_code: str
    window_start: Instant
    window_end: Instant
    budget_id: str = omitted()


class CancelBody(WireModel):
    """The lease to give up."""

    lease: Reference = lease_field(required=True)


class CancelOut(WireModel):
    """Whether this call ended the lease, and the quantity it gave back."""

    cancelled: bool
    released_cap: UInt


class AuthorizeView(GateView):
    """Permission for one unit of work."""

    @operation(
        "gate_authorize",
        body=AuthorizeBody,
        answer=AuthorizeOut,
        scope=Scope.RUNTIME,
        guard="domain",
    )
    def post(self, call: Call, body: AuthorizeBody) -> Answer:
        """Admit one unit of work and hold what it may use."""
        verb = partial(
            authorize_as,
            request=body.request(),
            idempotency_key=call.idempotency_key,
            by=call.by,
        )
        return answered(self.ask(call, verb))


class PreflightView(GateView):
    """The answer that authorize would give."""

    @operation(
        "gate_preflight",
        body=PreflightBody,
        answer=PreflightOut,
        scope=Scope.RUNTIME,
        guard="nonce",
    )
    def post(self, call: Call, body: PreflightBody) -> Answer:
        """Say what authorize would, and write nothing."""
        verb = partial(preflight_as, ask=body.ask())
        return answered(self.ask(call, verb))


class CancelView(RuntimeView):
    """The end of an authorization that is not used."""

    @operation("gate_cancel", body=CancelBody, answer=CancelOut, scope=Scope.RUNTIME)
    def post(self, call: Call, body: CancelBody) -> Answer:
        """Give up a lease and what it holds; one already ended stays as it is."""
        end = cancel_lease(
            account=call.account,
            user=call.user,
            reference=body.lease,
            at=call.at,
            by=call.by,
        )
        return Answer(
            CancelOut(cancelled=end.canceled, released_cap=end.released_minor)
        )
