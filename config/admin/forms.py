"""The form of a button: its own questions, then why."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

from django import forms
from django.http import HttpRequest

from config.admin.audit import (
    DESCRIPTION,
    EFFECTIVE,
    NAMES,
    TITLE,
    audit_context,
    audit_fields,
    effective_field,
)
from config.admin.widgets import dress
from config.kernel.audit import AuditContext


class CommandForm(forms.Form):
    """The form of a command: its own fields, then reason and ticket.

    What it does holds as soon as it is sent; see `TimedForm` for what may hold from
    another instant.

    Attributes:
        subject: the row the button was pressed on, None for a button of the list.
        at: the instant the request was read (aware UTC).
        fieldsets: how the own fields are grouped, as in an admin; None is one group.
        shown_by: which field shows what the verb calls otherwise, so that a refusal
            of `end_at` stands beside the field that was read as it.

    """

    fieldsets: ClassVar[Sequence[tuple[str | None, dict[str, Any]]] | None] = None
    shown_by: ClassVar[Mapping[str, str]] = {}

    def __init__(
        self, *args: Any, subject: Any = None, at: datetime, **options: Any
    ) -> None:
        super().__init__(*args, **options)
        self.subject = subject
        self.at = at
        self.fields.update(audit_fields())
        dress(self)

    def audit(self, request: HttpRequest) -> AuditContext:
        """Return who acts and why, from the valid form."""
        return audit_context(request, self.cleaned_data, at=self.at)

    def grouped(self) -> list[tuple[str | None, dict[str, Any]]]:
        """Return the fieldsets, last the questions why that none of them placed."""
        asked = [name for name in (*NAMES, EFFECTIVE) if name in self.fields]
        own = [
            name
            for name, field in self.fields.items()
            if name not in asked and not field.widget.is_hidden
        ]
        groups = list(self.fieldsets or ([(None, {"fields": own})] if own else []))
        placed = {name for _title, options in groups for name in options["fields"]}
        why = tuple(name for name in asked if name not in placed)
        return [*groups, (TITLE, {"fields": why, "description": DESCRIPTION})]


def said_once(form: forms.Form, name: str, tick: str, sentence: str) -> dict[str, Any]:
    """Return a form's answers; refuse neither a field nor its tick, and both.

    The tick says what an empty box could be a slip for: no end, no limit.
    """
    answers = form.cleaned_data
    if name not in form.errors and (answers.get(name) is not None) == answers[tick]:
        form.add_error(name, sentence)
    return answers


class TimedForm(CommandForm):
    """The form of a command that may hold from another instant than now."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields[EFFECTIVE] = effective_field()
        dress(self)
