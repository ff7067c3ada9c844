"""Who changes something, why, under which ticket, and effective when."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

ActorKind = Literal["user", "service_key", "provider_event", "job", "system"]


@dataclass(frozen=True, slots=True)
class Actor:
    """The identity that performs a write.

    `kind` says what sort of identity it is; `identifier` is its stable id (staff
    username, service key id, job name, provider event id).
    """

    kind: ActorKind
    identifier: str


@dataclass(frozen=True, slots=True)
class AuditContext:
    """What every audited write must state (first seed: "Keep changes auditable").

    Attributes:
        actor: the authenticated identity.
        operator: the person or system on whose behalf it acts, as they call it.
        reason: why, in words.
        ticket_id: the case, ticket or contract that justifies it.
        effective_at: aware UTC instant from which the change is meant to hold.
        trace_id: 32 hex digits linking request, rows and deliveries.
        idempotency_key: the caller's key of the write, or None.

    """

    actor: Actor
    operator: str
    reason: str
    ticket_id: str
    effective_at: datetime
    trace_id: str
    idempotency_key: str | None = None

    def effective(self, at: datetime) -> "AuditContext":
        """Return the same context with another effective instant (aware UTC)."""
        return replace(self, effective_at=at)
