"""Policy bundles: sets of limits that plans refer to."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from django.contrib import admin
from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import Count, OuterRef, QuerySet
from django.db.models.fields.json import KT
from django.http import HttpRequest, HttpResponse
from unfold.decorators import action, display

from billing.admin.bundle_names import BundleReader, register_bundle_reader
from billing.models import Plan
from catalog.admin.bases import (
    CodeForm,
    ReadOnlyInline,
    RealmDefinitionAdmin,
    refuse_existing,
)
from catalog.admin.words import linked
from config.admin.bases import GATE, InUse, Menu, known_fields, metadata_form
from config.kernel.audit import AuditContext
from config.kernel.codes import normalize_key
from config.kernel.metadata import BundleMetadata
from gating.admin.backtests import back_test_page
from gating.admin.words import feature_text, limit_text
from gating.models import (
    DEFAULT_BUNDLE_KEY,
    BundleStatus,
    GatePolicy,
    GatePolicyBundle,
)
from gating.services.bundles import change_bundle, delete_bundle, upsert_bundle

BUNDLE_COLORS = {
    BundleStatus.ACTIVE.label: "success",
    BundleStatus.DISABLED.label: "warning",
}
EVERYBODY = "Everybody without another bundle"


class BundleForm(CodeForm, metadata_form(BundleMetadata)):  # type: ignore[misc]
    """A bundle's name and state."""

    code_name = "bundle_key"
    normalize = normalize_key

    class Meta:
        model = GatePolicyBundle
        fields = ("realm", "bundle_key", "name", "status", "metadata")
        labels = {"bundle_key": "Key"}
        help_texts = {
            "bundle_key": "What plans name, like pro-limits. It cannot be changed "
            "later.",
            "name": "For people.",
            "status": "Disabled: its policies govern nobody, and who holds a plan that "
            "names it is refused, unless another of their plans names an active one.",
        }


class PolicyInline(ReadOnlyInline):
    """The policies of a bundle."""

    model = GatePolicy
    verbose_name_plural = "policies"
    fields = ("policy", "feature", "allows", "counted_for", "state")
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[GatePolicy]:
        """Return the policies by feature."""
        policies: QuerySet[GatePolicy] = super().get_queryset(request)
        return policies.order_by("feature_code", "kind", "name")

    @display(description="Policy")
    def policy(self, policy: GatePolicy) -> Any:
        """Return the policy, as a link."""
        return linked(policy)

    @display(description="Feature")
    def feature(self, policy: GatePolicy) -> str:
        """Return the feature it names."""
        return feature_text(policy.feature_code)

    @display(description="Allows")
    def allows(self, policy: GatePolicy) -> str:
        """Return the limit in words."""
        return limit_text(policy)

    @display(description="Counted for")
    def counted_for(self, policy: GatePolicy) -> str:
        """Return whose use is counted together."""
        return str(policy.get_subject_scope_display())

    @display(description="Status")
    def state(self, policy: GatePolicy) -> str:
        """Return the policy's label."""
        return str(policy.get_status_display())


@admin.register(GatePolicyBundle)
class PolicyBundleAdmin(RealmDefinitionAdmin):
    """Policy bundles."""

    menu = Menu(GATE, icon="inventory_2", order=50)
    empty_message = "A bundle holds limits that plans share. Every realm has a default."
    form = BundleForm
    code_fields = ("bundle_key",)
    folded_group = "Annotations"
    deletable = True
    inlines = (PolicyInline,)
    actions_detail = ("back_test",)
    readonly_fields = ("governs",)
    list_display = (
        "bundle_key", "name", "policy_count", "governs", "state", "realm",
    )  # fmt: skip
    list_filter = ("realm", "status")
    list_select_related = ("realm",)
    search_fields = (
        "bundle_key", "name", "policies__name", "policies__feature_code",
    )  # fmt: skip
    search_help_text = "Bundle key or name, policy name, feature code"
    ordering = ("bundle_key", "realm_id")
    export_fields = (
        "realm", "bundle_key", "name", "status", "created_at", "updated_at", "metadata",
    )  # fmt: skip
    fieldsets = (
        (None, {"fields": ("realm", "bundle_key", "name", "status", "governs")}),
        ("Annotations", {"fields": known_fields(BundleMetadata)}),
    )

    @action(description="Back-test…", url_path="back-test", icon="fast_rewind")  # type: ignore[operator]
    def back_test(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show what the bundle would have decided, were it another one."""
        return back_test_page(self, request, object_id)

    def get_queryset(self, request: HttpRequest) -> QuerySet[GatePolicyBundle]:
        """Return the bundles with their size and the plans that name them."""
        bundles: QuerySet[GatePolicyBundle] = super().get_queryset(request)
        plans = (
            Plan.objects.filter(realm=OuterRef("realm"), active=True)
            .annotate(named_key=KT("metadata__gate_bundle_key"))
            .filter(named_key=OuterRef("bundle_key"))
            .order_by("plan_code")
            .values("plan_code")
        )
        return bundles.annotate(
            policies_in=Count("policies"), plan_codes=ArraySubquery(plans)
        )

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return the groups; a bundle that does not exist yet governs nobody."""
        groups = super().get_fieldsets(request, obj)
        if obj is None:
            fields = groups[0][1]["fields"]
            groups[0][1]["fields"] = [name for name in fields if name != "governs"]
        return groups

    @display(description="Policies", ordering="policies_in")
    def policy_count(self, bundle: Any) -> int:
        """Return how many policies the bundle holds."""
        return int(bundle.policies_in)

    @display(description="Governs")
    def governs(self, bundle: Any) -> str:
        """Return whom the bundle governs: the plans that name it."""
        codes = ", ".join(bundle.plan_codes)
        plural = "s" if len(bundle.plan_codes) > 1 else ""
        plans = f"Plan{plural} {codes}" if codes else ""
        everybody = EVERYBODY if bundle.bundle_key == DEFAULT_BUNDLE_KEY else ""
        found = "; ".join(part for part in (everybody, plans) if part)
        return found or "No active plan names it"

    @display(description="Status", label=BUNDLE_COLORS, ordering="status")
    def state(self, bundle: GatePolicyBundle) -> str:
        """Return whether its policies govern anybody."""
        return str(bundle.get_status_display())

    def has_delete_permission(
        self, request: HttpRequest, obj: GatePolicyBundle | None = None
    ) -> bool:
        """Return whether the bundle may be deleted: the default one is not."""
        default = obj is not None and obj.bundle_key == DEFAULT_BUNDLE_KEY
        return not default and super().has_delete_permission(request, obj)

    def save_definition(
        self,
        obj: GatePolicyBundle,
        form: Any,
        *,
        change: bool,
        at: datetime,
        by: AuditContext,
    ) -> GatePolicyBundle:
        """Create or change the bundle by its verb."""
        values: Any = {
            "name": obj.name,
            "status": obj.status,
            "metadata": obj.metadata,
        }
        if change:
            return change_bundle(bundle=obj, at=at, by=by, **values)
        bundle, created = upsert_bundle(
            realm=obj.realm, bundle_key=obj.bundle_key, at=at, by=by, **values
        )
        refuse_existing(f"Policy bundle {bundle}", created=created)
        return bundle

    def delete_definition(
        self, obj: GatePolicyBundle, *, at: datetime, by: AuditContext
    ) -> None:
        """Delete the bundle. Refuses (`InUse`) one that still holds policies."""
        # The verb deletes them along: here somebody should have looked at each.
        held = GatePolicy.objects.filter(bundle=obj).count()
        if held:
            policies = "1 policy" if held == 1 else f"{held} policies"
            raise InUse(f"{obj} stays, because it holds {policies}. Delete them first.")
        delete_bundle(bundle=obj, at=at, by=by)


def _active_keys(realm_id: str, keys: Collection[str]) -> set[str]:
    bundles = GatePolicyBundle.objects.in_realm(realm_id)
    active = bundles.filter(bundle_key__in=keys, status=BundleStatus.ACTIVE)
    return set(active.values_list("bundle_key", flat=True))


register_bundle_reader(BundleReader(_active_keys, DEFAULT_BUNDLE_KEY))
