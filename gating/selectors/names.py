"""What accounts and users are called by the services that know them."""

from collections.abc import Collection
from uuid import UUID

from billing.models import BillingAccount, BillingUser
from gating.selectors.recorded import only_reading


@only_reading()
def account_names(account_ids: Collection[UUID]) -> dict[UUID, str]:
    """Return the principals of accounts, by the account's id."""
    accounts = BillingAccount.objects.filter(pk__in=account_ids)
    return dict(accounts.values_list("pk", "billing_principal_id"))


@only_reading()
def user_names(user_ids: Collection[UUID]) -> dict[UUID, str]:
    """Return the callers' own ids of users, by the user's id."""
    users = BillingUser.objects.filter(pk__in=user_ids)
    return dict(users.values_list("pk", "business_user_id"))
