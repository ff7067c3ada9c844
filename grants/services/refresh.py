"""Bringing one user's grants up to date now, lazy ones too."""

from datetime import datetime

from django.db import transaction

from billing.models import BillingUser
from config.kernel.audit import AuditContext
from grants.models import GrantAssignment, GrantStatus
from grants.services.enrollment import enroll_user
from grants.services.issuance import catch_up


@transaction.atomic
def refresh_user(*, user: BillingUser, at: datetime, by: AuditContext) -> int:
    """Bind the user to what plans bring, and issue all that is due by `at` (aware UTC).

    Also of lazy programs, which the sweep leaves alone. Returns how many lots are new.
    Refuses what `enroll_user` and `catch_up` refuse.
    """
    enroll_user(user=user, at=at, by=by)
    active = GrantAssignment.objects.in_realm(user.realm_id).filter(
        user=user, status=GrantStatus.ACTIVE, window_start__lte=at
    )
    # All are locked, in order, before the first one issues.
    bound = list(active.order_by("pk").select_for_update(no_key=True, of=("self",)))
    return sum(len(catch_up(assignment=each, at=at, by=by).lots) for each in bound)
