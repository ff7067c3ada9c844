"""Feature families: what plans allow or deny as a whole."""

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from unfold.decorators import display

from catalog.admin.bases import CodeForm, RealmDefinitionAdmin, refuse_existing
from catalog.models import FeatureFamily
from catalog.services.families import (
    change_feature_family,
    delete_feature_family,
    upsert_feature_family,
)
from config.admin.bases import CATALOG, InUse, Menu, known_fields, metadata_form
from config.kernel.audit import AuditContext
from config.kernel.codes import normalize_code
from config.kernel.metadata import FeatureFamilyMetadata

ACTIVE_COLORS = {"Active": "success", "Off": "warning", "System": "info"}


class FamilyForm(CodeForm, metadata_form(FeatureFamilyMetadata)):  # type: ignore[misc]
    """A family's name, and whether its features need a plan."""

    code_name = "feature_family_code"
    normalize = normalize_code

    class Meta:
        model = FeatureFamily
        fields = (
            "realm", "feature_family_code", "name", "description", "active",
            "entitlement_required", "metadata",
        )  # fmt: skip
        labels = {
            "feature_family_code": "Code",
            "entitlement_required": "A plan is needed",
        }
        help_texts = {
            "feature_family_code": "What callers send, like chat or search.advanced. "
            "It cannot be changed later.",
            "name": "For people.",
            "active": "Off: nothing new refers to the family; what does keeps working.",
        }


@admin.register(FeatureFamily)
class FeatureFamilyAdmin(RealmDefinitionAdmin):
    """Feature families."""

    menu = Menu(CATALOG, icon="folder_copy", order=50)
    empty_message = (
        "A family groups features that plans allow together. Add one, then its "
        "features."
    )
    form = FamilyForm
    code_fields = ("feature_family_code",)
    folded_group = "Annotations"
    viewed_as = {"entitlement_required": "plan_needed"}
    deletable = True
    prose_fields = ("description",)
    list_display = (
        "feature_family_code", "name", "feature_count", "plan_needed", "state", "realm",
    )  # fmt: skip
    list_filter = ("realm", "active", "entitlement_required")
    list_select_related = ("realm",)
    search_fields = ("feature_family_code", "name", "description")
    search_help_text = "Family code, name or description"
    ordering = ("feature_family_code", "realm_id")
    export_fields = (
        "realm", "feature_family_code", "name", "description", "active",
        "entitlement_required", "created_at", "updated_at", "metadata",
    )  # fmt: skip
    fieldsets = (
        (
            None,
            {"fields": ("realm", "feature_family_code", "name", "description")},
        ),
        ("Access", {"fields": ("active", "entitlement_required")}),
        ("Annotations", {"fields": known_fields(FeatureFamilyMetadata)}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[FeatureFamily]:
        """Return the families with the number of their features."""
        families: QuerySet[FeatureFamily] = super().get_queryset(request)
        return families.annotate(features_in=Count("features"))

    @display(description="Features", ordering="features_in")
    def feature_count(self, family: Any) -> int:
        """Return how many features the family has."""
        return int(family.features_in)

    @display(description="Who may use it", ordering="entitlement_required")
    def plan_needed(self, family: FeatureFamily) -> str:
        """Return whether a plan is needed, in words."""
        return "Plans that allow it" if family.entitlement_required else "Everyone"

    @display(description="State", label=ACTIVE_COLORS, ordering="active")
    def state(self, family: FeatureFamily) -> str:
        """Return whether the family is in use, or the system's own."""
        if family.is_fallback:
            return "System"
        return "Active" if family.active else "Off"

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return the groups; the fallback family says why it is no form."""
        groups = super().get_fieldsets(request, obj)
        if obj is not None and obj.is_fallback:
            groups[0][1]["description"] = (
                "Features that were used before anybody prepared them land here. The "
                "system keeps this family: nobody edits it. Move its features into "
                "families of your own."
            )
        return groups

    def has_change_permission(
        self, request: HttpRequest, obj: FeatureFamily | None = None
    ) -> bool:
        """Return whether the family may be edited: the fallback one is not."""
        fallback = obj is not None and obj.is_fallback
        return not fallback and bool(super().has_change_permission(request, obj))

    def has_delete_permission(
        self, request: HttpRequest, obj: FeatureFamily | None = None
    ) -> bool:
        """Return whether the family may be deleted: the fallback one is not."""
        fallback = obj is not None and obj.is_fallback
        return not fallback and super().has_delete_permission(request, obj)

    def save_definition(
        self,
        obj: FeatureFamily,
        form: Any,
        *,
        change: bool,
        at: datetime,
        by: AuditContext,
    ) -> FeatureFamily:
        """Create or change the family by its verb."""
        values: Any = {
            "name": obj.name,
            "description": obj.description,
            "active": obj.active,
            "entitlement_required": obj.entitlement_required,
            "metadata": obj.metadata,
        }
        if change:
            return change_feature_family(family=obj, at=at, by=by, **values)
        family, created = upsert_feature_family(
            realm=obj.realm,
            feature_family_code=obj.feature_family_code,
            at=at,
            by=by,
            **values,
        )
        refuse_existing(f"Feature family {family}", created=created)
        return family

    def delete_definition(
        self, obj: FeatureFamily, *, at: datetime, by: AuditContext
    ) -> None:
        """Delete the family. Refuses (`InUse`) one that something refers to."""
        if not delete_feature_family(family=obj, at=at, by=by):
            raise InUse(
                f"{obj} stays, because features or plans refer to it. Switch it off "
                "instead."
            )
