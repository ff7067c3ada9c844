"""How prices, quantities and references read to people."""

from datetime import UTC, datetime
from typing import Any

from django.db import models
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from catalog.models import Meter, MeterPrice
from config.admin.bases import NOTHING
from config.kernel.money import format_xusd

_SHORTEST = 4
_SIBILANTS = ("x", "ch", "sh")
_VOWELS = "aeiou"


def unbroken(text: object) -> SafeString:
    """Return a short text that a narrow column must not break."""
    return format_html('<span class="whitespace-nowrap">{}</span>', text)


def moment(at: datetime | None) -> SafeString | str:
    """Return an instant for a column whose title says UTC; a dash for none."""
    return unbroken(f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}") if at else NOTHING


def money(xusd: int | None) -> SafeString | str:
    """Return an amount in dollars, its XUSD where the pointer rests; a dash for none.

    The dollars are exact to the millionth: XUSD are for who compares with the API.
    """
    if xusd is None:
        return NOTHING
    return format_html(
        '<span class="whitespace-nowrap" title="{} XUSD">{}</span>',
        xusd,
        format_xusd(xusd),
    )


def units(quantity_minor: int, unit: str, scale: int = 0) -> str:
    """Return a quantity with its unit: `1,000 tokens`, `0.25 hours`.

    `quantity_minor` counts the smallest unit, of which 10^`scale` are one `unit`.
    """
    whole, part = divmod(quantity_minor, 10**scale)
    decimals = f".{part:0{scale}d}".rstrip("0") if part else ""
    return f"{whole:,}{decimals} {_plural(unit, one=(whole, part) == (1, 0))}"


def _plural(unit: str, *, one: bool) -> str:
    # Abbreviations (GB, kWh) and what is a plural already stay as they are.
    regular = unit.isalpha() and unit.islower() and len(unit) >= _SHORTEST
    if one or not regular or unit.endswith("s"):
        return unit
    if unit.endswith("y") and unit[-2] not in _VOWELS:
        return f"{unit[:-1]}ies"
    return f"{unit}es" if unit.endswith(_SIBILANTS) else f"{unit}s"


def rate_text(amount_xusd: int, quantity_minor: int, meter: Meter) -> str:
    """Return an amount per quantity of a meter: `$2.00 per 1,000 tokens`."""
    per = units(quantity_minor, meter.unit, meter.scale).removeprefix("1 ")
    return f"{format_xusd(amount_xusd)} per {per}"


def price_text(price: MeterPrice, meter: Meter) -> str:
    """Return what customers pay: `$2.00 per 1,000 tokens`, or `Free`."""
    if price.unit_price_xusd == 0:
        return "Free"
    return rate_text(price.unit_price_xusd, price.unit_quantity_minor, meter)


def cost_text(price: MeterPrice, meter: Meter) -> str:
    """Return what the provider charges us: `$0.40 per 1,000 tokens`, or `None`."""
    if price.unit_cost_xusd == 0:
        return "None"
    return rate_text(price.unit_cost_xusd, price.cost_unit_quantity_minor, meter)


def current_price(meter: Meter) -> MeterPrice | None:
    """Return the price in force of a meter read with `current_prices`."""
    return meter.current_prices[0] if meter.current_prices else None


def price_state(price: MeterPrice, *, at: datetime) -> str:
    """Return one word for where a price version stands at `at` (aware UTC)."""
    if price.holds(at):
        return "In force"
    return "Superseded" if price.window_start <= at else "Starts later"


def linked(row: models.Model | None, text: Any = None) -> SafeString | str:
    """Return the row's name, or `text`, as a link to its page; a dash for none."""
    if row is None:
        return NOTHING
    opts = row._meta
    try:
        address = reverse(
            f"admin:{opts.app_label}_{opts.model_name}_change", args=[row.pk]
        )
    except NoReverseMatch:
        return str(text or row)
    return format_html('<a href="{}" class="text-link">{}</a>', address, text or row)
