"""Bringing one user's grants up to date now: newly active, or on demand."""

from datetime import datetime
from typing import Any

from django.db import transaction

from billing.models import BillingUser
from config.kernel.audit import AuditContext
from grants.models import GrantAssignment, GrantStatus
from grants.services.eligibility import at_once, bind_eligible
from grants.services.enrollment import bind_user, issue_what_can
from grants.services.issuance import catch_up_all


@transaction.atomic
def enroll_newcomer(
    *, subject: BillingUser, at: datetime, by: AuditContext, **_: Any
) -> None:
    """Give a newly active user what plans and what everybody's programs bring.

    (`billing_user.activated`.) All is bound before the first binding issues.
    """
    planned = bind_user(user=subject, at=at, by=by).to_issue
    eligible = bind_eligible(user=subject, at=at, by=by)
    issue_what_can([*planned, *at_once(eligible)], at=at, by=by)


@transaction.atomic
def refresh_user(*, user: BillingUser, at: datetime, by: AuditContext) -> int:
    """Bind the user to what plans bring, and issue all that is due by `at` (aware UTC).

    Also of lazy programs, which the sweep leaves alone. Returns how many lots are new.
    Refuses what `enroll_user` and `catch_up` refuse.
    """
    bind_user(user=user, at=at, by=by)
    active = GrantAssignment.objects.in_realm(user.realm_id).filter(
        user=user, status=GrantStatus.ACTIVE, window_start__lte=at
    )
    return catch_up_all(list(active.select_related("user")), at=at, by=by)
