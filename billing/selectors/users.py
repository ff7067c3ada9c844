"""Reads of billing accounts and users, and the seats between them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, Q, QuerySet

from billing.models import BillingAccount, BillingUser, UserStatus
from config.kernel.errors import NotFound
from config.kernel.ids import parse_uuid
from config.tenancy.models import Realm


def user_of_account(
    account: BillingAccount, *, user_id: str | None, billing_user_id: str | None
) -> BillingUser | None:
    """Return the account's user by either id; None where neither is given.

    Refuses one that the account does not have (404).
    """
    if not user_id and not billing_user_id:
        return None
    users = BillingUser.objects.filter(realm_id=account.realm_id, account=account)
    if user_id:
        users = users.filter(business_user_id=user_id)
    if billing_user_id:
        key = parse_uuid(billing_user_id)
        users = users.filter(pk=key) if key else users.none()
    user = users.select_related("account__realm").first()
    if user is None:
        raise NotFound(
            f"Billing user not found for billing_account_id {account.pk}: there is no "
            f"{user_id or billing_user_id}."
        )
    return user


def list_users(
    account: BillingAccount,
    *,
    q: str | None = None,
    user_id: str | None = None,
    business_user_id: str | None = None,
    status: Sequence[str] | None = None,
) -> QuerySet[BillingUser]:
    """Return an account's users; `q` matches user id, display name and e-mail."""
    users = BillingUser.objects.filter(
        realm_id=account.realm_id, account=account
    ).select_related("account")
    if q:
        users = users.filter(
            Q(business_user_id__icontains=q)
            | Q(metadata__display_name__icontains=q)
            | Q(metadata__email__icontains=q)
        )
    for exact in (user_id, business_user_id):
        if exact:
            users = users.filter(business_user_id=exact)
    if status:
        users = users.filter(status__in=list(status))
    return users


def list_accounts(
    realm: Realm,
    *,
    q: str | None = None,
    billing_account_id: Sequence[str] | None = None,
    billing_principal_id: str | None = None,
    created_after: datetime | None = None,
    created_before: datetime | None = None,
    allowed: frozenset[str] = frozenset(),
) -> QuerySet[BillingAccount]:
    """Return the realm's accounts; `q` matches part of the principal.

    `allowed` limits to those ids, when the caller's key is limited to some.
    """
    accounts = BillingAccount.objects.in_realm(realm).select_related("realm")
    if q:
        accounts = accounts.filter(billing_principal_id__icontains=q)
    if billing_principal_id:
        accounts = accounts.filter(billing_principal_id=billing_principal_id)
    for ids in (billing_account_id, allowed):
        if ids:
            keys = [key for key in map(parse_uuid, ids) if key]
            accounts = accounts.filter(pk__in=keys)
    if created_after:
        accounts = accounts.filter(created_at__gte=created_after)
    if created_before:
        accounts = accounts.filter(created_at__lt=created_before)
    return accounts


@dataclass(frozen=True, slots=True)
class SeatSummary:
    """An account's seats: its limit (None: unlimited) and its users by status."""

    account: BillingAccount
    active: int
    disabled: int
    deleted: int

    @property
    def available(self) -> int | None:
        """Return how many users may still be activated; None is any number."""
        limit = self.account.seat_limit
        return None if limit is None else max(limit - self.active, 0)

    @property
    def over_limit(self) -> bool:
        """Return whether more users are active than the limit allows."""
        limit = self.account.seat_limit
        return limit is not None and self.active > limit

    def document(self) -> dict[str, Any]:
        """Return the wire form."""
        account = self.account
        return {
            "billing_account_id": str(account.pk),
            "seat_limit": account.seat_limit,
            "seat_limit_source": account.seat_limit_source,
            "seat_limit_updated_at": account.seat_limit_updated_at,
            "active_user_count": self.active,
            "disabled_user_count": self.disabled,
            "deleted_user_count": self.deleted,
            "available_seats": self.available,
            "over_limit": self.over_limit,
        }


def seat_summaries(accounts: Sequence[BillingAccount]) -> dict[Any, SeatSummary]:
    """Return the seats of each account, by its id, in one query."""
    counted = (
        BillingUser.objects.filter(
            realm_id__in={account.realm_id for account in accounts},
            account__in=[account.pk for account in accounts],
        )
        .values("account_id")
        .annotate(
            active=Count("id", filter=Q(status=UserStatus.ACTIVE)),
            disabled=Count("id", filter=Q(status=UserStatus.DISABLED)),
            deleted=Count("id", filter=Q(status=UserStatus.DELETED)),
        )
    )
    counts = {
        row["account_id"]: (row["active"], row["disabled"], row["deleted"])
        for row in counted
    }
    return {
        account.pk: SeatSummary(account, *counts.get(account.pk, (0, 0, 0)))
        for account in accounts
    }


def seat_summary(account: BillingAccount) -> SeatSummary:
    """Return the seats of one account."""
    return seat_summaries([account])[account.pk]
