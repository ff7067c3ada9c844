"""The form of a button: its own questions, then why."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

from django import forms
from django.http import HttpRequest

from config.admin.audit import DESCRIPTION, NAMES, TITLE, audit_context, audit_fields
from config.admin.widgets import dress
from config.kernel.audit import AuditContext


class CommandForm(forms.Form):
    """The form of a command: its own fields, then reason, ticket and effective time.

    Attributes:
        subject: the row the button was pressed on, None for a button of the list.
        at: the instant the request was read (aware UTC).
        fieldsets: how the own fields are grouped, as in an admin; None is one group.

    """

    fieldsets: ClassVar[Sequence[tuple[str | None, dict[str, Any]]] | None] = None

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
        own = [name for name in self.fields if name not in NAMES]
        groups = list(self.fieldsets or ([(None, {"fields": own})] if own else []))
        placed = {name for _title, options in groups for name in options["fields"]}
        why = tuple(name for name in NAMES if name not in placed)
        return [*groups, (TITLE, {"fields": why, "description": DESCRIPTION})]
