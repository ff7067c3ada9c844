"""`/billing-accounts/{billing_account_id}/billing-details`."""

from datetime import datetime
from typing import Annotated, Any, Literal, cast

from pydantic import BeforeValidator

from billing.api.changes import given_changes
from billing.api.context import account_in_realm
from billing.models import BillingDetails
from billing.selectors.details import details_of, masked_tax_ids
from billing.services.details import change_billing_details
from config.api.envelope import Answer
from config.api.operations import Call, operation
from config.api.views import ServiceView
from config.api.wire import JsonObject, Name, WireModel, WriteModel

EntityType = Literal["individual", "company", "unknown"]
Source = Literal["user", "provider", "ops", "system"]


def _capitals(code: Any) -> Any:
    # Elsewhere a capital may be two letters: ß would become South Sudan.
    return code.upper() if isinstance(code, str) and code.isascii() else code


Country = Annotated[Name, BeforeValidator(_capitals)]
NULLABLE = ("billing_email", "legal_name", "entity_type", "default_address")


class Address(WireModel):
    """A postal address."""

    line1: Name
    line2: Name | None = None
    city: Name
    region: Name | None = None
    postal_code: Name | None = None
    country_code: Country


class TaxId(WireModel):
    """A tax id as written."""

    type: Name
    value: Name
    country_code: Country | None = None
    status: Name | None = None


class MaskedTaxId(WireModel):
    """A tax id as shown."""

    type: str
    value_masked: str
    country_code: str | None
    status: str | None


class DetailsChange(WriteModel):
    """The billing details to change; null removes, tax ids are given as a whole."""

    billing_email: Name | None = None
    legal_name: Name | None = None
    entity_type: EntityType | None = None
    default_address: Address | None = None
    tax_ids: list[TaxId] | None = None
    metadata: JsonObject | None = None


class DetailsOut(WireModel):
    """Billing details as the wire shows them."""

    billing_account_id: str
    billing_email: str | None
    legal_name: str | None
    entity_type: EntityType | None
    default_address: JsonObject | None
    tax_ids: list[MaskedTaxId]
    metadata: JsonObject
    last_updated_by: Source
    source_updated_at: datetime | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, details: BillingDetails) -> "DetailsOut":
        """Return the wire form."""
        return cls(
            billing_account_id=str(details.account_id),
            billing_email=details.billing_email,
            legal_name=details.legal_name,
            entity_type=cast("EntityType | None", details.entity_type),
            default_address=details.default_address,
            tax_ids=[MaskedTaxId(**tax_id) for tax_id in masked_tax_ids(details)],
            metadata=details.metadata,
            last_updated_by=cast("Source", details.last_updated_by),
            source_updated_at=details.source_updated_at,
            created_at=details.created_at,
            updated_at=details.updated_at,
        )


class AccountDetails(ServiceView):
    """`/billing-accounts/{billing_account_id}/billing-details`."""

    @operation("get_billing_account_billing_details", answer=DetailsOut)
    def get(self, call: Call, billing_account_id: str) -> Answer:
        """Read the billing details; null where nobody has given any."""
        account = account_in_realm(call, billing_account_id)
        details = details_of([account]).get(account.pk)
        return Answer(DetailsOut.of(details) if details else None)

    @operation(
        "update_billing_account_billing_details", body=DetailsChange, answer=DetailsOut
    )
    def patch(self, call: Call, billing_account_id: str, body: DetailsChange) -> Answer:
        """Set the given fields; the others stay."""
        given = given_changes(body, NULLABLE)
        written = body.model_dump(exclude_unset=True)
        details = change_billing_details(
            account=account_in_realm(call, billing_account_id),
            changes={name: written[name] for name in given},
            at=call.at,
            by=call.by,
        )
        return Answer(DetailsOut.of(details))
