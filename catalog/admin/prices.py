"""Prices of meters: superseded, never changed."""

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import OuterRef, QuerySet, Subquery
from django.db.models.functions import JSONObject
from django.http import HttpRequest
from unfold.decorators import display

from catalog.admin.bases import AtOnceForm, ReadOnlyInline
from catalog.admin.words import (
    cost_text,
    linked,
    money,
    price_state,
    price_text,
    units,
)
from catalog.models import FeatureMeter, Meter, MeterPrice
from catalog.selectors.prices import price_in_force
from catalog.services.prices import PriceTerms, set_meter_price
from config.admin.bases import CATALOG, Menu, Preview, RecordAdmin, Table
from config.admin.values import NOTHING, instant_text
from config.kernel.audit import AuditContext
from config.kernel.clock import now
from config.kernel.errors import Conflict
from config.kernel.money import INT64_MAX, floor_div_carry, format_xusd

PRICE_COLORS = {"In force": "success", "Starts later": "info", "Superseded": "default"}
_SAMPLES = (1, 1_000, 1_000_000)


@display(description="State", label=PRICE_COLORS)
def shown_state(price: MeterPrice) -> str:
    """Return whether the price is in force now."""
    return price_state(price, at=now())


@display(description="Price", ordering="unit_price_xusd")
def shown_price(price: MeterPrice) -> str:
    """Return what customers pay."""
    return price_text(price, price.meter)


@display(description="Our cost", ordering="unit_cost_xusd")
def shown_cost(price: MeterPrice) -> str:
    """Return what the provider charges."""
    return cost_text(price, price.meter)


@display(description="From (UTC)", ordering="window_start")
def starts(price: MeterPrice) -> str:
    """Return the first instant of the price."""
    return instant_text(price.window_start).removesuffix(" UTC")


@display(description="Until (UTC)", ordering="window_end")
def ends(price: MeterPrice) -> str:
    """Return the instant from which another price holds."""
    if price.window_end is None:
        return "Further notice"
    return instant_text(price.window_end).removesuffix(" UTC")


@display(description="Set by")
def set_by(price: Any) -> str:
    """Return who set the price, and why."""
    made = price.made
    if not made:
        return NOTHING
    return f"{made['operator']}: {made['reason']} ({made['ticket_id']})"


def with_maker(prices: QuerySet[MeterPrice]) -> QuerySet[MeterPrice]:
    """Return prices with their meter, and who made them as `made`."""
    history: Any = MeterPrice.history
    made = history.model._default_manager.filter(id=OuterRef("pk"), history_type="+")
    created = made.values(
        one=JSONObject(operator="operator", reason="reason", ticket_id="ticket_id")
    )
    return prices.select_related("meter").annotate(made=Subquery(created[:1]))


class MeterPriceInline(ReadOnlyInline):
    """The price versions of a meter, the newest first."""

    model = MeterPrice
    verbose_name_plural = "price versions"
    fields = (shown_state, shown_price, shown_cost, starts, ends, set_by)
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[MeterPrice]:
        """Return the versions with who made them."""
        return with_maker(super().get_queryset(request)).order_by("-window_start", "pk")


class SetPriceForm(AtOnceForm):
    """The terms of a price."""

    unit_price_xusd = forms.IntegerField(
        label="Price (XUSD)",
        min_value=0,
        max_value=INT64_MAX,
        help_text="What customers pay, in millionths of a US dollar: 2000000 is "
        "$2.00. 0 is free.",
    )
    unit_quantity_minor = forms.IntegerField(
        label="For this many of the smallest unit",
        min_value=1,
        max_value=INT64_MAX,
    )
    unit_cost_xusd = forms.IntegerField(
        label="Our cost (XUSD)",
        min_value=0,
        max_value=INT64_MAX,
        help_text="What the provider charges us, in millionths of a US dollar.",
    )
    cost_unit_quantity_minor = forms.IntegerField(
        label="Cost for this many of the smallest unit",
        min_value=1,
        max_value=INT64_MAX,
    )

    fieldsets = (
        ("Price", {"fields": (("unit_price_xusd", "unit_quantity_minor"),)}),
        ("Cost", {"fields": (("unit_cost_xusd", "cost_unit_quantity_minor"),)}),
    )

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        meter: Meter = self.subject
        current = price_in_force(meter, at=self.at)
        terms = current or PriceTerms(unit_price_xusd=0)
        for name in (*self.base_fields,):
            known = getattr(terms, name)
            # A first price is typed, not confirmed.
            self.initial[name] = None if current is None and known == 0 else known
        self.initial["unit_cost_xusd"] = terms.unit_cost_xusd
        per = f"Per how much: {units(1, meter.unit, meter.scale)} is 1."
        self.fields["unit_quantity_minor"].help_text = per
        self.fields["cost_unit_quantity_minor"].help_text = per

    def perform(self, *, at: datetime, by: AuditContext) -> MeterPrice:
        """Put the price in force. Refuses (`Conflict`) the one that is already."""
        terms = PriceTerms(
            **{name: self.cleaned_data[name] for name in self.base_fields}
        )
        price = set_meter_price(meter=self.subject, terms=terms, at=at, by=by)
        if price.window_start != at:
            raise Conflict(
                f"This price is in force already, since "
                f"{instant_text(price.window_start)}."
            )
        return price


def price_preview(form: SetPriceForm, *, at: datetime, by: AuditContext) -> Preview:
    """Return what the price would change: perform it, to be rolled back."""
    meter: Meter = form.subject
    before = price_in_force(meter, at=at)
    after = form.perform(at=at, by=by)
    features = FeatureMeter.objects.filter(meter=meter).select_related("feature")
    return [
        Table(
            title="Price and cost",
            headers=("", "Now", "From now on"),
            rows=[
                ("Price", price_text(before, meter) if before else "No price",
                 price_text(after, meter)),
                ("Our cost", cost_text(before, meter) if before else NOTHING,
                 cost_text(after, meter)),
            ],
        ),
        Table(
            title="What customers pay",
            headers=("For", "Now", "From now on"),
            rows=[
                (units(sample, meter.unit, meter.scale),
                 _amount(before, sample), _amount(after, sample))
                for sample in _SAMPLES
            ],
        ),
        Table(
            title="Features counted on this meter",
            headers=("Feature", "Name"),
            rows=[
                (link.feature.feature_code, link.feature.name)
                for link in features.order_by("feature__feature_code")
            ],
            empty="No feature is counted on this meter.",
        ),
    ]  # fmt: skip


def _amount(price: MeterPrice | None, quantity_minor: int) -> str:
    if price is None:
        return NOTHING
    amount, rest = floor_div_carry(
        quantity_minor, price.unit_price_xusd, price.unit_quantity_minor, 0
    )
    return f"{format_xusd(amount)}{' and a fraction' if rest else ''}"


@admin.register(MeterPrice)
class MeterPriceAdmin(RecordAdmin):
    """Every price there ever was."""

    menu = Menu(CATALOG, icon="sell", order=80)
    searched = False
    empty_message = "Nothing has a price yet. Open a meter and press “Set price”."
    list_display = (
        "shown_meter", shown_state, shown_price, shown_cost, starts, ends, set_by,
        "realm",
    )  # fmt: skip
    list_display_links = (shown_state,)
    list_filter = ("realm",)
    list_select_related = ("meter", "realm")
    search_fields = (
        "meter__meter_code", "meter__links__feature__feature_code",
    )  # fmt: skip
    ordering = ("-window_start", "pk")
    export_fields = (
        "realm", "meter__meter_code", "meter__unit", "window_start", "window_end",
        "unit_price_xusd", "unit_price_base_xusd", "unit_price_dynamic_xusd",
        "unit_quantity_minor", "unit_cost_xusd", "cost_unit_quantity_minor",
    )  # fmt: skip
    fieldsets = (
        (
            None,
            {"fields": ("realm", "shown_meter", shown_state, starts, ends, set_by)},
        ),
        (
            "What customers pay",
            {
                "fields": (shown_price, "exact_price", "base", "dynamic",
                           "unit_quantity_minor"),
                "description": "The quantity counts the meter's smallest unit.",
            },
        ),
        (
            "What the provider charges us",
            {"fields": (shown_cost, "exact_cost", "cost_unit_quantity_minor")},
        ),
    )  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[MeterPrice]:
        """Return the prices with their meter and maker."""
        return with_maker(super().get_queryset(request))

    @display(description="Meter", ordering="meter__meter_code")
    def shown_meter(self, price: MeterPrice) -> Any:
        """Return the meter, as a link."""
        return linked(price.meter)

    @display(description="Exact price")
    def exact_price(self, price: MeterPrice) -> Any:
        """Return the amount in dollars and XUSD."""
        return money(price.unit_price_xusd)

    @display(description="Of which base")
    def base(self, price: MeterPrice) -> Any:
        """Return the part before the dynamic one."""
        return money(price.unit_price_base_xusd)

    @display(description="Of which dynamic part")
    def dynamic(self, price: MeterPrice) -> Any:
        """Return the signed rest."""
        return money(price.unit_price_dynamic_xusd)

    @display(description="Exact cost")
    def exact_cost(self, price: MeterPrice) -> Any:
        """Return the provider's amount in dollars and XUSD."""
        return money(price.unit_cost_xusd)
