"""Verbs on the billing details of an account."""

import json
import re
from datetime import datetime
from typing import Any

from django.db import transaction

from billing.models import BillingAccount, BillingDetails, DetailsSource, EntityType
from billing.services.accounts import lock_account
from catalog.services.rows import rewritten
from config.kernel.audit import AuditContext
from config.kernel.errors import Invalid
from config.kernel.metadata import AccountMetadata, check_metadata
from config.tenancy.history import auditing
from config.tenancy.services.events import record_event

FIELDS = (
    "billing_email",
    "legal_name",
    "entity_type",
    "default_address",
    "tax_ids",
    "metadata",
)
MAX_TAX_IDS = 20
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
_COUNTRY = re.compile(r"[A-Z]{2}")


@transaction.atomic
def change_billing_details(
    *,
    account: BillingAccount,
    changes: dict[str, Any],
    source: str = DetailsSource.OPS,
    at: datetime,
    by: AuditContext,
) -> BillingDetails:
    """Set the given fields of an account's billing details, and keep the others.

    Fields as in `FIELDS`; an address and the tax ids are given as a whole. Creates the
    details on first use. Refuses (`Invalid`) no field at all, a bad e-mail address,
    an unknown entity type, an address without line1, city or country_code, a tax id
    without type or value, and bad metadata.
    """
    values = {name: changes[name] for name in FIELDS if name in changes}
    _check(values)
    account = lock_account(account)
    known = BillingDetails.objects.in_realm(account.realm_id)
    details = known.filter(account=account).first()
    if details is not None and not _differ(details, values):
        return details
    stamped = {**values, "last_updated_by": source, "source_updated_at": at}
    with auditing(by, at=at):
        if details is None:
            details = BillingDetails(
                realm_id=account.realm_id, account=account, **stamped
            )
            details.save(force_insert=True)
        else:
            rewritten(details, stamped, at=at)
        record_event(
            realm=account.realm,
            kind="billing_details.changed",
            subject=details,
            payload={"billing_account_id": str(account.pk), "fields": list(values)},
            at=at,
            by=by,
        )
    return details


def _differ(details: BillingDetails, values: dict[str, Any]) -> bool:
    stored = {name: getattr(details, name) for name in values}
    # As text: to Python, but not to JSON, true and 1 are equal.
    texts = {json.dumps(each, sort_keys=True) for each in (stored, values)}
    return len(texts) > 1


def _check(values: dict[str, Any]) -> None:
    if not values:
        raise Invalid(f"Name at least one of {', '.join(FIELDS)}.", field="body")
    email = values.get("billing_email")
    if email is not None and not _EMAIL.fullmatch(email):
        raise Invalid(
            "An e-mail address has one @ and no spaces.", field="billing_email"
        )
    entity_type = values.get("entity_type")
    if entity_type is not None and entity_type not in EntityType.values:
        raise Invalid(
            f"An entity type is one of {', '.join(EntityType.values)}.",
            field="entity_type",
        )
    _check_address(values.get("default_address"))
    _check_tax_ids(values.get("tax_ids", []))
    check_metadata(AccountMetadata, values.get("metadata", {}))


def _check_address(address: dict[str, Any] | None) -> None:
    if address is None:
        return
    _require(address, ("line1", "city", "country_code"), "default_address")
    _check_country(address["country_code"], "default_address.country_code")


def _check_tax_ids(tax_ids: list[dict[str, Any]]) -> None:
    if len(tax_ids) > MAX_TAX_IDS:
        raise Invalid(
            f"{len(tax_ids)} tax ids; the most is {MAX_TAX_IDS}.", field="tax_ids"
        )
    for index, tax_id in enumerate(tax_ids):
        _require(tax_id, ("type", "value"), f"tax_ids.{index}")
        if tax_id.get("country_code") is not None:
            _check_country(tax_id["country_code"], f"tax_ids.{index}.country_code")


def _require(document: dict[str, Any], names: tuple[str, ...], place: str) -> None:
    for name in names:
        if not str(document.get(name) or "").strip():
            raise Invalid("This field is required.", field=f"{place}.{name}")


def _check_country(code: str, field: str) -> None:
    if not _COUNTRY.fullmatch(code):
        raise Invalid("A country code is two letters, such as DE.", field=field)
