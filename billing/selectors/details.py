"""Reads of billing details, tax ids masked."""

from collections.abc import Sequence
from typing import Any

from billing.models import BillingAccount, BillingDetails

_SHOWN = 4


def details_of(accounts: Sequence[BillingAccount]) -> dict[Any, BillingDetails]:
    """Return the billing details of those accounts that have some, by account id."""
    found = BillingDetails.objects.filter(
        realm_id__in={account.realm_id for account in accounts},
        account__in=[account.pk for account in accounts],
    )
    return {details.account_id: details for details in found}


def masked(value: str) -> str:
    """Return a tax id with its last characters only: a third of them, 4 at most."""
    shown = min(_SHOWN, len(value) // 3)
    return "*" * (len(value) - shown) + value[len(value) - shown :]


def masked_tax_ids(details: BillingDetails) -> list[dict[str, Any]]:
    """Return the tax ids as they may be shown."""
    return [
        {
            "type": tax_id["type"],
            "value_masked": masked(tax_id["value"]),
            "country_code": tax_id.get("country_code"),
            "status": tax_id.get("status"),
        }
        for tax_id in details.tax_ids
    ]
