"""What ingest is asked: usage, and the instant at which it occurred."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from config.kernel.audit import MOST_AHEAD, AuditContext
from config.kernel.errors import Invalid
from config.kernel.ids import new_id
from config.kernel.metadata.document import check_document
from config.kernel.money import check_int64
from config.kernel.windows import format_instant
from gating.facts import Ask
from gating.ingestion import default_meter
from gating.options import options
from gating.rules import Rules
from gating.services.admissions import digest_of
from gating.services.functions import Document
from gating.services.usage import MeterUse

OPERATION = "ingest"
OWN_KEY = "ingest"
"""The key in a rating's metadata that is ours, beside the caller's."""


class OccurredInFuture(Invalid):
    """Usage is reported once it has occurred (422)."""

    default_code = "INGEST.OCCURRED_IN_FUTURE"


class OccurredTooEarly(Invalid):
    """Usage of so long ago is not taken (422)."""

    default_code = "INGEST.OCCURRED_TOO_EARLY"


@dataclass(frozen=True, slots=True)
class IngestRequest:
    """Usage of a feature: a quantity, or quantities of meters, or both.

    Without `meters` the feature's meter counts the quantity (`default_meter`); with
    them, they alone are priced, and their sum stands for an absent quantity.
    `occurred_at` None is now. Refuses (`Invalid`) neither of the two, a sum of 0 or
    beyond 64 bits, and metadata outside its limits or with our own key.
    """

    feature_code: str
    quantity_minor: int | None = None
    meters: Sequence[MeterUse] = ()
    occurred_at: datetime | None = None
    budget: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.quantity_minor is None and not self.meters:
            raise Invalid(
                "Say what was used: quantity_minor, meters, or both.",
                field="quantity_minor",
            )
        if check_int64(self.quantity, "quantity_minor") < 1:
            raise Invalid("The quantities add up to 0.", field="meters")
        check_document(dict(self.metadata), "metadata")
        if OWN_KEY in self.metadata:
            raise Invalid(
                f"metadata.{OWN_KEY} is kept for the server.",
                field=f"metadata.{OWN_KEY}",
            )

    @property
    def quantity(self) -> int:
        """Return the quantity of the whole."""
        if self.quantity_minor is not None:
            return self.quantity_minor
        return sum(use.quantity_minor for use in self.meters)

    @property
    def ask(self) -> Ask:
        """Return what is judged."""
        return Ask(self.feature_code, budget=self.budget)

    def uses(self, rules: Rules) -> Sequence[MeterUse]:
        """Return what to rate under the rules."""
        return self.meters or (MeterUse(default_meter(rules), self.quantity),)

    @property
    def digest(self) -> bytes:
        """Return what makes two requests with one key the same request."""
        said, quantity = self.occurred_at, self.quantity_minor
        return digest_of(
            [
                OPERATION,
                self.feature_code,
                None if quantity is None else str(quantity),
                [use.document for use in self.meters],
                None if said is None else format_instant(said),
                self.budget,
                dict(self.labels),
                dict(self.metadata),
            ]
        )

    def check_occurred(self, at: datetime) -> None:
        """Refuse an instant that has not come at `at`, and one of too long ago.

        A clock ahead by no more than `MOST_AHEAD` passes.
        """
        said, longest = self.occurred_at, options().ingest_age
        if said is None:
            return
        if said > at + MOST_AHEAD:
            raise OccurredInFuture(
                f"occurred_at {format_instant(said)} has not come yet: it is "
                f"{format_instant(at)}.",
                field="occurred_at",
            )
        if said < at - longest:
            raise OccurredTooEarly(
                f"occurred_at {format_instant(said)} is too long ago: usage of the "
                f"last {longest.days:,} days is taken.",
                field="occurred_at",
            )


@dataclass(frozen=True, slots=True)
class Ingesting:
    """A request on its way: under which key, when it came, and from whom."""

    request: IngestRequest
    idempotency_key: str
    at: datetime
    by: AuditContext
    rating_id: UUID = field(default_factory=new_id)

    @property
    def occurred_at(self) -> datetime:
        """Return the instant at which everything is judged; never one to come."""
        return min(self.request.occurred_at or self.at, self.at)

    @property
    def why(self) -> dict[str, Any]:
        """Return by what it registers what the catalog lacks."""
        return {"source": OPERATION, "at": self.at, "by": self.by}

    @property
    def item(self) -> Document:
        """Return it as the gate's function takes it, without its subject."""
        return {
            "operation": OPERATION,
            "key": self.idempotency_key,
            "hash": self.request.digest.hex(),
            "budget": self.request.budget,
            "occurred": format_instant(self.occurred_at),
        }

    @property
    def metadata(self) -> Document:
        """Return what its rating keeps: the caller's metadata, and where E is from.

        More than `MOST_AHEAD` after it occurred, usage was handed in later: a backfill.
        """
        own = {
            "occurred_at_source": "caller" if self.request.occurred_at else "server",
            "backfill": self.at - self.occurred_at > MOST_AHEAD,
            "received_at": format_instant(self.at),
        }
        return {**self.request.metadata, OWN_KEY: own}
