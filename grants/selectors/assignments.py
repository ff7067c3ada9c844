"""Reads of grant assignments."""

from collections.abc import Collection
from typing import Any

from django.db.models import QuerySet

from config.kernel.errors import NotFound
from config.kernel.ids import parse_uuid
from config.tenancy.models import Realm
from grants.models import GrantAssignment
from grants.selectors.filters import narrowed

_IDS = {
    "billing_account_id": "account_id",
    "billing_user_id": "user_id",
    "program_id": "program_id",
    "campaign_id": "campaign_id",
}
_VALUES = {
    "grant_program_code": "program__program_code",
    "status": "status__in",
    "source_kind": "source_kind__in",
    "source_ref": "source_ref",
}


def _complete(realm: Realm) -> QuerySet[GrantAssignment]:
    return GrantAssignment.objects.in_realm(realm).select_related(
        "program", "user__realm", "account__realm"
    )


def list_grant_assignments(
    realm: Realm, *, allowed: Collection[str] = (), **filters: Any
) -> QuerySet[GrantAssignment]:
    """Return the realm's assignments that match every given filter, unordered.

    `billing_account_id`, `billing_user_id`, `program_id`, `campaign_id`,
    `grant_program_code`, `status` and `source_kind` (lists), `source_ref`,
    `window_end_before` and `window_end_after` (aware UTC; an open end is after
    everything). `allowed` limits to accounts of those ids.
    """
    return narrowed(
        _complete(realm), ids=_IDS, values=_VALUES, allowed=allowed, filters=filters
    )


def grant_assignment_of(realm: Realm, assignment_id: object) -> GrantAssignment:
    """Return the realm's grant assignment of that id (404 if none)."""
    key = parse_uuid(str(assignment_id))
    row = _complete(realm).filter(pk=key).first() if key else None
    if row is None:
        raise NotFound(f"There is no grant assignment {assignment_id}.")
    return row
