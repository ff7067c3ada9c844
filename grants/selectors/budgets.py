"""A user's budgets, found and narrowed."""

from collections.abc import Sequence
from datetime import datetime

from django.db.models import Q, QuerySet

from billing.models import BillingUser
from config.kernel.errors import NotFound
from config.kernel.ids import parse_uuid
from grants.models import Budget

_LOOKUPS = {
    "scope_kind": "scope_kind",
    "name": "name__icontains",
    "window_start_ge": "window_start__gte",
    "window_start_le": "window_start__lte",
    "window_end_ge": "window_end__gte",
    "window_end_le": "window_end__lte",
    "created_at_ge": "created_at__gte",
    "created_at_le": "created_at__lte",
}
"""What a filter asks of a budget. A bound that is open is neither before nor after."""


def budgets_of(
    *,
    user: BillingUser,
    at: datetime,
    status: Sequence[str] | None = None,
    feature: str | None = None,
    **filters: object,
) -> QuerySet[Budget]:
    """Return the user's budgets, unordered; a filter that is None asks nothing.

    `status` is judged at `at` (aware UTC); `feature` is a code of a scope.
    """
    found = Budget.objects.in_realm(user.realm_id).filter(
        account_id=user.account_id, user=user
    )
    if status is not None:
        found = found.of_status(status, at=at)
    if feature is not None:
        found = found.filter(feature_codes__contains=[feature])
    asked = {_LOOKUPS[name]: value for name, value in filters.items()}
    return found.filter(**{name: v for name, v in asked.items() if v is not None})


def budget_of(*, user: BillingUser, budget_id: str) -> Budget:
    """Return the user's budget of that id. Refuses an unknown one (404)."""
    key = parse_uuid(budget_id)
    own = Budget.objects.in_realm(user.realm_id).filter(user=user)
    budget = own.filter(pk=key).first() if key else None
    if budget is None:
        raise NotFound(f"This user has no budget {budget_id}.")
    return budget


def budget_named(*, user: BillingUser, name: str) -> Budget | None:
    """Return the user's budget by its id or its reference; None where there is none."""
    which = Q(reference=name)
    if key := parse_uuid(name):
        which |= Q(pk=key)
    own = Budget.objects.in_realm(user.realm_id).filter(user=user)
    # A reference may be another budget's id: the id comes first.
    return min(own.filter(which), key=lambda b: b.pk != key, default=None)
