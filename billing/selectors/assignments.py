"""Reads of plan assignments."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from django.db.models import Q, QuerySet

from billing.models import PlanAssignment, SourceKind
from billing.selectors.plans import grants_of
from config.kernel.errors import NotFound
from config.kernel.ids import parse_uuid
from config.tenancy.models import Realm


def _complete(realm: Realm) -> QuerySet[PlanAssignment]:
    return PlanAssignment.objects.in_realm(realm).select_related(
        "plan", "user", "account__realm"
    )


def assignment_of(realm: Realm, assignment_id: object) -> PlanAssignment:
    """Return the realm's assignment of that id (404 if none)."""
    key = parse_uuid(str(assignment_id))
    row = _complete(realm).filter(pk=key).first() if key else None
    if row is None:
        raise NotFound(
            f"Billing plan assignment not found: there is no {assignment_id}."
        )
    return row


_IDS = {
    "billing_account_id": "account_id",
    "billing_user_id": "user_id",
    "plan_id": "plan_id",
    "subscription_item_id": "subscription_item_id",
}
_EQUAL = {
    "assignment_scope": "scope",
    "plan_code": "plan__plan_code",
    "status": "status",
    "source_kind": "source_kind",
    "source_ref": "source_ref",
}
# Filters of the wire on things this product does not link to assignments (yet):
# nothing matches them, which is the truth.
_UNLINKED = (
    "provider_subscription_id",
    "provider_price_id",
    "provider",
    "grant_program_id",
)


def list_assignments(
    realm: Realm, *, allowed: Collection[str] = (), **filters: Any
) -> QuerySet[PlanAssignment]:
    """Return the realm's assignments that match every given filter.

    `window_start` keeps those starting at or after it, `window_end` those ending at
    or before it or open; `as_of` (aware UTC) those in effect at that instant.
    `allowed` limits to accounts of those ids, when the caller's key is limited to
    some.
    """
    rows = _complete(realm)
    if allowed:
        rows = rows.filter(account__in=[key for key in map(parse_uuid, allowed) if key])
    for name, value in filters.items():
        if value not in {None, ""}:
            rows = rows.filter(_condition(name, value))
    return rows


def _condition(name: str, value: Any) -> Q:
    if name in _IDS:
        key = parse_uuid(value)
        return Q(**{_IDS[name]: key}) if key else Q(pk__in=[])
    if name in _EQUAL:
        return Q(**{_EQUAL[name]: value})
    if name == "campaign_id":
        return _of_campaign(value)
    if name in _UNLINKED:
        return Q(pk__in=[])
    return {
        "grant_program_code": lambda code: grants_of(code, plan="plan__"),
        "window_start": lambda start: Q(window_start__gte=start),
        "window_end": lambda end: Q(window_end__lte=end) | Q(window_end__isnull=True),
        "as_of": in_effect,
    }[name](value)


def _of_campaign(campaign_id: str) -> Q:
    """Return the condition that a campaign gave it: its ref is, or begins with, it."""
    key = parse_uuid(campaign_id)
    if key is None:
        return Q(pk__in=[])
    return Q(source_kind=SourceKind.OPS_CAMPAIGN, source_ref__startswith=str(key))


def in_effect(at: datetime) -> Q:
    """Return the condition that an assignment is in effect at `at` (aware UTC)."""
    runs = Q(window_end__isnull=True) | Q(window_end__gt=at)
    return runs & Q(window_start__lte=at, status="active", plan__active=True)
