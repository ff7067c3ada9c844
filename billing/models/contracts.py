from typing import ClassVar

from django.db import models
from django.db.models import Q

from billing.models.accounts import BillingAccount
from catalog.models.rules import in_one_realm, is_code, is_object, is_one_of
from config.tenancy.history import AuditedRecords
from config.tenancy.models import Realm, RealmQuerySet, Row
from config.tenancy.models.windows import Window, WindowQuerySet


class ContractStatus(models.TextChoices):
    """Whether a contract takes effect inside its window."""

    ACTIVE = "active", "Active"
    DISABLED = "disabled", "Disabled"


class TermKind(models.TextChoices):
    """What a contract's term is about."""

    PRICING = "pricing", "Price of a meter"
    E2R_PARAM = "e2r_param", "Parameter of an event rating policy"


class BillingContract(Row, Window):
    """What was agreed with one account, from an instant on.

    The start is its identity and never changes. Contracts of one account may overlap:
    of those in force the one that started last prevails.
    """

    realm = models.ForeignKey(Realm, models.PROTECT, related_name="+", db_index=False)
    account = models.ForeignKey(
        BillingAccount, models.PROTECT, related_name="contracts", db_index=False
    )
    status = models.TextField(choices=ContractStatus, default=ContractStatus.ACTIVE)
    name = models.TextField(null=True, blank=True)  # noqa: DJ001 - NULL: has none.
    metadata = models.JSONField(default=dict, blank=True)

    objects = WindowQuerySet.as_manager()
    history = AuditedRecords(table_name="billing_contracts_history")

    class Meta(Window.Meta):
        abstract = False
        db_table = "billing_contracts"
        verbose_name = "contract"
        constraints: ClassVar[list[models.BaseConstraint]] = [
            *Window.Meta.constraints,
            in_one_realm(name="billing_contract_in_one_realm"),
            models.UniqueConstraint(
                fields=["realm", "account", "window_start"],
                name="billing_contract_once_per_start",
                violation_error_message=(
                    "The account has a contract that starts at this instant."
                ),
            ),
            is_one_of(
                "status", ContractStatus, name="billing_contract_status_is_known"
            ),
            models.CheckConstraint(
                name="billing_contract_name_is_given_or_absent",
                condition=Q(name__isnull=True) | Q(name__regex=r"\S"),
                violation_error_message="A name is not blank.",
            ),
            is_object("metadata", name="billing_contract_metadata_is_object"),
        ]

    def __str__(self) -> str:
        named = f"{self.name}, " if self.name else ""
        return f"Contract {named}from {self.window_start:%Y-%m-%d %H:%M} UTC"


class ContractTerm(Row):
    """One version of a contract's term: its value from an instant on. Append-only.

    The value in force at T is the version of that contract, kind and key with the
    greatest `effective_at` by T. Its own history: it says who wrote it, why and under
    which ticket.
    """

    realm = models.ForeignKey(Realm, models.PROTECT, related_name="+", db_index=False)
    contract = models.ForeignKey(
        BillingContract, models.PROTECT, related_name="terms", db_index=False
    )
    kind = models.TextField(choices=TermKind)
    term_key = models.TextField()
    effective_at = models.DateTimeField()
    value_json = models.JSONField()
    actor_kind = models.TextField()
    actor_id = models.TextField()
    operator = models.TextField()
    reason = models.TextField()
    ticket_id = models.TextField()
    trace_id = models.TextField()
    recorded_at = models.DateTimeField()

    objects = RealmQuerySet.as_manager()

    class Meta:
        db_table = "contract_terms"
        verbose_name = "contract term"
        constraints = [
            models.UniqueConstraint(
                fields=["realm", "contract", "kind", "term_key", "effective_at"],
                name="contract_term_once_per_identity",
                violation_error_message=(
                    "The contract has a version of this term from that instant."
                ),
            ),
            is_one_of("kind", TermKind, name="contract_term_kind_is_known"),
            is_code("term_key", name="contract_term_key_is_code"),
            models.CheckConstraint(
                name="contract_term_of_pricing_is_object",
                condition=~Q(kind=TermKind.PRICING) | Q(value_json__contains={}),
                violation_error_message="A pricing term is a JSON object.",
            ),
            models.CheckConstraint(
                name="contract_term_is_explained",
                condition=Q(
                    actor_kind__regex=r"\S",
                    actor_id__regex=r"\S",
                    operator__regex=r"\S",
                    reason__regex=r"\S",
                    ticket_id__regex=r"\S",
                    trace_id__regex=r"\S",
                ),
                violation_error_message=(
                    "A term needs actor, operator, reason, ticket and trace."
                ),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.term_key} from {self.effective_at:%Y-%m-%d %H:%M} UTC"
