"""Features: what a user may or may not use."""

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db.models import F, Prefetch, QuerySet
from django.http import HttpRequest
from unfold.decorators import display

from catalog.admin.bases import RealmDefinitionAdmin, refuse_existing
from catalog.admin.families import ACTIVE_COLORS
from catalog.admin.feature_form import FeatureForm, SetupFilter, needing_setup
from catalog.admin.links import FeatureMeterInline, LinkForm, UnlinkForm, has_linked
from catalog.admin.words import current_price, linked, price_text
from catalog.models import Feature, FeatureMeter
from catalog.selectors.meters import current_prices
from catalog.services.entries import MeterEntry
from catalog.services.features import change_feature, delete_feature, upsert_feature
from config.admin.bases import (
    CATALOG,
    CommandForm,
    Figure,
    InUse,
    Menu,
    add_figure,
    command,
    known_fields,
)
from config.kernel.audit import AuditContext
from config.kernel.clock import now
from config.kernel.metadata import FeatureMetadata


@admin.register(Feature)
class FeatureAdmin(RealmDefinitionAdmin):
    """Features."""

    menu = Menu(CATALOG, icon="extension", order=60)
    empty_message = (
        "A feature is what the gate is asked about. Add one here, or let the first use "
        "register it."
    )
    form = FeatureForm
    code_fields = ("feature_code",)
    folded_group = "Annotations"
    viewed_as = {"entitlement_required": "plan_needed"}
    deletable = True
    prose_fields = ("description",)
    inlines = (FeatureMeterInline,)
    list_display = (
        "feature_code", "name", "family", "price", "plan_needed", "state", "realm",
    )  # fmt: skip
    list_filter = (SetupFilter, "realm", "active", "default_budget_strategy")
    list_select_related = ("realm", "feature_family")
    search_fields = (
        "feature_code", "name", "description", "feature_family__feature_family_code",
        "links__meter__meter_code",
    )  # fmt: skip
    search_help_text = "Feature, family or meter code, name or description"
    ordering = ("feature_code", "realm_id")
    export_fields = (
        "realm", "feature_code", "feature_family__feature_family_code", "name",
        "description", "active", "entitlement_required", "default_budget_strategy",
        "unit", "created_at", "updated_at", "metadata",
    )  # fmt: skip
    fieldsets = (
        (
            None,
            {"fields": ("realm", "feature_code", "feature_family", "name",
                        "description", "unit")},
        ),
        (
            "Access",
            {"fields": ("active", "entitlement_required", "default_budget_strategy")},
        ),
        ("Annotations", {"fields": known_fields(FeatureMetadata)}),
    )  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[Feature]:
        """Return the features, each with its primary meter and the price in force."""
        features: QuerySet[Feature] = super().get_queryset(request)
        primary = (
            FeatureMeter.objects.filter(is_primary=True)
            .select_related("meter")
            .prefetch_related(current_prices(at=now(), path="meter__prices"))
        )
        return features.prefetch_related(
            Prefetch("links", queryset=primary, to_attr="primary_links")
        )

    @display(description="Family", ordering="feature_family__feature_family_code")
    def family(self, feature: Feature) -> Any:
        """Return the family, as a link."""
        return linked(feature.feature_family)

    @display(description="Price of its own meter")
    def price(self, feature: Any) -> str:
        """Return the price in force of the primary meter."""
        meters = [link.meter for link in feature.primary_links]
        found = current_price(meters[0]) if meters else None
        return price_text(found, meters[0]) if found else "No price"

    @display(
        description="Who may use it",
        ordering=F("entitlement_required").asc(nulls_first=True),
    )
    def plan_needed(self, feature: Feature) -> str:
        """Return whether a plan is needed, in words."""
        own = feature.entitlement_required
        needed = feature.feature_family.entitlement_required if own is None else own
        who = "Plans that allow it" if needed else "Everyone"
        return f"{who} (as the family)" if own is None else who

    @display(description="State", label=ACTIVE_COLORS, ordering="active")
    def state(self, feature: Feature) -> str:
        """Return whether the feature can be used."""
        return "Active" if feature.active else "Off"

    def save_definition(
        self,
        obj: Feature,
        form: Any,
        *,
        change: bool,
        at: datetime,
        by: AuditContext,
    ) -> Feature:
        """Create or change the feature by its verb."""
        values: Any = {
            "feature_family_id": obj.feature_family_id,
            "name": obj.name,
            "description": obj.description,
            "active": obj.active,
            "entitlement_required": obj.entitlement_required,
            "default_budget_strategy": obj.default_budget_strategy,
            "unit": obj.unit,
            "metadata": obj.metadata,
        }
        if change:
            return change_feature(feature=obj, at=at, by=by, **values)
        feature, created = upsert_feature(
            realm=obj.realm, feature_code=obj.feature_code, at=at, by=by, **values
        )
        refuse_existing(f"Feature {feature}", created=created)
        return feature

    def delete_definition(
        self, obj: Feature, *, at: datetime, by: AuditContext
    ) -> None:
        """Delete the feature. Refuses (`InUse`) one that something refers to."""
        if not delete_feature(feature=obj, at=at, by=by):
            raise InUse(
                f"{obj} stays, because plans or usage refer to it. Switch it off "
                "instead."
            )

    @command(
        "Link a meter",
        form=LinkForm,
        permission="catalog.change_feature",
        icon="add_link",
        description="Usage of the feature may then be reported on this meter too, at "
        "the meter's price.",
    )
    def link_meter(
        self,
        _request: HttpRequest,
        feature: Feature,
        form: CommandForm,
        *,
        at: datetime,
        by: AuditContext,
    ) -> str:
        """Link a meter to the feature."""
        code = form.cleaned_data["meter_code"].meter_code
        change_feature(
            feature=feature, meters=[MeterEntry(meter_code=code)], at=at, by=by
        )
        return f"Usage of {feature} may now be reported on the meter {code}."

    @command(
        "Unlink a meter",
        form=UnlinkForm,
        permission="catalog.change_feature",
        icon="link_off",
        description="Usage of the feature is no longer accepted on this meter. The "
        "meter, its prices and what was rated stay.",
        available=has_linked,
    )
    def unlink_meter(
        self,
        _request: HttpRequest,
        feature: Feature,
        form: CommandForm,
        *,
        at: datetime,
        by: AuditContext,
    ) -> str:
        """Take a meter from the feature."""
        code = form.cleaned_data["delete_meters"].meter_code
        change_feature(feature=feature, delete_meters=[code], at=at, by=by)
        return f"The meter {code} no longer counts usage of {feature}."


add_figure(
    Figure(
        label="Features without a family or a price",
        rows=lambda at: needing_setup(Feature.objects.all(), at=at),
        url_name="admin:catalog_feature_changelist",
        permission="catalog.change_feature",
        query=lambda _at: "setup=open",
        icon="extension",
        order=80,
    )
)
