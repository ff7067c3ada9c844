"""What the first page counts of accounts and assignments."""

from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.db.models import QuerySet

from billing.models import AssignmentStatus, BillingAccount, PlanAssignment
from config.admin.dashboard import Figure, add_figure

SOON = timedelta(days=14)


def _ending(at: datetime) -> dict[str, Any]:
    return {
        "status": AssignmentStatus.ACTIVE,
        "window_end__gte": at,
        "window_end__lt": at + SOON,
    }


def _ending_query(at: datetime) -> str:
    bounds = {
        "status__exact": AssignmentStatus.ACTIVE.value,
        "window_end__gte": at.isoformat(),
        "window_end__lt": (at + SOON).isoformat(),
    }
    return urlencode(bounds)


def _accounts(_at: datetime) -> QuerySet[Any]:
    return BillingAccount.objects.all()


add_figure(
    Figure(
        label="Accounts",
        rows=_accounts,
        url_name="admin:billing_billingaccount_changelist",
        permission="billing.view_billingaccount",
        icon="account_balance_wallet",
        order=10,
    )
)
add_figure(
    Figure(
        label="Assignments ending within 14 days",
        rows=lambda at: PlanAssignment.objects.filter(**_ending(at)),
        url_name="admin:billing_planassignment_changelist",
        permission="billing.view_planassignment",
        query=_ending_query,
        icon="event_busy",
        order=20,
    )
)
add_figure(
    Figure(
        label="Paused assignments",
        rows=lambda _at: PlanAssignment.objects.filter(status=AssignmentStatus.PAUSED),
        url_name="admin:billing_planassignment_changelist",
        permission="billing.view_planassignment",
        query=lambda _at: f"status__exact={AssignmentStatus.PAUSED.value}",
        icon="pause_circle",
        order=30,
    )
)
