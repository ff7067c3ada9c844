"""The form of a plan, with the guard of those who hold it; and *Apply to holders*."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django import forms

from billing.admin.plans import PlanForm
from billing.models import BillingUser, Plan
from config.admin.bases import CommandForm, Preview, Table
from config.kernel.audit import AuditContext
from config.kernel.clock import now
from config.kernel.money import format_xusd
from grants.admin.grant_rows import GrantRowsForm
from grants.admin.words import counted
from grants.services.plan_templates import held_assignments
from grants.services.resync import (
    GrantChange,
    PlanGrantsPreview,
    PreviewOutdated,
    preview_plan_grants,
    resync_plan_grants,
)

UNDERSTOOD = "holders_keep"
SHOWN = 200


class PlanWithGrantsForm(GrantRowsForm, PlanForm):
    """A plan's definition. A change of its grants says first whom it does not reach."""

    holders_keep = forms.BooleanField(
        label="I know: who holds the plan keeps the grants they have",
        required=False,
        help_text="To be ticked where you change what the plan gives.",
    )

    def clean(self) -> dict[str, Any]:
        """Refuse changed grants until it was said that holders keep theirs."""
        cleaned: dict[str, Any] = super().clean()
        document = cleaned.get(self.metadata_field)
        if self.instance._state.adding or not isinstance(document, dict):
            return cleaned
        if document.get("grants") == self._stored.get("grants"):
            return cleaned
        held = holders(self.instance, at=now())
        if held and not cleaned.get(UNDERSTOOD):
            self.add_error(
                UNDERSTOOD,
                f"You change what this plan gives. {counted(held, 'assignment')} of it "
                "will keep the grants they have; only new ones get the changed grants. "
                "Tick to save it so. Press “Apply to holders” afterwards to see who "
                "would gain and lose how much, and to apply it.",
            )
        return cleaned


class ApplyForm(CommandForm):
    """What was shown, so that exactly that is applied."""

    fingerprint = forms.CharField(widget=forms.HiddenInput)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if not self.is_bound:
            shown = preview_plan_grants(plan=self.subject, at=self.at)
            self.initial["fingerprint"] = shown.fingerprint

    def preview(self, *, at: datetime) -> Preview:
        """Return who gains and loses. Refuses what is not what the page was made of."""
        shown = preview_plan_grants(plan=self.subject, at=at)
        if shown.fingerprint != self.cleaned_data["fingerprint"]:
            raise PreviewOutdated(
                "The plan or its holders changed since you opened this page. Press "
                "“Cancel”, and open “Apply to holders” again."
            )
        return _tables(shown)

    def perform(self, *, at: datetime, by: AuditContext) -> int:
        """Apply it; return how many plan assignments changed."""
        return resync_plan_grants(
            plan=self.subject,
            confirmed_fingerprint=self.cleaned_data["fingerprint"],
            at=at,
            by=by,
        )


def holders(plan: Plan, *, at: datetime) -> int:
    """Return how many assignments of the plan are in effect at `at`, or to come."""
    return held_assignments(plan=plan, at=at).count()


def _tables(shown: PlanGrantsPreview) -> Preview:
    gain = [change for change in shown.changes if change.gains]
    lose = [change for change in shown.changes if _delta(change) < 0]
    other = [change for change in shown.changes if _delta(change) == 0]
    users = BillingUser.objects.select_related("account").in_bulk(
        {change.user_id for change in shown.changes}
    )
    parts = [("Who gains", gain), ("Who loses", lose)]
    if other:
        parts.append(("Same amount, other terms", other))
    return [_table(title, changes, users) for title, changes in parts]


def _delta(change: GrantChange) -> int:
    return (change.after_xusd or 0) - (change.before_xusd or 0)


def _table(
    title: str, changes: Sequence[GrantChange], users: dict[UUID, BillingUser]
) -> Table:
    number = counted(len({change.user_id for change in changes}), "user")
    more = f"; the first {SHOWN} are shown" if len(changes) > SHOWN else ""
    return Table(
        title=f"{title}: {number}{more}",
        headers=("Account", "User", "Program", "Now, per period", "After"),
        rows=[
            (
                str(users[change.user_id].account),
                str(users[change.user_id]),
                change.program_code,
                _amount(change.before_xusd),
                _amount(change.after_xusd),
            )
            for change in changes[:SHOWN]
        ],
        empty="Nobody.",
    )


def _amount(xusd: int | None) -> str:
    return "Nothing" if xusd is None else format_xusd(xusd)
