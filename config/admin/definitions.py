"""Screens of definitions: ordinary forms that also ask why."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

from django import forms
from django.contrib import messages
from django.contrib.admin.utils import flatten_fieldsets, unquote
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError, models
from django.db.models import ProtectedError, RestrictedError
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from unfold.enums import ActionVariant

from config.admin.audit import DESCRIPTION, NAMES, TITLE, audit_context, audit_fields
from config.admin.commands import Command, Done, Pressed
from config.admin.forms import CommandForm
from config.admin.history import is_audited
from config.admin.refusals import add_refusal, as_refusal, check_now
from config.admin.screens import Fieldsets, PlangateAdmin
from config.admin.versions import last_version, refuse_stale
from config.admin.widgets import dress
from config.kernel.audit import AuditContext
from config.kernel.clock import now
from config.kernel.errors import DomainError, Refused
from config.tenancy.history import auditing

PREFIX = "audit_"
"""Begins the names of the questions why, which a model's own fields may share."""

QUESTIONS = tuple(f"{PREFIX}{name}" for name in NAMES)
SEEN = "seen_version"
"""The hidden field that says which version of the row the page was made from."""

_ADDED = frozenset({*QUESTIONS, SEEN})
"""What the form asks or carries beside the row's own fields."""


class InUse(Refused):
    """A definition that something refers to is not deleted (409)."""

    status = 409
    default_code = "CONFLICT"


class DefinitionForm(forms.BaseForm):
    """What every definition's form gets: the questions why, and the theme's widgets."""

    refusal: ClassVar[DomainError | None] = None

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        row: Any = getattr(self, "instance", None)
        if row is not None and row.pk and is_audited(type(row)):
            self.initial[SEEN] = last_version(row)
        dress(self)

    def clean(self) -> Any:
        """Show what the verb or the database refused, when this is the second pass."""
        cleaned = super().clean()
        if self.refusal is not None:
            add_refusal(self, self.refusal)
        return cleaned


class DefinitionAdmin(PlangateAdmin):
    """A form over one row, saved with a reason and a ticket.

    Override `save_definition` where a verb does the writing. A form is made from one
    version of its row: it is refused when somebody else changed the row since.

    Attributes:
        code_fields: fields that others refer to by value; fixed after creation, as
            the realm is.
        deletable: whether what nothing refers to may be deleted, by those who have
            the permission.

    """

    change_form_after_template: Any = "admin/plangate/seen.html"
    code_fields: ClassVar[Sequence[str]] = ()
    deletable: ClassVar[bool] = False

    def save_definition(
        self, obj: Any, form: Any, *, change: bool, at: datetime, by: AuditContext
    ) -> Any:
        """Write the row and return it.

        Runs in the page's transaction. `obj` carries the form's values; what this
        refuses (`DomainError`, a violated constraint) is shown on the form and
        nothing is kept.
        """
        if any(field.name == "updated_at" for field in self.opts.concrete_fields):
            obj.updated_at = at
        with auditing(by, at=at):
            obj.save(force_insert=not change)
        return obj

    def delete_definition(self, obj: Any, *, at: datetime, by: AuditContext) -> None:
        """Delete the row. Refuses (`InUse`) one that something refers to."""
        try:
            with auditing(by, at=at):
                obj.delete()
        except (ProtectedError, RestrictedError) as error:
            raise InUse(_in_use(obj, error)) from None

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return the read-only fields; code and realm join them after creation."""
        fixed = super().get_readonly_fields(request, obj)
        if obj is None:
            return fixed
        own = {field.name for field in self.opts.concrete_fields}
        names = [name for name in ("realm", *self.code_fields) if name in own]
        return [*fixed, *(name for name in names if name not in fixed)]

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Fieldsets:
        """Return the groups of the page, the question why last on a form."""
        groups = [
            (title, {**options, "fields": _without_questions(options["fields"])})
            for title, options in super().get_fieldsets(request, obj)
        ]
        if self.can_edit(request, obj):
            why = {"fields": QUESTIONS, "description": DESCRIPTION}
            groups.append((TITLE, why))
        return groups

    def get_form(
        self,
        request: HttpRequest,
        obj: Any = None,
        change: bool = False,
        **options: Any,
    ) -> Any:
        """Return the form class, with the questions why."""
        if "fields" not in options:
            groups: Any = self.get_fieldsets(request, obj)
            options["fields"] = flatten_fieldsets(groups)
        if options["fields"] is not None:
            options["fields"] = _without_questions(options["fields"])
        form = super().get_form(request, obj, change, **options)
        seen = forms.IntegerField(required=False, widget=forms.HiddenInput)
        extra = {
            "refusal": getattr(request, "refusal", None),
            **audit_fields(PREFIX),
            SEEN: seen,
        }
        return type(form)(form.__name__, (DefinitionForm, form), extra)

    def changeform_view(
        self,
        request: Any,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show or save the form; what saving refuses is shown on the form.

        The refusal leaves the framework's transaction as an exception, so that
        nothing is kept and nobody is told of a success, and the form is validated
        again with it.
        """
        page = (object_id, form_url, extra_context)
        try:
            answer: HttpResponse = super().changeform_view(request, *page)
        except (DomainError, DatabaseError) as error:
            request.refusal = as_refusal(error)
            if request.refusal is None:
                raise
            answer = super().changeform_view(request, *page)
        return answer

    def save_model(self, request: Any, obj: Any, form: Any, change: bool) -> None:
        """Write the row, explained by the form's answers."""
        at, by = self._explained(request, form)
        saved = self.save_definition(obj, form, change=change, at=at, by=by)
        # After the verb, which holds the row's lock from when it changed it.
        if change and is_audited(self.model):
            refuse_stale(saved, form.cleaned_data.get(SEEN), by=by)
        if saved is not obj:
            # The framework goes on with its own object: messages, links, its log.
            obj.__dict__.update(saved.__dict__)

    def save_related(
        self, request: Any, form: Any, formsets: Any, change: bool
    ) -> None:
        """Write what belongs to the row, under the same explanation, and check it."""
        at, by = self._explained(request, form)
        with auditing(by, at=at):
            super().save_related(request, form, formsets, change)
        check_now()
        for sentence in getattr(form, "near_misses", ()):
            messages.warning(request, sentence)

    def construct_change_message(
        self, request: Any, form: Any, formsets: Any, add: bool = False
    ) -> Any:
        """Return the framework's log text, and note whether anything changed."""
        answered = set(form.changed_data) - _ADDED
        request.nothing_changed = not (
            add or answered or any(formset.has_changed() for formset in formsets)
        )
        return super().construct_change_message(request, form, formsets, add)

    def response_change(self, request: Any, obj: Any) -> HttpResponse:
        """Answer a saved form; say so when every field already had its value."""
        if not request.nothing_changed:
            answer: HttpResponse = super().response_change(request, obj)
            return answer
        messages.info(request, f"Nothing to change: {obj} already is as you left it.")
        away: HttpResponse = self.response_post_save_change(request, obj)
        return away

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return whether this definition may be deleted while nothing refers to it."""
        return self.deletable and bool(super().has_delete_permission(request, obj))

    def delete_view(
        self, request: Any, object_id: str, extra_context: Any = None
    ) -> HttpResponseBase:
        """Ask why, then delete."""
        row = self.get_object(request, unquote(object_id))
        if not self.has_delete_permission(request, row):
            raise PermissionDenied
        spec = Command(
            label=f"Delete {self.opts.verbose_name}",
            permission=f"{self.opts.app_label}.delete_{self.opts.model_name}",
            form=CommandForm,
            variant=ActionVariant.DANGER,
            description="Possible only while nothing refers to it. The history stays.",
        )
        return Pressed(self, request, spec, _delete, object_id).respond()

    def _explained(self, request: Any, form: Any) -> tuple[datetime, AuditContext]:
        """Return when and why this form is saved: the same for all that it writes."""
        if not hasattr(form, "explained"):
            at = now()
            by = audit_context(request, form.cleaned_data, at=at, prefix=PREFIX)
            form.explained = (at, by)
        explained: tuple[datetime, AuditContext] = form.explained
        return explained


def _delete(
    screen: DefinitionAdmin,
    _request: Any,
    obj: Any,
    _form: Any,
    *,
    at: datetime,
    by: AuditContext,
) -> Done:
    name = str(obj)
    screen.delete_definition(obj, at=at, by=by)
    verbose = str(screen.opts.verbose_name).capitalize()
    return Done(f"{verbose} {name} was deleted.", goto=screen.address_of(None))


def _without_questions(names: Sequence[Any]) -> list[Any]:
    return [name for name in names if name not in _ADDED]


def _in_use(obj: models.Model, error: ProtectedError | RestrictedError) -> str:
    users: Any = (
        error.protected_objects
        if isinstance(error, ProtectedError)
        else error.restricted_objects
    )
    counts = Counter(type(user)._meta for user in users)
    listed = ", ".join(
        f"{count} {opts.verbose_name if count == 1 else opts.verbose_name_plural}"
        for opts, count in counts.items()
    )
    return f"{obj} stays, because it is in use by {listed}."
