from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from billing.models import BillingAccount, BillingUser, PlanAssignment
from catalog.models.rules import is_object, is_one_of
from config.kernel.ids import new_id
from config.tenancy.models import Realm, RealmQuerySet
from gating.models.leases import BillingMode


class Entitlement(models.TextChoices):
    """What the plans in effect say about a feature."""

    ALLOWED = "allowed", "Allowed"
    DENIED = "denied", "Denied"
    MISSING = "missing", "No plan allows it"
    NOT_REQUIRED = "not_required", "No plan is needed"


class RuleSet(models.Model):
    """What governs a feature for all who hold the same plans. Append-only.

    Stored once per content: `id` is a hash of `document` (`gating.rules`), and leases
    and denials name it as their evidence. The other columns repeat what the gate's
    functions read, one element per policy or meter, in the document's order. Limits
    NULL are unlimited, prices NULL not configured.
    """

    id = models.UUIDField(primary_key=True, editable=False)
    realm = models.ForeignKey(
        Realm, models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    feature_code = models.TextField()
    feature_family_code = models.TextField()
    active = models.BooleanField()
    entitlement = models.TextField(choices=Entitlement)
    bundle_missing = models.BooleanField()
    billing_mode = models.TextField(choices=BillingMode)
    zero_cost = models.BooleanField()
    price_xusd = models.BigIntegerField(null=True)
    price_quantity_minor = models.BigIntegerField(null=True)
    price_whole_blocks = models.BooleanField()
    policy_ids = ArrayField(models.UUIDField())
    policy_kinds = ArrayField(models.TextField())
    policy_scopes = ArrayField(models.TextField())
    policy_features = ArrayField(models.TextField())
    policy_keys = ArrayField(models.TextField())
    policy_seconds = ArrayField(models.BigIntegerField())
    policy_limits = ArrayField(models.BigIntegerField(null=True))
    policy_reserves = ArrayField(models.BooleanField())
    meter_codes = ArrayField(models.TextField())
    meter_units = ArrayField(models.TextField())
    meter_prices_xusd = ArrayField(models.BigIntegerField(null=True))
    meter_quantities_minor = ArrayField(models.BigIntegerField(null=True))
    meter_costs_xusd = ArrayField(models.BigIntegerField(null=True))
    meter_cost_quantities_minor = ArrayField(models.BigIntegerField(null=True))
    meter_modes = ArrayField(models.TextField(null=True))
    meter_rate_identities = ArrayField(models.TextField(null=True))
    meter_cost_identities = ArrayField(models.TextField(null=True))
    document = models.JSONField()
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = RealmQuerySet.as_manager()

    class Meta:
        db_table = "gate_rule_sets"
        constraints = [
            models.UniqueConstraint(
                fields=["realm", "id"], name="gate_rule_set_in_one_realm"
            ),
            is_one_of(
                "entitlement", Entitlement, name="gate_rule_set_entitlement_is_known"
            ),
            is_one_of(
                "billing_mode", BillingMode, name="gate_rule_set_billing_mode_is_known"
            ),
            models.CheckConstraint(
                name="gate_rule_set_price_has_its_quantity",
                condition=Q(price_xusd__isnull=True, price_quantity_minor__isnull=True)
                | Q(
                    price_xusd__isnull=False,
                    price_quantity_minor__isnull=False,
                    price_xusd__gte=0,
                    price_quantity_minor__gte=1,
                ),
                violation_error_message="A price is for a quantity of 1 or more.",
            ),
            is_object("document", name="gate_rule_set_document_is_object"),
        ]

    def __str__(self) -> str:
        return f"rules of {self.feature_code}"


class Projection(models.Model):
    """Which rules govern a user's use of a feature, and until when. A cache.

    Holds while `valid_from <= at < valid_until` and both versions are the current
    ones; otherwise it is resolved again (`gating.services.projections`). Keyed by the
    names that callers send, so that the gate finds everything by one look-up.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    realm = models.ForeignKey(
        Realm, models.PROTECT, related_name="+", db_index=False, db_constraint=False
    )
    principal_id = models.TextField()
    business_user_id = models.TextField()
    feature_code = models.TextField()
    account = models.ForeignKey(
        BillingAccount,
        models.PROTECT,
        related_name="+",
        db_index=False,
        db_constraint=False,
    )
    user = models.ForeignKey(
        BillingUser,
        models.PROTECT,
        related_name="+",
        db_index=False,
        db_constraint=False,
    )
    user_active = models.BooleanField()
    rule_set = models.ForeignKey(
        RuleSet,
        models.PROTECT,
        related_name="+",
        db_index=False,
        db_constraint=False,
    )
    plan_assignment = models.ForeignKey(
        PlanAssignment,
        models.PROTECT,
        null=True,
        related_name="+",
        db_index=False,
        db_constraint=False,
    )
    catalog_version = models.BigIntegerField()
    account_version = models.BigIntegerField()
    valid_from = models.DateTimeField()
    valid_until = models.DateTimeField()

    objects = RealmQuerySet.as_manager()

    class Meta:
        db_table = "gate_projections"
        constraints = [
            models.UniqueConstraint(
                fields=["realm", "principal_id", "business_user_id", "feature_code"],
                name="gate_projection_once_per_user_and_feature",
            ),
            models.CheckConstraint(
                name="gate_projection_holds_for_a_time",
                condition=Q(valid_until__gt=F("valid_from")),
                violation_error_message="It must hold for some time.",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.feature_code} for {self.business_user_id}"


class CatalogVersion(models.Model):
    """Counts the changes of a realm's catalog, plans and policies, by trigger.

    Outlives its realm: one that comes again under the same id counts on.
    """

    realm = models.OneToOneField(
        Realm,
        models.DO_NOTHING,
        primary_key=True,
        related_name="+",
        db_constraint=False,
    )
    version = models.BigIntegerField(default=1)

    objects = RealmQuerySet.as_manager()

    class Meta:
        db_table = "gate_catalog_versions"

    def __str__(self) -> str:
        return f"catalog of {self.realm_id}, version {self.version}"


class AccountVersion(models.Model):
    """Counts the changes of an account, its users and assignments, by trigger.

    Goes with its account: the database deletes it.
    """

    account = models.OneToOneField(
        BillingAccount,
        models.DO_NOTHING,
        primary_key=True,
        related_name="+",
        db_constraint=False,
    )
    realm = models.ForeignKey(
        Realm,
        models.DO_NOTHING,
        related_name="+",
        db_index=False,
        db_constraint=False,
    )
    version = models.BigIntegerField(default=1)

    objects = RealmQuerySet.as_manager()

    class Meta:
        db_table = "gate_account_versions"

    def __str__(self) -> str:
        return f"account {self.account_id}, version {self.version}"
