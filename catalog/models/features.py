from django.db import models
from django.db.models import Q

from catalog.models.families import FeatureFamily
from catalog.models.meters import Meter
from catalog.models.rules import (
    in_one_realm,
    is_code,
    is_given,
    is_object,
    is_one_of,
)
from config.tenancy.history import AuditedRecords
from config.tenancy.models import Realm, RealmQuerySet, Row


class BudgetStrategy(models.TextChoices):
    """How spending on a feature is held against budgets."""

    AUTO = "auto", "Chosen by the gate"
    HOT = "hot", "Checked at every call"
    COLD = "cold", "Checked when settled"


class Feature(Row):
    """Something a user may or may not use, and that can be metered."""

    realm = models.ForeignKey(Realm, models.PROTECT, related_name="+", db_index=False)
    feature_family = models.ForeignKey(
        FeatureFamily, models.PROTECT, related_name="features", db_index=False
    )
    feature_code = models.TextField()
    name = models.TextField()
    description = models.TextField(blank=True, default="")
    active = models.BooleanField(default=True)
    entitlement_required = models.BooleanField(
        null=True,
        blank=True,
        help_text="Whether a user needs a plan that allows it. Unknown means: as the "
        "family says.",
    )
    default_budget_strategy = models.TextField(
        choices=BudgetStrategy, default=BudgetStrategy.AUTO
    )
    unit = models.TextField(
        blank=True, default="", help_text="The unit of a meter made for the feature."
    )
    metadata = models.JSONField(default=dict, blank=True)

    objects = RealmQuerySet.as_manager()
    history = AuditedRecords(table_name="features_history")

    # Set by selectors: its meters with their prices, the primary one first.
    shown_links: "list[FeatureMeter]"

    class Meta:
        db_table = "features"
        constraints = [
            in_one_realm(name="feature_in_one_realm"),
            models.UniqueConstraint(
                fields=["realm", "feature_code"],
                name="feature_code_once_per_realm",
                violation_error_message="This realm has a feature of that code.",
            ),
            is_code("feature_code", name="feature_code_is_plain"),
            is_given(
                "name",
                name="feature_name_is_given",
                message="A feature needs a name.",
            ),
            is_one_of(
                "default_budget_strategy",
                BudgetStrategy,
                name="feature_budget_strategy_is_known",
            ),
            is_object("metadata", name="feature_metadata_is_object"),
        ]
        indexes = [
            models.Index(fields=["realm", "feature_family"], name="features_by_family")
        ]

    def __str__(self) -> str:
        return self.feature_code

    @property
    def needs_entitlement(self) -> bool:
        """Return whether a plan must allow it; read the feature with its family."""
        if self.entitlement_required is None:
            return self.feature_family.entitlement_required
        return self.entitlement_required


class FeatureMeter(Row):
    """A meter that usage of a feature may be counted on.

    Every feature has exactly one primary meter, whose code is the feature's own: a
    transaction that leaves it otherwise is refused as it ends.
    """

    realm = models.ForeignKey(Realm, models.PROTECT, related_name="+", db_index=False)
    feature = models.ForeignKey(
        Feature, models.PROTECT, related_name="links", db_index=False
    )
    meter = models.ForeignKey(
        Meter, models.PROTECT, related_name="links", db_index=False
    )
    is_primary = models.BooleanField(default=False)

    objects = RealmQuerySet.as_manager()
    history = AuditedRecords(table_name="feature_meters_history")

    class Meta:
        db_table = "feature_meters"
        constraints = [
            models.UniqueConstraint(
                fields=["realm", "feature", "meter"],
                name="feature_meter_linked_once",
                violation_error_message="This meter is linked to the feature already.",
            ),
            models.UniqueConstraint(
                fields=["realm", "feature"],
                condition=Q(is_primary=True),
                name="feature_meter_one_primary_per_feature",
                violation_error_message="This feature has its primary meter already.",
            ),
        ]
        indexes = [
            models.Index(fields=["realm", "meter"], name="feature_meters_by_meter")
        ]

    def __str__(self) -> str:
        return f"{self.feature_id} {self.meter_id}"
