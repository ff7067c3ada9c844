"""Verbs on meter prices: a price is superseded, never changed."""

from dataclasses import dataclass, fields
from datetime import datetime

from django.db import transaction

from catalog.models import Meter, MeterPrice
from catalog.services.rows import locked
from config.kernel.audit import AuditContext
from config.kernel.errors import Invalid, Unavailable
from config.kernel.money import check_int64, parse_posint, parse_uint
from config.kernel.windows import format_instant
from config.tenancy.history import auditing
from config.tenancy.services.events import record_event


class PriceOvertaken(Unavailable):
    """Another writer's price took effect at or after this one's instant (503).

    Sent again, the same request reads a later clock and succeeds.
    """

    default_code = "SERVER.BUSY"

    def __init__(self, meter: Meter, current: MeterPrice) -> None:
        super().__init__(
            f"Meter {meter} has a price since {format_instant(current.window_start)}, "
            "which is not before the one sent. Send it again.",
            meta={"retry_after": 1},
        )


@dataclass(frozen=True, slots=True)
class PriceTerms:
    """The amounts of a price, before it is stored.

    Attributes:
        unit_price_xusd: revenue for `unit_quantity_minor`, 0 or more.
        unit_cost_xusd: the provider's cost for `cost_unit_quantity_minor`, 0 or more.
        unit_quantity_minor: reference quantity of the price, 1 or more.
        cost_unit_quantity_minor: reference quantity of the cost, 1 or more.
        unit_price_base_xusd: the price before the dynamic part; None means all of it.
        unit_price_dynamic_xusd: the signed rest.

    """

    unit_price_xusd: int
    unit_cost_xusd: int = 0
    unit_quantity_minor: int = 1
    cost_unit_quantity_minor: int = 1
    unit_price_base_xusd: int | None = None
    unit_price_dynamic_xusd: int = 0

    def checked(self) -> dict[str, int]:
        """Return the columns of the price. Refuses (`Invalid`) with the field at fault.

        That is a number outside its range or 64 bits, or a price that is not its base
        plus its dynamic part.
        """
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        if given["unit_price_base_xusd"] is None:
            given["unit_price_base_xusd"] = given["unit_price_xusd"]
        check_int64(given["unit_price_dynamic_xusd"], "unit_price_dynamic_xusd")
        for name in ("unit_price_xusd", "unit_price_base_xusd", "unit_cost_xusd"):
            parse_uint(given[name], name)
        for name in ("unit_quantity_minor", "cost_unit_quantity_minor"):
            parse_posint(given[name], name)
        total = given["unit_price_base_xusd"] + given["unit_price_dynamic_xusd"]
        if given["unit_price_xusd"] != total:
            raise Invalid(
                f"unit_price_xusd {given['unit_price_xusd']} must equal "
                "unit_price_base_xusd plus unit_price_dynamic_xusd, which give "
                f"{total}.",
                field="unit_price_xusd",
            )
        return given


@transaction.atomic
def set_meter_price(
    *, meter: Meter, terms: PriceTerms, at: datetime, by: AuditContext
) -> MeterPrice:
    """Put a price in force from `at` (aware UTC) on; return the price in force.

    The current price ends at the same instant, so at `at` itself the new one holds.
    The same terms again change nothing. Refuses bad terms (`Invalid`) and an `at`
    that does not come after the current price's start (`PriceOvertaken`).
    """
    columns = terms.checked()
    meter = locked(Meter.objects.all(), meter)
    latest = (
        MeterPrice.objects.filter(realm=meter.realm_id, meter=meter)
        .order_by("-window_start", "id")
        .first()
    )
    if latest is not None:
        if latest.window_start <= at and latest.is_open_with(columns):
            return latest
        if latest.window_start >= at:
            raise PriceOvertaken(meter, latest)
    price = MeterPrice(realm=meter.realm, meter=meter, window_start=at, **columns)
    with auditing(by, at=at):
        if latest is not None and latest.holds(at):
            latest.window_end = latest.updated_at = at
            latest.save(update_fields=["window_end", "updated_at"])
        price.save(force_insert=True)
        _record(price, at=at, by=by)
    return price


def _record(price: MeterPrice, *, at: datetime, by: AuditContext) -> None:
    terms = {name: str(getattr(price, name)) for name in MeterPrice.AMOUNTS}
    record_event(
        realm=price.realm,
        kind="meter_price.set",
        subject=price,
        payload={"meter_code": price.meter.meter_code, **terms},
        at=at,
        by=by,
    )
