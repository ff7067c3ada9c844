from collections.abc import Mapping
from typing import ClassVar

from django.db import models
from django.db.models import F, Q

from catalog.models.meters import Meter
from config.tenancy.history import AuditedRecords
from config.tenancy.models import Realm, Row
from config.tenancy.models.windows import Window, WindowQuerySet, one_at_a_time


def _at_least(column: str, minimum: int, *, name: str) -> models.CheckConstraint:
    return models.CheckConstraint(
        name=name,
        condition=Q(**{f"{column}__gte": minimum}),
        violation_error_message=f"Must be {minimum} or more.",
    )


class MeterPrice(Row, Window):
    """What a quantity on a meter costs while the price is in force.

    The revenue price is `unit_price_xusd` for `unit_quantity_minor`, the sum of a
    base and a signed dynamic part; the provider's cost is `unit_cost_xusd` for
    `cost_unit_quantity_minor`. A price is never changed: another supersedes it.
    """

    AMOUNTS = (
        "unit_price_xusd",
        "unit_price_base_xusd",
        "unit_price_dynamic_xusd",
        "unit_quantity_minor",
        "unit_cost_xusd",
        "cost_unit_quantity_minor",
    )
    """The columns that make two prices the same."""

    realm = models.ForeignKey(Realm, models.PROTECT, related_name="+", db_index=False)
    meter = models.ForeignKey(
        Meter, models.PROTECT, related_name="prices", db_index=False
    )
    unit_price_xusd = models.BigIntegerField()
    unit_price_base_xusd = models.BigIntegerField()
    unit_price_dynamic_xusd = models.BigIntegerField(default=0)
    unit_quantity_minor = models.BigIntegerField(default=1)
    unit_cost_xusd = models.BigIntegerField()
    cost_unit_quantity_minor = models.BigIntegerField(default=1)

    objects = WindowQuerySet.as_manager()
    history = AuditedRecords(table_name="meter_prices_history")

    class Meta(Window.Meta):
        db_table = "meter_prices"
        constraints: ClassVar[list[models.BaseConstraint]] = [
            *Window.Meta.constraints,
            one_at_a_time(
                "realm",
                "meter",
                name="meter_price_one_in_force",
                message="Another price of this meter is in force in that window.",
            ),
            models.CheckConstraint(
                name="meter_price_is_base_plus_dynamic",
                # Written as a difference of two amounts that are not negative: their
                # sum could leave 64 bits, and PostgreSQL would raise.
                condition=Q(
                    unit_price_dynamic_xusd=F("unit_price_xusd")
                    - F("unit_price_base_xusd")
                ),
                violation_error_message=(
                    "The unit price must equal its base plus its dynamic part."
                ),
            ),
            _at_least("unit_price_xusd", 0, name="meter_price_not_negative"),
            _at_least("unit_price_base_xusd", 0, name="meter_price_base_not_negative"),
            _at_least(
                "unit_quantity_minor", 1, name="meter_price_has_reference_quantity"
            ),
            _at_least("unit_cost_xusd", 0, name="meter_price_cost_not_negative"),
            _at_least(
                "cost_unit_quantity_minor",
                1,
                name="meter_price_has_cost_reference_quantity",
            ),
        ]

    def __str__(self) -> str:
        return f"Price of {self.meter} from {self.window_start:%Y-%m-%d %H:%M} UTC"

    def is_open_with(self, amounts: Mapping[str, int]) -> bool:
        """Return whether the price has these amounts and no end."""
        return self.window_end is None and all(
            getattr(self, name) == amounts[name] for name in self.AMOUNTS
        )
