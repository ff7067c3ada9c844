from django.db import models
from django.db.models import Q

from catalog.models.rules import in_one_realm, is_code, is_given, is_object
from config.tenancy.history import AuditedRecords
from config.tenancy.models import Realm, RealmQuerySet, Row

FALLBACK_FAMILY_CODE = "auto.registry"
"""The family of features that were registered on first use, in every realm."""


class FeatureFamily(Row):
    """A group of features that plans can allow or deny as a whole."""

    realm = models.ForeignKey(Realm, models.PROTECT, related_name="+", db_index=False)
    feature_family_code = models.TextField()
    is_fallback = models.BooleanField(default=False, editable=False)
    name = models.TextField()
    description = models.TextField(blank=True, default="")
    active = models.BooleanField(default=True)
    entitlement_required = models.BooleanField(
        default=True,
        help_text="Whether a user needs a plan that allows it, unless a feature of "
        "the family says otherwise.",
    )
    metadata = models.JSONField(default=dict, blank=True)

    objects = RealmQuerySet.as_manager()
    history = AuditedRecords(table_name="feature_families_history")

    class Meta:
        db_table = "feature_families"
        verbose_name_plural = "feature families"
        constraints = [
            in_one_realm(name="feature_family_in_one_realm"),
            models.UniqueConstraint(
                fields=["realm", "feature_family_code"],
                name="feature_family_code_once_per_realm",
                violation_error_message="This realm has a family of that code.",
            ),
            models.UniqueConstraint(
                fields=["realm"],
                condition=Q(is_fallback=True),
                name="feature_family_one_fallback_per_realm",
                violation_error_message="This realm has its fallback family already.",
            ),
            models.CheckConstraint(
                name="feature_family_fallback_iff_auto_registry",
                condition=Q(is_fallback=True, feature_family_code=FALLBACK_FAMILY_CODE)
                | Q(Q(is_fallback=False), ~Q(feature_family_code=FALLBACK_FAMILY_CODE)),
                violation_error_message=(
                    f"The code {FALLBACK_FAMILY_CODE} is kept for the fallback family."
                ),
            ),
            is_code("feature_family_code", name="feature_family_code_is_plain"),
            is_given(
                "name",
                name="feature_family_name_is_given",
                message="A feature family needs a name.",
            ),
            is_object("metadata", name="feature_family_metadata_is_object"),
        ]

    def __str__(self) -> str:
        return self.feature_family_code
