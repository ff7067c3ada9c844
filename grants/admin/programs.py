"""Grant programs: the templates of what is given."""

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from unfold.decorators import display

from catalog.admin.bases import CodeForm, RealmDefinitionAdmin
from catalog.admin.families import ACTIVE_COLORS
from config.admin.bases import GRANTS, Menu
from config.kernel.audit import AuditContext
from config.kernel.codes import normalize_code
from config.kernel.money import format_xusd
from grants.admin.money import UsdField
from grants.admin.words import counted
from grants.models import FALLBACK_PROGRAM, Cadence, GrantProgram, LotKind
from grants.services.programs import (
    CHANGEABLE,
    ProgramTerms,
    change_program,
    create_program,
)

STRUCTURE = (
    "cadence", "issue_anchor", "grant_kind", "window_kind", "on_ledger",
    "periodic_accounting", "accrual_mode", "eligibility_kind", "eligibility_payload",
)  # fmt: skip
"""What grants were issued by: fixed from the start."""

DAY_SECONDS = 86_400
SYSTEM_KINDS = (LotKind.FALLBACK, LotKind.ROLLOVER)


class ProgramForm(CodeForm, forms.ModelForm):  # type: ignore[type-arg]
    """What a program gives, and how."""

    code_name = "program_code"
    normalize = normalize_code

    amount_xusd = UsdField(
        zero=True,
        initial=0,
        label="Amount (US dollars)",
        help_text="Given per period, where a plan, campaign or person says no amount.",
    )

    class Meta:
        model = GrantProgram
        fields = (
            "realm", "program_code", "name", "active", "amount_xusd", *STRUCTURE,
            "window_default_seconds", "priority", "outstanding_application_policy",
            "issuance_mode", "metadata",
        )  # fmt: skip
        labels = {
            "program_code": "Code",
            "cadence": "How often it gives",
            "issue_anchor": "Periods are counted from",
            "grant_kind": "Kind",
            "window_kind": "A grant can be spent for",
            "window_default_seconds": "A grant lasts (seconds)",
            "on_ledger": "Counts in the main balance",
            "periodic_accounting": "Accounted for per period",
            "accrual_mode": "Earned",
            "eligibility_kind": "Given by itself to",
            "eligibility_payload": "Which group",
            "outstanding_application_policy": "What is owed",
            "issuance_mode": "Given",
        }
        help_texts = {
            "program_code": "What plans and campaigns name, like monthly-bonus. It "
            "cannot be changed later.",
            "name": "For people.",
            "active": "Switched off, it takes on nobody new; who has it keeps it.",
            "grant_kind": "What the grants are, for people who read them.",
            "window_default_seconds": "Only for “So many seconds”, where it must be "
            "given: 86400 is a day, 2592000 are 30 days.",
            "on_ledger": "Without the tick, its grants are promotional credit in the "
            "ledger.",
            "priority": "Of grants that end together, the higher is spent first.",
            "outstanding_application_policy": "Whether a new grant first pays what its "
            "user owes.",
            "eligibility_kind": "“Nobody”: a plan, campaign or person gives it.",
            "eligibility_payload": "Only for subscribers of a group: a JSON object "
            "with <code>group_key</code> or <code>subscription_group_id</code>.",
        }

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        kinds = self.fields.get("grant_kind")
        if isinstance(kinds, forms.ChoiceField):
            kinds.choices = [
                (value, label)
                for value, label in LotKind.choices
                if value not in SYSTEM_KINDS
            ]


@admin.register(GrantProgram)
class ProgramAdmin(RealmDefinitionAdmin):
    """Grant programs."""

    menu = Menu(GRANTS, icon="featured_seasonal_and_gifts", order=40)
    empty_message = (
        "A program says what is given, how often and for how long. Every realm has "
        "some; add your own here."
    )
    form = ProgramForm
    code_fields = ("program_code", *STRUCTURE)
    folded_group = "Annotations"
    list_display = (
        "title_text", "program_code", "gives", "lasts", "given_to", "state", "realm",
    )  # fmt: skip
    list_display_links = ("title_text",)
    list_filter = ("realm", "active", "cadence", "eligibility_kind", "on_ledger")
    list_select_related = ("realm",)
    search_fields = ("program_code", "name")
    search_help_text = "Code or name"
    ordering = ("program_code", "realm_id")
    readonly_fields = ("issued",)
    export_fields = (
        "realm", "program_code", "name", "active", "amount_xusd", *STRUCTURE,
        "window_default_seconds", "priority", "outstanding_application_policy",
        "issuance_mode", "metadata", "created_at", "updated_at",
    )  # fmt: skip
    fieldsets = (
        (None, {"fields": ("realm", "program_code", "name", "active", "issued")}),
        (
            "What it gives",
            {
                "fields": ("amount_xusd", "cadence", "issue_anchor", "grant_kind",
                           "on_ledger"),
                "description": "How it gives is fixed from the start, because grants "
                "are issued by it. Changes of the rest hold for grants to come; what "
                "was given stays.",
            },
        ),
        (
            "How it is spent",
            {"fields": ("window_kind", "window_default_seconds", "priority",
                        "outstanding_application_policy")},
        ),
        (
            "Who is given it",
            {"fields": ("eligibility_kind", "eligibility_payload", "issuance_mode",
                        "accrual_mode", "periodic_accounting")},
        ),
        ("Annotations", {"fields": ("metadata",)}),
    )  # fmt: skip

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return the groups; a new program has given nothing yet."""
        groups: Any = super().get_fieldsets(request, obj)
        if obj is None:
            [(title, first), *others] = groups
            names = [name for name in first["fields"] if name != "issued"]
            return [(title, {**first, "fields": names}), *others]
        return groups

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return whether it may be changed; nobody changes what holds overage."""
        own = obj is None or obj.program_code != FALLBACK_PROGRAM
        return own and bool(super().has_change_permission(request, obj))

    @display(description="Program", ordering="name")
    def title_text(self, program: GrantProgram) -> str:
        """Return its name."""
        return str(program)

    @display(description="Gives", ordering="amount_xusd")
    def gives(self, program: GrantProgram) -> str:
        """Return how much it gives, how often."""
        if program.grant_kind == LotKind.FALLBACK:
            return "Nothing: it holds what is owed"
        often = str(program.get_cadence_display()).lower()
        if not program.amount_xusd:
            return f"An amount set each time, {often}"
        return f"{format_xusd(program.amount_xusd)}, {often}"

    @display(description="Can be spent for")
    def lasts(self, program: GrantProgram) -> str:
        """Return how long its grants can be spent."""
        if program.window_default_seconds and program.cadence == Cadence.ONCE:
            seconds = program.window_default_seconds
            days, rest = divmod(seconds, DAY_SECONDS)
            return counted(seconds, "second") if rest else counted(days, "day")
        return str(program.get_window_kind_display())

    @display(description="Given by itself to", ordering="eligibility_kind")
    def given_to(self, program: GrantProgram) -> str:
        """Return who is given it without being named."""
        return str(program.get_eligibility_kind_display())

    @display(description="State", label=ACTIVE_COLORS, ordering="active")
    def state(self, program: GrantProgram) -> str:
        """Return whether it takes on anybody."""
        return "Active" if program.active else "Off"

    @display(description="What it gave")
    def issued(self, program: GrantProgram) -> Any:
        """Return the ways to its grants and assignments."""
        return format_html(
            '<a href="{}?program__id__exact={}" class="text-link">Its grants</a>, '
            '<a href="{}?program__id__exact={}" class="text-link">who is assigned '
            "to it</a>",
            reverse("admin:grants_grantlot_changelist"),
            program.pk,
            reverse("admin:grants_grantassignment_changelist"),
            program.pk,
        )

    def save_definition(
        self,
        obj: GrantProgram,
        form: Any,
        *,
        change: bool,
        at: datetime,
        by: AuditContext,
    ) -> GrantProgram:
        """Create or change the program by its verb."""
        if change:
            changes = {name: getattr(obj, name) for name in CHANGEABLE}
            return change_program(program=obj, changes=changes, at=at, by=by)
        values = {name: getattr(obj, name) for name in (*CHANGEABLE, *STRUCTURE)}
        return create_program(
            realm=obj.realm,
            program_code=obj.program_code,
            terms=ProgramTerms(**values),
            at=at,
            by=by,
        )
