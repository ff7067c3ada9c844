from django.db import models

from billing.models.accounts import BillingAccount
from catalog.models.rules import is_object, is_one_of
from config.tenancy.history import AuditedRecords
from config.tenancy.models import Realm, RealmQuerySet, Row


def _any_tax_id(path: str) -> models.Func:
    return models.Func(
        models.F("tax_ids"),
        models.Value(path),
        function="jsonb_path_exists",
        output_field=models.BooleanField(),
    )


class EntityType(models.TextChoices):
    """What sort of payer an account is."""

    INDIVIDUAL = "individual", "Individual"
    COMPANY = "company", "Company"
    UNKNOWN = "unknown", "Unknown"


class DetailsSource(models.TextChoices):
    """Who last changed an account's billing details."""

    USER = "user", "The customer"
    PROVIDER = "provider", "Payment provider"
    OPS = "ops", "Staff"
    SYSTEM = "system", "System"


class BillingDetails(Row):
    """Whom to bill and where: what stands on an account's invoices.

    `default_address` holds line1, city and country_code, and may hold line2, region
    and postal_code; `tax_ids` is a list of type and value, and perhaps country_code
    and status. History tells that tax ids changed, not what they were: they are shown
    masked, and history is shown in full.
    """

    realm = models.ForeignKey(Realm, models.PROTECT, related_name="+", db_index=False)
    account = models.ForeignKey(
        BillingAccount, models.PROTECT, related_name="+", db_index=False
    )
    billing_email = models.TextField(null=True, blank=True)  # noqa: DJ001 - not known.
    legal_name = models.TextField(null=True, blank=True)  # noqa: DJ001 - not known.
    entity_type = models.TextField(  # noqa: DJ001 - NULL: not known.
        choices=EntityType, null=True, blank=True
    )
    default_address = models.JSONField(null=True, blank=True)
    tax_ids = models.JSONField(default=list, blank=True)
    metadata = models.JSONField(default=dict, blank=True)
    last_updated_by = models.TextField(
        choices=DetailsSource, default=DetailsSource.SYSTEM
    )
    source_updated_at = models.DateTimeField(null=True, blank=True)

    objects = RealmQuerySet.as_manager()
    history = AuditedRecords(
        table_name="billing_details_history", excluded_fields=["tax_ids"]
    )

    class Meta:
        db_table = "billing_details"
        verbose_name = "billing details"
        verbose_name_plural = "billing details"
        constraints = [
            models.UniqueConstraint(
                fields=["realm", "account"],
                name="billing_details_once_per_account",
                violation_error_message="This account already has billing details.",
            ),
            models.CheckConstraint(
                name="billing_details_texts_are_given_or_absent",
                condition=models.Q(
                    models.Q(billing_email__isnull=True)
                    | models.Q(billing_email__regex=r"\A\S+@\S+\Z"),
                    models.Q(legal_name__isnull=True)
                    | models.Q(legal_name__regex=r"\S"),
                ),
                violation_error_message=(
                    "An e-mail address has an @ and no spaces; a name is not blank."
                ),
            ),
            is_one_of(
                "entity_type", EntityType, name="billing_details_entity_type_is_known"
            ),
            is_one_of(
                "last_updated_by", DetailsSource, name="billing_details_source_is_known"
            ),
            models.CheckConstraint(
                name="billing_details_address_is_complete",
                # An array of these names would have the keys, too.
                condition=models.Q(default_address__isnull=True)
                | models.Q(
                    default_address__contains={},
                    default_address__has_keys=["line1", "city", "country_code"],
                ),
                violation_error_message=(
                    "An address needs line1, city and country_code."
                ),
            ),
            models.CheckConstraint(
                name="billing_details_tax_ids_are_a_list",
                condition=models.Q(tax_ids__contains=[]),
                violation_error_message="Tax ids are a list.",
            ),
            models.CheckConstraint(
                name="billing_details_tax_ids_have_type_and_value",
                # The first alone would look into a list inside the list.
                condition=~models.Q(
                    _any_tax_id(
                        '$[*] ? (!exists(@."type") || !exists(@.value)'
                        ' || @."type".type() != "string"'
                        ' || @.value.type() != "string")'
                    )
                )
                & ~models.Q(_any_tax_id('$[*].type() ? (@ != "object")')),
                violation_error_message="A tax id is an object of type and value.",
            ),
            is_object("metadata", name="billing_details_metadata_is_object"),
        ]

    def __str__(self) -> str:
        return f"billing details of {self.account_id}"
