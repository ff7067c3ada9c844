"""Gate policies: one limit each."""

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from unfold.decorators import display
from unfold.widgets import UnfoldAdminSelect2Widget

from catalog.admin.bases import RealmDefinitionAdmin
from catalog.admin.words import linked, unbroken
from catalog.models import Feature
from config.admin.bases import GATE, NOTHING, Menu, known_fields, metadata_form
from config.kernel.audit import AuditContext
from config.kernel.metadata import PolicyMetadata
from gating.admin.seats import BILLING_FIELDS, billed_as, dress_billing
from gating.admin.words import feature_text, limit_text
from gating.models import (
    GatePolicy,
    GatePolicyBundle,
    PolicyKind,
    PolicyStatus,
)
from gating.projection import WILDCARD
from gating.services.policies import change_policy, create_policy, delete_policy

STATUS_COLORS = {
    PolicyStatus.DEFAULT.label: "info",
    PolicyStatus.ASSIGNABLE.label: "success",
    PolicyStatus.CEILING.label: "info",
    PolicyStatus.DISABLED.label: "warning",
}
_SEAT = "seat"
_DERIVED = ("realm", "allows", billed_as)


class BundleChoice(forms.ModelChoiceField):  # type: ignore[type-arg]
    """A bundle out of a list that names the realm."""

    def label_from_instance(self, obj: Any) -> str:
        """Return the bundle's key, name and realm."""
        return f"{obj.bundle_key} · {obj.name or obj.bundle_key} ({obj.realm_id})"


class PolicyForm(metadata_form(PolicyMetadata)):  # type: ignore[misc]
    """What is limited, to how much, in which window."""

    bundle = BundleChoice(
        GatePolicyBundle.objects.order_by("bundle_key", "realm_id"),
        label="Bundle",
        empty_label="Select value",
        widget=UnfoldAdminSelect2Widget(),
        help_text="Plans name the bundle; it cannot be changed later.",
    )

    class Meta:
        model = GatePolicy
        fields = (
            "bundle", "name", "description", "feature_code", "kind", "subject_scope",
            "unit", "window_sec", "limit_minor", "limit_count", "status",
            "enforcement_mode", "metadata",
        )  # fmt: skip
        labels = {
            "feature_code": "Feature",
            "kind": "Limits",
            "subject_scope": "Counted for",
            "unit": "Counted in",
            "window_sec": "Window (seconds)",
            "limit_minor": "Most units per window",
            "limit_count": "Most calls per window, or seats",
            "enforcement_mode": "Enforcement",
        }
        help_texts = {
            "name": "Shown in denials: call it what a customer would understand.",
            "feature_code": "The feature's code, or * for every feature that no other "
            "policy of the bundle names.",
            "unit": "token, request, …; seats are counted in seat.",
            "window_sec": "60 is a minute, 3600 an hour, 86400 a day, 2592000 30 days. "
            "For seats, 0 means that a seat once taken is kept.",
            "limit_minor": "In the smallest unit of what is counted. Empty means "
            "unlimited; 0 blocks every use.",
            "limit_count": "0 blocks every call. Seats: empty means unlimited.",
            "status": "All but Disabled govern alike.",
        }

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        dress_billing(self.fields)

    def clean(self) -> Any:
        """Refuse what does not fit the kind, beside the field it is about."""
        if self.cleaned_data.get("kind") != PolicyKind.SEATS:
            # Hidden by the form, as the other kind's limit is.
            self.cleaned_data.update(dict.fromkeys(BILLING_FIELDS, ""))
        cleaned: Any = super().clean()
        kind = cleaned.get("kind")
        # The form hides the other kind's limit: what was typed there is not meant.
        cleaned["limit_count" if kind == PolicyKind.QUOTA else "limit_minor"] = None
        missing = "limit_count" not in self.errors and cleaned["limit_count"] is None
        if kind == PolicyKind.RATE and missing:
            self.add_error(
                "limit_count", "A limit of calls needs a number; 0 blocks every call."
            )
        if kind == PolicyKind.SEATS and cleaned.get("unit") != _SEAT:
            self.add_error("unit", "Seats are counted in seats: write seat.")
        if kind != PolicyKind.SEATS and cleaned.get("window_sec") == 0:
            self.add_error(
                "window_sec", "A window lasts 1 second or more, except that of seats."
            )
        self._warn_of_unknown_feature(cleaned)
        return cleaned

    def _warn_of_unknown_feature(self, cleaned: dict[str, Any]) -> None:
        bundle = cleaned.get("bundle") or getattr(self.instance, "bundle", None)
        code = (cleaned.get("feature_code") or "").strip().lower()
        if bundle is None or code in {"", WILDCARD}:
            return
        features = Feature.objects.in_realm(bundle.realm_id)
        if not features.filter(feature_code=code).exists():
            sentence = (
                f"The realm {bundle.realm_id} has no feature {code} yet: the policy "
                "limits nothing until it does."
            )
            self.near_misses: tuple[str, ...] = (*self.near_misses, sentence)


@admin.register(GatePolicy)
class GatePolicyAdmin(RealmDefinitionAdmin):
    """Gate policies."""

    menu = Menu(GATE, icon="rule", order=60, label="Policies")
    empty_message = "A policy is one limit on one feature. Add one to a bundle."
    form = PolicyForm
    code_fields = ("bundle",)
    folded_group = "Exceptions"
    viewed_as = {
        "limit_minor": "",
        "limit_count": "",
        "enforcement_mode": "enforcement",
        **dict.fromkeys(BILLING_FIELDS, ""),
    }
    deletable = True
    prose_fields = ("description",)
    readonly_fields = ("allows", billed_as)
    conditional_fields = {
        "limit_minor": "kind == 'quota'",
        "limit_count": "kind == 'rate' || kind == 'seats'",
        "enforcement_mode": "kind == 'quota'",
        **dict.fromkeys(BILLING_FIELDS, "kind == 'seats'"),
    }
    list_display = (
        "name", "feature", "allows", "counted_for", "bundle_link", "state", "realm",
    )  # fmt: skip
    list_filter = ("realm", "kind", "status", "subject_scope")
    list_select_related = ("realm", "bundle")
    search_fields = ("name", "feature_code", "bundle__bundle_key", "description")
    search_help_text = "Policy name, feature code, bundle key"
    ordering = ("bundle__bundle_key", "feature_code", "name", "pk")
    export_fields = (
        "realm", "bundle__bundle_key", "name", "description", "feature_code", "kind",
        "subject_scope", "unit", "window_sec", "limit_minor", "limit_count", "status",
        "enforcement_mode", "created_at", "updated_at", "metadata",
    )  # fmt: skip
    fieldsets = (
        (None, {"fields": ("realm", "bundle", "name", "description", "feature_code")}),
        (
            "Limit",
            {
                "fields": ("allows", "kind", "subject_scope", "unit", "window_sec",
                           "limit_minor", "limit_count", "enforcement_mode", "status"),
                "description": "Windows are aligned to midnight UTC on 1 January 1970: "
                "a day begins at midnight UTC.",
            },
        ),
        (
            "Seat billing",
            {
                "fields": (billed_as, *BILLING_FIELDS),
                "description": "For seats only. Once a window is over, each of its "
                "seats becomes a rating at the price then in force.",
            },
        ),
        (
            "Exceptions",
            {
                "fields": tuple(
                    name
                    for name in known_fields(PolicyMetadata)
                    if name not in BILLING_FIELDS
                ),
                "description": "Rarely needed. Leave empty to use what stands above.",
            },
        ),
    )  # fmt: skip

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return the groups, without what a policy has only once it exists."""
        groups = super().get_fieldsets(request, obj)
        if obj is None:
            for _title, options in groups:
                options["fields"] = [
                    name for name in options["fields"] if name not in _DERIVED
                ]
        return groups

    @display(description="Feature", ordering="feature_code")
    def feature(self, policy: GatePolicy) -> str:
        """Return the feature it names."""
        return feature_text(policy.feature_code)

    @display(description="Allows")
    def allows(self, policy: GatePolicy) -> Any:
        """Return the limit in words."""
        return unbroken(limit_text(policy))

    @display(description="Enforcement")
    def enforcement(self, policy: GatePolicy) -> str:
        """Return whether a quota holds what is authorized; others do not."""
        if policy.kind != PolicyKind.QUOTA:
            return NOTHING
        return str(policy.get_enforcement_mode_display())

    @display(description="Counted for", ordering="subject_scope")
    def counted_for(self, policy: GatePolicy) -> str:
        """Return whose use is counted together."""
        return str(policy.get_subject_scope_display())

    @display(description="Bundle", ordering="bundle__bundle_key")
    def bundle_link(self, policy: GatePolicy) -> Any:
        """Return the bundle, as a link."""
        return linked(policy.bundle)

    @display(description="Status", label=STATUS_COLORS, ordering="status")
    def state(self, policy: GatePolicy) -> str:
        """Return the policy's label."""
        return str(policy.get_status_display())

    def save_definition(
        self,
        obj: GatePolicy,
        form: Any,
        *,
        change: bool,
        at: datetime,
        by: AuditContext,
    ) -> GatePolicy:
        """Create or change the policy by its verb."""
        values: Any = {
            name: getattr(obj, name)
            for name in PolicyForm.Meta.fields
            if name != "bundle"
        }
        if change:
            return change_policy(policy=obj, at=at, by=by, **values)
        return create_policy(bundle=obj.bundle, at=at, by=by, **values)

    def delete_definition(
        self, obj: GatePolicy, *, at: datetime, by: AuditContext
    ) -> None:
        """Delete the policy by its verb."""
        delete_policy(policy=obj, at=at, by=by)
