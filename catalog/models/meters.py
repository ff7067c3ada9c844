from typing import TYPE_CHECKING

from django.db import models
from django.db.models import Q

from catalog.models.rules import (
    in_one_realm,
    is_code,
    is_given,
    is_object,
    is_one_of,
)
from config.tenancy.history import AuditedRecords
from config.tenancy.models import Realm, RealmQuerySet, Row

if TYPE_CHECKING:
    from catalog.models.prices import MeterPrice

MAX_SCALE = 18


class SemanticKind(models.TextChoices):
    """What a quantity on a meter counts."""

    ACTIVITY = "activity", "Activity: work that was done"
    OUTCOME = "outcome", "Outcome: a result that was reached"


class DisplayRounding(models.TextChoices):
    """How a quantity is rounded when it is shown; prices never round."""

    ROUND = "round", "To the nearest"
    FLOOR = "floor", "Down"
    CEIL = "ceil", "Up"
    TRUNCATE = "truncate", "Toward zero"


class Meter(Row):
    """What is counted, and in which unit; prices hang on it."""

    realm = models.ForeignKey(Realm, models.PROTECT, related_name="+", db_index=False)
    meter_code = models.TextField()
    semantic_kind = models.TextField(
        choices=SemanticKind, default=SemanticKind.ACTIVITY
    )
    unit = models.TextField(default="unit", help_text="What one whole unit is called.")
    scale = models.SmallIntegerField(
        default=0, help_text="Decimal digits of the minor unit: 2 means hundredths."
    )
    rounding = models.TextField(choices=DisplayRounding, default=DisplayRounding.ROUND)
    active = models.BooleanField(default=True)
    metadata = models.JSONField(default=dict, blank=True)

    objects = RealmQuerySet.as_manager()
    history = AuditedRecords(table_name="meters_history")

    # Set by selectors: the prices in force at the instant read (none or one), and
    # the feature to show it under.
    current_prices: "list[MeterPrice]"
    shown_feature: dict[str, str] | None

    class Meta:
        db_table = "meters"
        constraints = [
            in_one_realm(name="meter_in_one_realm"),
            models.UniqueConstraint(
                fields=["realm", "meter_code"],
                name="meter_code_once_per_realm",
                violation_error_message="This realm has a meter of that code.",
            ),
            is_code("meter_code", name="meter_code_is_plain"),
            is_one_of(
                "semantic_kind", SemanticKind, name="meter_semantic_kind_is_known"
            ),
            is_one_of("rounding", DisplayRounding, name="meter_rounding_is_known"),
            is_given(
                "unit", name="meter_unit_is_given", message="A meter needs a unit."
            ),
            models.CheckConstraint(
                name="meter_scale_between_0_and_18",
                condition=Q(scale__gte=0, scale__lte=MAX_SCALE),
                violation_error_message=f"The scale is 0 to {MAX_SCALE} digits.",
            ),
            is_object("metadata", name="meter_metadata_is_object"),
        ]

    def __str__(self) -> str:
        return self.meter_code
