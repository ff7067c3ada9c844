"""`/gate/ingest`."""

from functools import partial
from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from config.api.envelope import Answer
from config.api.operations import Call, operation
from config.api.wire import (
    Code,
    Instant,
    JsonObject,
    Labels,
    PosInt,
    Reference,
    WireModel,
    omitted,
)
from config.tenancy.models import Scope
from gating.api.authorize import texts
from gating.api.commits import MAX_METERS, CommitOut, MeterCommit
from gating.api.context import GateView, answered
from gating.services.ingest import ingest_as
from gating.services.ingest_requests import IngestRequest

EITHER: JsonDict = {
    "anyOf": [{"required": ["quantity_minor"]}, {"required": ["meters"]}]
}


class IngestBody(WireModel):
    """What was used without a lease: a quantity, or quantities of meters, or both.

    `occurred_at` is when; left out, it is now. Access, prices and payment are those of
    that instant.
    """

    model_config = ConfigDict(json_schema_extra=EITHER)

    feature_code: Code
    occurred_at: Instant = omitted()
    quantity_minor: PosInt = omitted()
    meters: Annotated[list[MeterCommit], Field(min_length=1, max_length=MAX_METERS)] = (
        omitted()
    )
    budget: Reference = omitted()
    labels: Labels = omitted()
    metadata: JsonObject = omitted()

    def request(self) -> IngestRequest:
        """Return what to ingest. Refuses (`Invalid`) usage of nothing."""
        return IngestRequest(
            feature_code=self.feature_code,
            quantity_minor=self.quantity_minor,
            meters=[meter.use() for meter in self.meters or ()],
            occurred_at=self.occurred_at,
            budget=self.budget,
            labels=texts(self.labels),
            metadata=self.metadata or {},
        )


class IngestView(GateView):
    """Usage that was not authorized before."""

    @operation(
        "gate_ingest",
        body=IngestBody,
        answer=CommitOut,
        scope=Scope.RUNTIME,
        guard="domain",
    )
    def post(self, call: Call, body: IngestBody) -> Answer:
        """Rate and pay usage that occurred without a lease; no quota counts it."""
        verb = partial(
            ingest_as,
            request=body.request(),
            idempotency_key=call.idempotency_key,
            by=call.by,
        )
        return answered(self.ask(call, verb))
