"""Who changes something, why, under which ticket, and effective when."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from config.kernel.errors import Invalid

ActorKind = Literal["user", "service_key", "provider_event", "job", "system"]


MOST_AHEAD = timedelta(minutes=5)
"""How far a caller's clock may run ahead of ours."""


class NotYetEffective(Invalid):
    """A change that holds at once is said to hold only later (422)."""

    default_code = "AUDIT.EFFECTIVE_IN_FUTURE"


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

    def require_in_effect(self, at: datetime, sentence: str = "") -> None:
        """Refuse (`NotYetEffective` on `audit.effective_at`) a change meant for later.

        For changes that hold at once, at `at` (aware UTC): recorded as holding from
        later on, history would be false. A clock ahead by `MOST_AHEAD` passes.
        `sentence` says what holds at once, where more can be said.
        """
        if self.effective_at > at + MOST_AHEAD:
            raise NotYetEffective(
                sentence
                or "This change takes effect at once; its effective time cannot lie in "
                "the future.",
                field="audit.effective_at",
            )
