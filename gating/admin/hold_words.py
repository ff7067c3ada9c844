"""How a hold reads to people: its state, its caller, its end."""

from datetime import datetime
from typing import Any

from config.kernel.clock import now
from gating.lengths import age_text
from gating.models import Lease, LeaseState
from gating.selectors.orphans import orphaned

ACTIVE, OVERDUE, RELEASED = "Active", "Overdue", "Released"
STATE_COLORS = {
    ACTIVE: "success",
    OVERDUE: "danger",
    "Committed": "default",
    "Expired": "warning",
    RELEASED: "info",
}
_ENDS = {
    LeaseState.CLOSED: "Committed by its service",
    LeaseState.EXPIRED: "Expired: nobody committed it",
    LeaseState.CANCELED: "Released",
}
_SHOWN, _TRACE = 60, 8


def state_text(lease: Lease, at: datetime) -> str:
    """Return in one word how a lease stands at `at` (aware UTC)."""
    if lease.state == LeaseState.ACTIVE:
        return OVERDUE if lease.expires_at < at else ACTIVE
    if lease.state == LeaseState.CANCELED:
        return RELEASED
    return str(lease.get_state_display())


def expiry_text(lease: Lease, at: datetime) -> str:
    """Return how long a lease may still be committed: `in 3 hours`, `5 minutes ago`."""
    if lease.state != LeaseState.ACTIVE:
        return "Ended"
    if lease.expires_at < at:
        return f"{age_text(at - lease.expires_at)} ago"
    return f"in {age_text(lease.expires_at - at)}"


def labels_text(lease: Lease) -> str:
    """Return the labels of a lease in one line: `job: nightly, team: a`."""
    return ", ".join(f"{name}: {text}" for name, text in sorted(lease.labels.items()))


def caller_text(lease: Lease) -> str:
    """Return what tells a caller apart: its own reference, its labels, its trace id."""
    own = "" if lease.lease == f"lease.{lease.pk}" else lease.lease
    told = ", ".join(part for part in (own, labels_text(lease)) if part)
    if not told:
        return f"Trace {lease.trace_id[:_TRACE]}…"
    return told if len(told) <= _SHOWN else f"{told[: _SHOWN - 1]}…"


def orphan_text(lease: Any) -> str:
    """Return why a marked lease is an orphan, in sentences; else nothing."""
    return " ".join(found.sentence for found in orphaned(lease, now()))


def end_text(lease: Any) -> str:
    """Return how a lease read with `ended_by` ended, and why; nothing of a live one."""
    if lease.state == LeaseState.ACTIVE:
        return ""
    for end in lease.ended_by:
        how = end.get_kind_display()
        return f"{how} by {end.operator}: {end.reason} ({end.ticket_id})"
    return _ENDS[LeaseState(lease.state)]
