"""Locking assignments, and the cursor that says when the next lot of one is due."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from django.db.models import QuerySet

from grants.models import GrantAssignment, IssuanceCursor
from grants.services.outstanding import lock_owed


def locked_assignment(assignment: GrantAssignment) -> GrantAssignment:
    """Return an assignment as it is now, locked: what serializes its issuance."""
    return _locking(assignment).get(pk=assignment.pk)


def _locking(assignment: GrantAssignment) -> QuerySet[GrantAssignment]:
    return (
        GrantAssignment.objects.in_realm(assignment.realm_id)
        .select_for_update(of=("self",), no_key=True)
        .select_related("program", "user", "account__realm")
    )


def locked_all(
    assignments: Sequence[GrantAssignment],
) -> dict[UUID, GrantAssignment]:
    """Lock a user's assignments, then what the user owes; return them by id."""
    if not assignments:
        return {}
    ids = [each.pk for each in assignments]
    found = _locking(assignments[0]).filter(pk__in=ids).order_by("pk")
    locked = {each.pk: each for each in found}
    lock_owed(assignments[0].user)
    return locked


def cursor_of(assignment: GrantAssignment) -> IssuanceCursor:
    """Return the cursor of a locked assignment, which a trigger made with it."""
    return IssuanceCursor.objects.get(pk=assignment.pk)


def set_cursor(assignment: GrantAssignment, next_at: datetime | None) -> None:
    """Say when the next lot of a locked assignment is due; None: none is to come."""
    cursor = cursor_of(assignment)
    if cursor.next_at != next_at:
        cursor.next_at = next_at
        cursor.save(update_fields=["next_at"])
