"""Which price is in force when."""

from collections.abc import Iterable
from datetime import datetime

from catalog.models import Meter, MeterPrice
from config.tenancy.models import Realm


def price_in_force(meter: Meter, *, at: datetime) -> MeterPrice | None:
    """Return the meter's price in force at `at` (aware UTC), None where it has none."""
    return (
        MeterPrice.objects.in_realm(meter.realm_id)
        .effective(at)
        .filter(meter=meter)
        .first()
    )


def prices_in_force(
    *, realm: Realm, meter_codes: Iterable[str], at: datetime
) -> dict[str, MeterPrice]:
    """Return the prices in force at `at`, by meter code; unpriced meters are absent."""
    prices = (
        MeterPrice.objects.in_realm(realm)
        .effective(at)
        .filter(meter__meter_code__in=list(meter_codes))
        .select_related("meter")
    )
    return {price.meter.meter_code: price for price in prices}
