"""When, and on whose behalf, rows are made that outlive one test."""

from datetime import UTC, datetime

from config.kernel.audit import Actor, AuditContext

AT = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)
BY = AuditContext(
    actor=Actor("user", "ada"),
    operator="ada@example.com",
    reason="asked for in the ticket",
    ticket_id="T-1001",
    effective_at=AT,
    trace_id="0" * 32,
)
