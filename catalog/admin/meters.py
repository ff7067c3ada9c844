"""Meters: what is counted, in which unit, at which price."""

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import OuterRef, QuerySet
from django.http import HttpRequest
from unfold.decorators import display

from catalog.admin.bases import CodeForm, RealmDefinitionAdmin, refuse_existing
from catalog.admin.families import ACTIVE_COLORS
from catalog.admin.price_form import SetPriceForm, price_preview
from catalog.admin.prices import MeterPriceInline
from catalog.admin.words import cost_text, current_price, price_text
from catalog.models import FeatureMeter, Meter
from catalog.selectors.meters import current_prices
from catalog.services.meters import change_meter, upsert_meter
from config.admin.bases import (
    CATALOG,
    NOTHING,
    ActionVariant,
    Menu,
    Preview,
    command,
    known_fields,
    metadata_form,
)
from config.kernel.audit import AuditContext
from config.kernel.clock import now
from config.kernel.codes import normalize_code
from config.kernel.metadata import MeterMetadata


class MeterForm(CodeForm, metadata_form(MeterMetadata)):  # type: ignore[misc]
    """What a meter counts, and in which unit."""

    code_name = "meter_code"
    normalize = normalize_code

    class Meta:
        model = Meter
        fields = (
            "realm", "meter_code", "semantic_kind", "unit", "scale", "rounding",
            "active", "metadata",
        )  # fmt: skip
        labels = {
            "meter_code": "Code",
            "semantic_kind": "Counts",
            "scale": "Decimal digits",
            "rounding": "Shown rounded",
        }
        help_texts = {
            "meter_code": "What callers send, like tokens.output. It cannot be changed "
            "later.",
            "unit": "What one whole unit is called: token, request, hour.",
            "scale": "Of the smallest unit: 0 counts whole units, 2 hundredths.",
            "rounding": "How a quantity is shown; prices never round.",
            "active": "Off: usage on it is kept aside and not charged.",
        }


@admin.register(Meter)
class MeterAdmin(RealmDefinitionAdmin):
    """Meters."""

    menu = Menu(CATALOG, icon="speed", order=70)
    empty_message = "Prices hang on meters. Every new feature brings one of its own."
    form = MeterForm
    code_fields = ("meter_code",)
    inlines = (MeterPriceInline,)
    readonly_fields = ("price", "cost", "features")
    list_display = (
        "meter_code", "unit", "price", "cost", "features", "kind", "state", "realm",
    )  # fmt: skip
    list_filter = ("realm", "semantic_kind", "active")
    list_select_related = ("realm",)
    search_fields = ("meter_code", "unit", "links__feature__feature_code")
    search_help_text = "Meter code, unit, feature code"
    ordering = ("meter_code", "realm_id")
    export_fields = (
        "realm", "meter_code", "semantic_kind", "unit", "scale", "rounding", "active",
        "created_at", "updated_at", "metadata",
    )  # fmt: skip
    fieldsets = (
        (
            None,
            {"fields": ("realm", "meter_code", "semantic_kind", "unit", "scale",
                        "rounding", "active")},
        ),
        ("Now", {"fields": ("price", "cost", "features")}),
        ("Blocks and annotations", {"fields": known_fields(MeterMetadata)}),
    )  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[Meter]:
        """Return the meters with the price in force and their features' codes."""
        meters: QuerySet[Meter] = super().get_queryset(request)
        codes = (
            FeatureMeter.objects.filter(meter=OuterRef("pk"))
            .order_by("-is_primary", "feature__feature_code")
            .values("feature__feature_code")
        )
        return meters.annotate(feature_codes=ArraySubquery(codes)).prefetch_related(
            current_prices(at=now())
        )

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return the groups; a meter that does not exist yet has no price."""
        groups = super().get_fieldsets(request, obj)
        return groups if obj else [g for g in groups if g[0] != "Now"]

    @display(description="Price now")
    def price(self, meter: Meter) -> str:
        """Return the price in force."""
        found = current_price(meter)
        return price_text(found, meter) if found else "No price"

    @display(description="Our cost now")
    def cost(self, meter: Meter) -> str:
        """Return the provider's cost in force."""
        found = current_price(meter)
        return cost_text(found, meter) if found else NOTHING

    @display(description="Features")
    def features(self, meter: Any) -> str:
        """Return the codes of the features counted on the meter."""
        return ", ".join(meter.feature_codes) or "None"

    @display(description="Counts", ordering="semantic_kind")
    def kind(self, meter: Meter) -> str:
        """Return whether work or results are counted."""
        return str(meter.get_semantic_kind_display()).split(":")[0]

    @display(description="State", label=ACTIVE_COLORS, ordering="active")
    def state(self, meter: Meter) -> str:
        """Return whether the meter counts."""
        return "Active" if meter.active else "Off"

    def save_definition(
        self,
        obj: Meter,
        form: Any,
        *,
        change: bool,
        at: datetime,
        by: AuditContext,
    ) -> Meter:
        """Create or change the meter by its verb."""
        values: Any = {
            "unit": obj.unit,
            "scale": obj.scale,
            "rounding": obj.rounding,
            "semantic_kind": obj.semantic_kind,
            "active": obj.active,
            "metadata": obj.metadata,
        }
        if change:
            return change_meter(meter=obj, at=at, by=by, **values)
        meter, created = upsert_meter(
            realm=obj.realm, meter_code=obj.meter_code, at=at, by=by, **values
        )
        refuse_existing(f"Meter {meter}", created=created)
        return meter

    def preview_price(
        self,
        _request: HttpRequest,
        _meter: Meter,
        form: SetPriceForm,
        *,
        at: datetime,
        by: AuditContext,
    ) -> Preview:
        """Return what a price would change."""
        return price_preview(form, at=at, by=by)

    @command(
        "Set price",
        form=SetPriceForm,
        permission="catalog.add_meterprice",
        icon="sell",
        variant=ActionVariant.PRIMARY,
        description="The price holds from the moment you confirm it. The one before "
        "ends then, and stays on record; what was rated keeps its price.",
        preview=preview_price,
    )
    def set_price(
        self,
        _request: HttpRequest,
        meter: Meter,
        form: SetPriceForm,
        *,
        at: datetime,
        by: AuditContext,
    ) -> str:
        """Put a price in force from now on."""
        price = form.perform(at=at, by=by)
        return f"From now on {meter} costs {price_text(price, meter)}."
