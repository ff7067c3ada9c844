"""Prices of meters: superseded, never changed."""

from typing import Any

from django.contrib import admin
from django.db.models import OuterRef, QuerySet, Subquery
from django.db.models.functions import JSONObject
from django.http import HttpRequest
from unfold.decorators import display

from catalog.admin.bases import ReadOnlyInline
from catalog.admin.words import (
    cost_text,
    linked,
    moment,
    money,
    price_state,
    price_text,
)
from catalog.models import MeterPrice
from config.admin.bases import CATALOG, NOTHING, Menu, RecordAdmin
from config.kernel.clock import now

PRICE_COLORS = {"In force": "success", "Starts later": "info", "Superseded": "default"}


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
def starts(price: MeterPrice) -> Any:
    """Return the first instant of the price."""
    return moment(price.window_start)


@display(description="Until (UTC)", ordering="window_end")
def ends(price: MeterPrice) -> Any:
    """Return the instant from which another price holds."""
    return moment(price.window_end) if price.window_end else "Further notice"


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
    search_fields = (
        "meter__meter_code", "meter__links__feature__feature_code",
    )  # fmt: skip
    search_help_text = "Meter code, feature code"
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
        return with_maker(super().get_queryset(request)).select_related("realm")

    @display(description="Meter", ordering="meter__meter_code")
    def shown_meter(self, price: MeterPrice) -> Any:
        """Return the meter, as a link."""
        return linked(price.meter)

    @display(description="Exact price")
    def exact_price(self, price: MeterPrice) -> Any:
        """Return the amount in dollars."""
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
        """Return the provider's amount in dollars."""
        return money(price.unit_cost_xusd)
