"""The question every change in the admin answers: who, why, which ticket."""

from datetime import datetime
from typing import Any

from django import forms
from django.http import HttpRequest

from config.admin.fields import UtcDateTimeField
from config.kernel.audit import Actor, AuditContext

REASON = "reason"
TICKET = "ticket_id"
EFFECTIVE = "effective_at"
NAMES = (REASON, TICKET)

TITLE = "Why this change"
DESCRIPTION = "Kept in the history of what you change, together with your name."


def audit_fields(prefix: str = "") -> dict[str, forms.Field]:
    """Return the two fields, each named `prefix` plus its name."""
    return {
        f"{prefix}{REASON}": forms.CharField(
            label="Reason",
            max_length=1000,
            help_text="Why, in a sentence that still makes sense in a year.",
        ),
        f"{prefix}{TICKET}": forms.CharField(
            label="Ticket",
            max_length=255,
            help_text="The case, ticket or contract that justifies it, like SUP-1234.",
        ),
    }


def effective_field() -> forms.Field:
    """Return the field that says from when a change holds, where that can be chosen."""
    return UtcDateTimeField(
        label="Effective from",
        required=False,
        help_text="Since when it is meant to hold, in UTC. Empty means now.",
    )


def audit_context(
    request: HttpRequest, answers: dict[str, Any], *, at: datetime, prefix: str = ""
) -> AuditContext:
    """Return who changes something and why.

    `answers` is the cleaned data of a form with `audit_fields(prefix)`; `at` (aware
    UTC) is the effective instant where the form names none.
    """
    username = request.user.get_username()
    return AuditContext(
        actor=Actor("user", username),
        operator=username,
        reason=answers[f"{prefix}{REASON}"],
        ticket_id=answers[f"{prefix}{TICKET}"],
        effective_at=answers.get(f"{prefix}{EFFECTIVE}") or at,
        trace_id=request.trace_id,  # type: ignore[attr-defined]
    )
