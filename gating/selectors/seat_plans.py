"""Whether a seats policy governed a user at some instant of a window, and how paid."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, cast
from uuid import UUID

from django.db import connection

from billing.models import BillingAccount
from billing.policies.effective import (
    AssignedPlan,
    billing_mode,
    effective_plans,
    project_bundles,
)
from billing.selectors.effective import assigned_plans
from gating.facts import BillingMode
from gating.models import DEFAULT_BUNDLE_KEY, BundleStatus, GatePolicyBundle
from gating.seats import SeatPolicy

# When plans of an account or its users begin, end, or change their status.
_EDGES = """
SELECT DISTINCT edge FROM (
    SELECT unnest(ARRAY[a.window_start, a.window_end]) AS edge
    FROM billing_plan_assignments a
    WHERE a.realm_id = %(realm)s AND a.account_id = %(account)s
    UNION ALL
    SELECT s.effective_at
    FROM billing_plan_assignment_statuses s
    JOIN billing_plan_assignments a ON a.id = s.assignment_id
    WHERE a.realm_id = %(realm)s AND a.account_id = %(account)s
) edges ORDER BY edge
"""


class AccountPlans:
    """The plans of an account at any instant, read once each."""

    def __init__(self, account: BillingAccount) -> None:
        self.account = account
        self._assigned: dict[datetime, list[AssignedPlan]] = {}
        self._edges: list[datetime] | None = None
        self._bundles: list[str] | None = None

    def governed_mode(
        self, policy: SeatPolicy, user_id: UUID, *, since: datetime, until: datetime
    ) -> BillingMode | None:
        """Return how the user paid when the policy first governed it, else None.

        At the first instant from `since` on, before `until`.
        """
        for instant in self._instants(since, until):
            effective = self._effective(user_id, instant)
            if self._governs(policy, effective):
                mode = billing_mode(effective, self.account.realm.metadata)
                return cast("BillingMode", mode.value)
        return None

    def _instants(self, since: datetime, until: datetime) -> Iterator[datetime]:
        """Yield the instants between which nothing changes; most need only one."""
        yield since
        for edge in self._changes():
            if since < edge < until:
                yield edge

    def _effective(self, user_id: UUID, instant: datetime) -> list[AssignedPlan]:
        if instant not in self._assigned:
            self._assigned[instant] = assigned_plans(
                account=self.account, user_id=None, as_of=instant, everyone=True
            )
        own = (
            plan
            for plan in self._assigned[instant]
            if plan.scope == "account" or plan.user_id == user_id
        )
        return effective_plans(own, instant)

    def _governs(self, policy: SeatPolicy, effective: list[AssignedPlan]) -> bool:
        bundles = project_bundles(
            effective, self._active_bundles(), default_key=DEFAULT_BUNDLE_KEY
        )
        key = bundles.account_key if policy.scope == "account" else bundles.user_key
        return key == policy.bundle_key

    def _active_bundles(self) -> list[str]:
        if self._bundles is None:
            active = GatePolicyBundle.objects.in_realm(self.account.realm_id).filter(
                status=BundleStatus.ACTIVE
            )
            self._bundles = list(active.values_list("bundle_key", flat=True))
        return self._bundles

    def _changes(self) -> list[datetime]:
        if self._edges is None:
            arguments: dict[str, Any] = {
                "realm": self.account.realm_id,
                "account": self.account.pk,
            }
            with connection.cursor() as cursor:
                cursor.execute(_EDGES, arguments)
                self._edges = [edge for (edge,) in cursor.fetchall() if edge]
        return self._edges
