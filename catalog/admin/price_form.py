"""Setting a price: what is asked, and what it would change."""

from datetime import datetime
from typing import Any

from django import forms

from catalog.admin.words import cost_text, price_text, units
from catalog.models import FeatureMeter, Meter, MeterPrice
from catalog.selectors.prices import price_in_force
from catalog.services.prices import PriceTerms, set_meter_price
from config.admin.bases import NOTHING, CommandForm, Preview, Table, instant_text
from config.kernel.audit import AuditContext
from config.kernel.errors import Conflict
from config.kernel.money import INT64_MAX, floor_div_carry, format_xusd

_SAMPLES = (1, 1_000, 1_000_000)


class SetPriceForm(CommandForm):
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
        self.initial.update({name: getattr(terms, name) for name in self.base_fields})
        if current is None:
            # A first price is typed, not confirmed.
            del self.initial["unit_price_xusd"]
        per = f"The smallest unit is {units(1, meter.unit, meter.scale)}."
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
            rows=_changes(before, after, meter),
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


def _changes(
    before: MeterPrice | None, after: MeterPrice, meter: Meter
) -> list[tuple[str, str, str]]:
    price = price_text(before, meter) if before else "No price"
    cost = cost_text(before, meter) if before else NOTHING
    rows = [
        ("Price", price, price_text(after, meter)),
        ("Our cost", cost, cost_text(after, meter)),
    ]
    dynamic = before.unit_price_dynamic_xusd if before else 0
    if dynamic:
        # Only the API sets one: here the price is all base.
        rows.append(("Dynamic part of the price", format_xusd(dynamic), "$0.00"))
    return rows


def _amount(price: MeterPrice | None, quantity_minor: int) -> str:
    if price is None:
        return NOTHING
    amount, rest = floor_div_carry(
        quantity_minor, price.unit_price_xusd, price.unit_quantity_minor, 0
    )
    return f"{format_xusd(amount)}{' and a fraction' if rest else ''}"
