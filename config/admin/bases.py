"""What an admin module of any app needs, in one import.

A definition (plans, features, policies …) is an ordinary form:

    class PlanAdmin(DefinitionAdmin):
        menu = Menu(CATALOG, icon="sell", order=10)
        form = PlanForm                     # on metadata_form(PlanMetadata), if any
        code_fields = ("plan_code",)        # fixed after creation

        def save_definition(self, obj, form, *, change, at, by):
            return change_plan(plan=obj, at=at, by=by)      # default: obj.save()

A record (assignments, invoices …) is read-only, with named buttons:

    class AssignmentAdmin(RecordAdmin):
        @command("End", form=EndForm, permission="billing.assign_plan")
        def end(self, request, assignment, form, *, at, by):
            end_assignment(assignment=assignment, at=at, by=by)
            return "The assignment has ended."

An app above adds a part to a screen of an app below: `extend` (`config.admin.parts`).
"""

from unfold.enums import ActionVariant

from config.admin.commands import Done, Preview, Table, command
from config.admin.dashboard import Figure, add_figure, add_news
from config.admin.definitions import DefinitionAdmin, InUse
from config.admin.fields import JsonField, LinesField, UtcDateTimeField
from config.admin.forms import CommandForm, TimedForm
from config.admin.metadata import known_fields, metadata_form
from config.admin.navigation import (
    ACCESS,
    ACCOUNTS,
    CATALOG,
    GATE,
    GRANTS,
    HISTORY,
    Menu,
    Page,
    add_page,
)
from config.admin.parts import extend
from config.admin.records import RecordAdmin
from config.admin.screens import PlangateAdmin, json_block
from config.admin.values import NOTHING, instant_text

__all__ = [
    "ACCESS",
    "ACCOUNTS",
    "CATALOG",
    "GATE",
    "GRANTS",
    "HISTORY",
    "NOTHING",
    "ActionVariant",
    "CommandForm",
    "DefinitionAdmin",
    "Done",
    "Figure",
    "InUse",
    "JsonField",
    "LinesField",
    "Menu",
    "Page",
    "PlangateAdmin",
    "Preview",
    "RecordAdmin",
    "Table",
    "TimedForm",
    "UtcDateTimeField",
    "add_figure",
    "add_news",
    "add_page",
    "command",
    "extend",
    "instant_text",
    "json_block",
    "known_fields",
    "metadata_form",
]
