"""`/gate/commits`."""

from functools import partial
from typing import Annotated, Literal

from pydantic import Field

from config.api.envelope import Answer
from config.api.operations import Call, operation
from config.api.wire import (
    Code,
    Instant,
    JsonObject,
    Labels,
    Name,
    PosInt,
    Reference,
    UInt,
    WireModel,
    omitted,
)
from config.tenancy.models import Scope
from gating.api.authorize import lease_field, texts
from gating.api.context import GateView, answered
from gating.services.commits import CommitRequest, commit_as
from gating.services.usage import MeterUse

MAX_METERS = 100


class MeterCommit(WireModel):
    """A quantity used on one meter.

    `client_pricing_etag` is the price's fingerprint as `/gate/meters` showed it; a
    hint tells when it is no longer in force. `unit` is the caller's own note.
    """

    meter_code: Code
    quantity_minor: UInt
    unit: Name = omitted()
    client_pricing_etag: Name = omitted()

    def use(self) -> MeterUse:
        """Return what was used."""
        return MeterUse(
            meter_code=self.meter_code,
            quantity_minor=self.quantity_minor,
            unit=self.unit,
            client_pricing_etag=self.client_pricing_etag,
        )


class CommitBody(WireModel):
    """What was used under a lease.

    `quantity_minor` counts against quotas. Prices apply to `meters`, or to the
    quantity on the feature's primary meter where none are given. `as_of` is accepted
    and has no effect: prices are those in force at the commit.
    """

    lease: Reference = lease_field(required=True)
    feature_code: Code
    quantity_minor: PosInt
    meters: Annotated[list[MeterCommit], Field(max_length=MAX_METERS)] = omitted()
    labels: Labels = omitted()
    as_of: Instant = omitted()

    def request(self) -> CommitRequest:
        """Return what to commit."""
        return CommitRequest(
            reference=self.lease,
            feature_code=self.feature_code,
            quantity_minor=self.quantity_minor,
            meters=[meter.use() for meter in self.meters or ()],
            labels=texts(self.labels),
        )


class RatedLineOut(WireModel):
    """One meter's part of a commit, with the evidence of its price and cost."""

    line_id: str
    meter_code: str
    rating_status: Literal["priced", "missing_price"]
    quantity_minor: str
    amount_xusd: str
    cost_xusd: str
    pricing_fingerprint: str
    cost_fingerprint: str
    pricing_snapshot: JsonObject
    cost_snapshot: JsonObject
    rate_identity: str = omitted()
    unit_price_xusd: str = omitted()
    unit_quantity_minor: str = omitted()
    cost_rate_identity: str = omitted()
    unit_cost_xusd: str = omitted()
    cost_unit_quantity_minor: str = omitted()


class CommitOut(WireModel):
    """What a commit came to: the amounts applied, and its lines as rated in full.

    Where the lease names a budget, also what that consumed, and what is left below its
    limit: below 0 where it was passed, absent where there is none.
    """

    commit_id: str
    amount_xusd: str
    cost_xusd: str
    application_status: Literal["applied", "applied_clipped", "quarantined"]
    reason_codes: list[str]
    lines: list[RatedLineOut]
    budget_id: str = omitted()
    budget_consumed_delta_xusd: str = omitted()
    budget_remaining_xusd: str = omitted()


class CommitsView(GateView):
    """Usage of one authorized unit of work."""

    @operation(
        "gate_commit",
        body=CommitBody,
        answer=CommitOut,
        scope=Scope.RUNTIME,
        guard="domain",
    )
    def post(self, call: Call, body: CommitBody) -> Answer:
        """Rate, count and pay what was used, and close the lease."""
        verb = partial(
            commit_as,
            request=body.request(),
            idempotency_key=call.idempotency_key,
            by=call.by,
        )
        return answered(self.ask(call, verb))
