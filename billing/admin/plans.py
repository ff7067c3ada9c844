"""Plans and what they entitle to."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest
from unfold.admin import TabularInline
from unfold.decorators import display

from billing.admin.bundle_names import bundle_doubts
from billing.admin.entitlement_form import EntitlementForm
from billing.models import AssignmentStatus, Plan, PlanEntitlement
from billing.services.plans import change_plan_definition, upsert_plan
from config.admin.bases import (
    CATALOG,
    DefinitionAdmin,
    Menu,
    command,
    known_fields,
    metadata_form,
)
from config.kernel.audit import AuditContext
from config.kernel.errors import Invalid
from config.kernel.metadata import PlanMetadata

KIND_COLORS = {"Base plan": "info", "Add-on": "success", "Promotion": "warning"}


class PlanForm(metadata_form(PlanMetadata)):  # type: ignore[misc]
    """A plan's definition."""

    class Meta:
        model = Plan
        fields = (
            "realm",
            "plan_code",
            "name",
            "kind",
            "priority",
            "active",
            "metadata",
        )
        help_texts = {
            "plan_code": "How services and contracts name the plan. Fixed afterwards.",
            "kind": "A base plan stands alone; an add-on or promotion adds to one.",
        }

    def doubts(self, document: dict[str, Any]) -> Sequence[str]:
        """Return a sentence where the bundle that the plan names is not there."""
        realm = self.cleaned_data.get("realm") or self.instance.realm
        return bundle_doubts(realm.pk, document)


class EntitlementInline(TabularInline):
    """A plan's entitlements, to read; the button changes them."""

    model = PlanEntitlement
    extra = 0
    fields = ("effect", "target")
    readonly_fields = ("effect", "target")
    verbose_name_plural = "What the plan allows and denies"
    can_delete = False
    show_change_link = False
    hide_title = True

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse: entitlements change by the button."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse: entitlements change by the button."""
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[PlanEntitlement]:
        """Return the rules with their targets."""
        rows: QuerySet[PlanEntitlement] = super().get_queryset(request)
        return rows.select_related("feature", "feature_family")

    @admin.display(description="Feature or family")
    def target(self, rule: PlanEntitlement) -> str:
        """Return what the rule is about."""
        if rule.feature:
            return f"Feature {rule.feature.feature_code}"
        if rule.feature_family:
            return f"Everything in {rule.feature_family.feature_family_code}"
        return "Everything"


@admin.register(Plan)
class PlanAdmin(DefinitionAdmin):
    """Plans."""

    menu = Menu(CATALOG, icon="sell", order=10)
    empty_message = "A plan says what its holders may use. Add the first one."
    form = PlanForm
    code_fields = ("plan_code",)
    inlines = (EntitlementInline,)
    list_display = ("name", "plan_code", "shown_kind", "priority", "active",
                    "assigned", "realm_id")  # fmt: skip
    list_filter = ("kind", "active", "realm")
    search_fields = ("plan_code", "name", "metadata__gate_bundle_key")
    search_help_text = "Plan code, name or bundle key"
    ordering = ("realm_id", "kind", "-priority", "plan_code")
    fieldsets = (
        (
            None,
            {"fields": ("realm", "plan_code", "name", "kind", "priority", "active")},
        ),
        (
            "What the plan brings",
            {
                "fields": known_fields(PlanMetadata),
                "description": "Used by every assignment of the plan that makes no "
                "exception of its own.",
            },
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Plan]:
        """Return the plans with how often each is assigned."""
        active = Q(assignments__status=AssignmentStatus.ACTIVE)
        rows: QuerySet[Plan] = super().get_queryset(request)
        return rows.annotate(assignment_count=Count("assignments", filter=active))

    @display(description="Kind", label=KIND_COLORS, ordering="kind")
    def shown_kind(self, plan: Plan) -> str:
        """Return the kind, colored."""
        return str(plan.get_kind_display())

    @admin.display(description="Active assignments", ordering="assignment_count")
    def assigned(self, plan: Any) -> int:
        """Return how many assignments of the plan are active."""
        count: int = plan.assignment_count
        return count

    def save_definition(
        self, obj: Plan, form: Any, *, change: bool, at: datetime, by: AuditContext
    ) -> Plan:
        """Create or change the plan by its verb."""
        names = ("name", "kind", "priority", "active", "metadata")
        values = {name: getattr(obj, name) for name in names}
        if change:
            return change_plan_definition(plan=obj, changes=values, at=at, by=by)
        if Plan.objects.in_realm(obj.realm_id).filter(plan_code=obj.plan_code).exists():
            raise Invalid("A plan with this code already exists.", field="plan_code")
        plan, _created = upsert_plan(
            realm=obj.realm, plan_code=obj.plan_code, **values, at=at, by=by
        )
        return plan

    @command(
        "Set entitlements",
        permission="billing.change_planentitlement",
        form=EntitlementForm,
        icon="rule",
        description="What the plan's holders may use. A deny of a stronger plan beats "
        "an allow of a weaker one.",
    )
    def set_entitlements(
        self, _request: HttpRequest, plan: Plan, form: Any, *, at: datetime, by: Any
    ) -> str:
        """Make what is ticked the plan's only rules."""
        form.perform(at=at, by=by)
        return f"The entitlements of {plan} are set."
