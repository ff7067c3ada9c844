from django.db import models
from django.db.models.functions import Lower

from catalog.models import Feature, FeatureFamily
from catalog.models.rules import is_object
from config.tenancy.history import AuditedRecords
from config.tenancy.models import Realm, RealmQuerySet, Row


class PlanKind(models.TextChoices):
    """The part a plan plays for an account."""

    BASE = "base", "Base plan"
    ADDON = "addon", "Add-on"
    PROMO = "promo", "Promotion"


class Effect(models.TextChoices):
    """What an entitlement does."""

    ALLOW = "allow", "Allow"
    DENY = "deny", "Deny"


class Plan(Row):
    """A plan: what it entitles to, and the defaults it brings. Higher priority wins."""

    realm = models.ForeignKey(Realm, models.PROTECT, related_name="+", db_index=False)
    plan_code = models.TextField()
    name = models.TextField()
    kind = models.TextField(choices=PlanKind, default=PlanKind.BASE)
    priority = models.IntegerField(
        default=0, help_text="When several plans apply, the higher number wins."
    )
    active = models.BooleanField(
        default=True, help_text="An inactive plan has no effect, even where assigned."
    )
    metadata = models.JSONField(default=dict, blank=True)

    objects = RealmQuerySet.as_manager()
    history = AuditedRecords(table_name="billing_plans_history")

    class Meta:
        db_table = "billing_plans"
        verbose_name = "plan"
        constraints = [
            models.UniqueConstraint(
                fields=["realm", "id"], name="billing_plan_in_one_realm"
            ),
            models.UniqueConstraint(
                fields=["realm", "plan_code"],
                name="billing_plan_code_once_per_realm",
                violation_error_message="A plan with this code already exists.",
            ),
            models.CheckConstraint(
                name="billing_plan_code_is_plain",
                condition=models.Q(plan_code__regex=r"\A\S{1,128}\Z"),
                violation_error_message=(
                    "A plan code is 1 to 128 characters without spaces."
                ),
            ),
            models.UniqueConstraint(
                "realm",
                Lower("plan_code"),
                name="billing_plan_code_once_whatever_the_case",
                violation_error_message=(
                    "A plan with this code exists, in other upper and lower case."
                ),
            ),
            models.CheckConstraint(
                name="billing_plan_name_is_given",
                condition=models.Q(name__regex=r"\S"),
                violation_error_message="A plan needs a name.",
            ),
            models.CheckConstraint(
                name="billing_plan_kind_is_known",
                condition=models.Q(kind__in=PlanKind.values),
                violation_error_message="A plan is a base plan, add-on or promotion.",
            ),
            is_object("metadata", name="billing_plan_metadata_is_object"),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.plan_code})"


class PlanEntitlement(Row):
    """What a plan allows or denies: a feature, a family, or (neither) everything."""

    realm = models.ForeignKey(Realm, models.PROTECT, related_name="+", db_index=False)
    plan = models.ForeignKey(Plan, models.PROTECT, related_name="entitlements")
    feature_family = models.ForeignKey(
        FeatureFamily, models.PROTECT, null=True, blank=True, related_name="+"
    )
    feature = models.ForeignKey(
        Feature, models.PROTECT, null=True, blank=True, related_name="+"
    )
    effect = models.TextField(choices=Effect, default=Effect.ALLOW)

    objects = RealmQuerySet.as_manager()
    history = AuditedRecords(table_name="billing_plan_entitlements_history")

    class Meta:
        db_table = "billing_plan_entitlements"
        verbose_name = "entitlement"
        constraints = [
            models.UniqueConstraint(
                fields=["realm", "plan", "feature_family", "feature"],
                name="plan_entitlement_once_per_target",
                nulls_distinct=False,
                violation_error_message="The plan already has a rule for this target.",
            ),
            models.CheckConstraint(
                name="plan_entitlement_has_one_target_at_most",
                condition=models.Q(feature__isnull=True)
                | models.Q(feature_family__isnull=True),
                violation_error_message="Name a feature or a family, not both.",
            ),
            models.CheckConstraint(
                name="plan_entitlement_effect_is_known",
                condition=models.Q(effect__in=Effect.values),
                violation_error_message="An entitlement allows or denies.",
            ),
        ]

    def __str__(self) -> str:
        target = self.feature_id or self.feature_family_id or "everything"
        return f"{self.effect} {target}"
