"""What every screen of ours has in common."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from django.contrib.admin.utils import quote, unquote
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import PermissionDenied
from django.db import models
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from config.admin.commands import Command
from config.admin.export import ExportableAdmin
from config.admin.fields import JsonField, LinesField
from config.admin.history import history_page, is_audited
from config.admin.navigation import Menu
from config.admin.untyped import ThemedAdmin
from config.admin.widgets import JsonWidget

SHOWN = "shown_"
"""Begins the name of the read-only display of a JSON field."""

_LOOKUP = re.compile(
    r"(?P<name>\w+?)(__(id__|realm_id__)?(exact|in|isnull|gte?|lte?)|_(from|to)(_[01])?)"
)
"""How the filters of a list spell what they ask in an address."""

Fieldsets = list[tuple[str | None, dict[str, Any]]]


class PlangateAdmin(ExportableAdmin, ThemedAdmin):  # type: ignore[misc]
    """Buttons, history, export, search, and a place in the menu.

    Attributes:
        menu: the place in the sidebar; None keeps the model out of it.
        searched: whether the search over everything looks here too.
        changes_lately: whether the first page tells what changed here; not where jobs
            change more than people do.
        prose_fields: text fields that hold several lines.
        empty_message: what to say while the table is empty.
        viewed_as: what stands in place of a form's field, or row of fields, on a page
            that only shows: the name of a display, or nothing ("").
        list_select_related: the foreign keys that rows show or are named by; read
            with the rows on every page, so that no name costs a query of its own.

    """

    menu: ClassVar[Menu | None] = None
    searched: ClassVar[bool] = True
    changes_lately: ClassVar[bool] = True
    prose_fields: ClassVar[Sequence[str]] = ()
    empty_message: ClassVar[str] = ""
    viewed_as: ClassVar[Mapping[str | tuple[str, ...], str]] = {}

    list_per_page = 50
    list_select_related: Sequence[str] = ()
    # The total beside a filtered count would cost a count of the whole table.
    show_full_result_count = False
    list_filter_submit = True
    actions_list: Sequence[Any] = ()
    actions_detail: Sequence[Any] = ()
    formfield_overrides: Mapping[type[Any], Mapping[str, Any]] = {
        models.TextField: {"widget": UnfoldAdminTextInputWidget},
        models.JSONField: {"form_class": JsonField, "widget": JsonWidget},
        ArrayField: {"form_class": LinesField},
    }

    def __init__(self, model: type[models.Model], admin_site: Any) -> None:
        self.commands = buttons = _commands(type(self))
        on_list = [name for name, spec in buttons.items() if spec.on_list]
        on_row = [name for name, spec in buttons.items() if not spec.on_list]
        self.actions_list = (*self.actions_list, *on_list)
        self.actions_detail = (*self.actions_detail, *on_row)
        for field in model._meta.concrete_fields:
            if isinstance(field, models.JSONField):
                setattr(self, f"{SHOWN}{field.name}", _json_display(field))
        super().__init__(model, admin_site)

    def address_of(self, subject: models.Model | None) -> str:
        """Return the page of a row, or of the list for None."""
        view = "changelist" if subject is None else "change"
        return reverse(
            f"{self.admin_site.name}:{self.opts.app_label}_{self.opts.model_name}_{view}",
            args=[] if subject is None else [quote(subject.pk)],
        )

    @property
    def title(self) -> str:
        """Return what the list is called, in the sidebar and above the list."""
        label = self.menu.label if self.menu else ""
        return label or capfirst(str(self.opts.verbose_name_plural))

    @property
    def keeps_history(self) -> bool:
        """Return whether a row has a history to show."""
        return is_audited(self.model)

    def lookup_allowed(
        self, lookup: str, value: str, request: HttpRequest | None = None
    ) -> bool:
        """Return whether an address may narrow the list by this.

        By its own filters, and by what its rows point to. Anything else would let a
        viewer probe columns that the screen does not show.
        """
        named = self.list_filter if request is None else self.get_list_filter(request)
        names = {_filtered_by(item) for item in named}
        names.update(
            field.name
            for field in self.opts.concrete_fields
            if isinstance(field, models.ForeignKey)
        )
        return lookup in names or bool(
            (found := _LOOKUP.fullmatch(lookup)) and found["name"] in names
        )

    def with_related(self, rows: models.QuerySet[Any]) -> models.QuerySet[Any]:
        """Return rows read together with what their names are made of."""
        related = self.list_select_related
        return rows.select_related(*related) if related else rows

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Any]:
        """Return the rows of this screen, with what their names are made of."""
        return self.with_related(super().get_queryset(request))

    def changelist_view(
        self, request: Any, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the list, under its name."""
        page: HttpResponse = super().changelist_view(
            request, {"title": self.title, **(extra_context or {})}
        )
        return page

    def changeform_view(
        self,
        request: Any,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show the page of a row, with the way to its history where there is one."""
        extra = {"show_history": self.keeps_history, **(extra_context or {})}
        page: HttpResponse = super().changeform_view(
            request, object_id, form_url, extra
        )
        return page

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Return the bulk actions; deleting in bulk would leave no reason."""
        actions: dict[str, Any] = super().get_actions(request)
        actions.pop("delete_selected", None)
        return actions

    def get_actions_list(self, request: HttpRequest) -> list[Any]:
        """Return the buttons above the list that this member of staff may press."""
        return _pressable(super().get_actions_list(request), request)

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        """Return the buttons of a row, less those that its state does not allow."""
        actions = _pressable(super().get_actions_detail(request, object_id), request)
        asked = {
            action.action_name: spec.available
            for action in actions
            if (spec := getattr(action.method, "command", None)) and spec.available
        }
        if not asked:
            return actions
        row = self.get_object(request, unquote(object_id))
        return [
            action
            for action in actions
            if action.action_name not in asked
            or (row is not None and asked[action.action_name](row))
        ]

    def formfield_for_dbfield(
        self, db_field: Any, request: HttpRequest, **options: Any
    ) -> Any:
        """Return the form field; several lines for what is called prose."""
        if db_field.name in self.prose_fields:
            options.setdefault("widget", UnfoldAdminTextareaWidget({"rows": 4}))
        return super().formfield_for_dbfield(db_field, request, **options)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Sequence[Any]:
        """Return the fields of the page: all that are stored, where none are named."""
        if self.fields or self.can_edit(request, obj):
            named: Sequence[Any] = super().get_fields(request, obj)
            return named
        return [
            field.name
            for field in self.opts.concrete_fields
            if not isinstance(field, models.BinaryField)
        ]

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Fieldsets:
        """Return the groups of the page; a view shows what is stored only."""
        groups: Fieldsets = list(super().get_fieldsets(request, obj))
        if self.can_edit(request, obj):
            return groups
        return [
            (title, {**options, "fields": self._viewed(options["fields"])})
            for title, options in groups
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return the read-only fields, JSON ones as they are displayed."""
        return self._viewed(super().get_readonly_fields(request, obj))

    def can_edit(self, request: HttpRequest, obj: Any) -> bool:
        """Return whether the page is a form for this member of staff."""
        may = self.has_add_permission if obj is None else self.has_change_permission
        return bool(may(request) if obj is None else may(request, obj))

    def history_view(
        self, request: Any, object_id: str, extra_context: Any = None
    ) -> HttpResponse:
        """Show who changed the row, when and why; also of a row that is gone.

        404 for rows that keep none: records that are their own history.
        """
        if not self.keeps_history:
            raise Http404
        if not is_audited(self.model):
            page: HttpResponse = super().history_view(request, object_id, extra_context)
            return page
        if not self.has_view_permission(request):
            raise PermissionDenied
        return history_page(self, request, unquote(object_id))

    def _viewed(self, names: Sequence[Any]) -> list[Any]:
        """Return what a read-only page shows for the names of a form."""
        viewed: list[Any] = []
        for each in names:
            key = tuple(each) if isinstance(each, list) else each
            name = self.viewed_as.get(key, each)
            if name == "":
                continue
            if isinstance(name, list | tuple):
                viewed += filter(None, [tuple(self._viewed(name))])
            elif not isinstance(name, str):
                viewed.append(name)
            elif hasattr(self, f"{SHOWN}{name}"):
                viewed.append(f"{SHOWN}{name}")
            elif hasattr(self, name) or _is_of(self.model, name):
                viewed.append(name)
        return viewed


def _commands(kind: type) -> dict[str, Command]:
    """Return the buttons declared by a class and its parents, the parents' first."""
    members = (item for base in reversed(kind.__mro__) for item in vars(base).items())
    return {
        name: member.command
        for name, member in members
        if isinstance(getattr(member, "command", None), Command)
    }


def _filtered_by(item: Any) -> str:
    """Return the field or parameter that an entry of `list_filter` filters by."""
    if isinstance(item, type):
        return str(getattr(item, "parameter_name", ""))
    return str(item if isinstance(item, str) else item[0])


def _pressable(actions: list[Any], request: HttpRequest) -> list[Any]:
    specs = ((action, getattr(action.method, "command", None)) for action in actions)
    return [
        action
        for action, spec in specs
        if spec is None or request.user.has_perm(spec.permission)
    ]


def _is_of(model: type[models.Model], name: str) -> bool:
    return hasattr(model, name) or name in {f.name for f in model._meta.get_fields()}


def _json_display(field: "models.JSONField[Any, Any]") -> Callable[[Any], SafeString]:
    def display(row: Any) -> SafeString:
        return json_block(getattr(row, field.attname))

    display.short_description = str(field.verbose_name)  # type: ignore[attr-defined]
    return display


def json_block(document: Any) -> SafeString:
    """Return a JSON document as people read it: indented, monospaced."""
    if document in (None, {}, []):
        return format_html('<span class="plangate-none">{}</span>', "empty")
    text = json.dumps(document, ensure_ascii=False, indent=2)
    return format_html('<pre class="plangate-json">{}</pre>', text)
