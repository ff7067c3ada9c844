"""What assigning a plan would change, shown before anything is saved."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.utils.html import format_html

from billing.admin.assign import AssignForm
from billing.admin.bundle_names import bundle_text
from billing.admin.words import minute_text, window_text
from billing.models import PlanAssignment
from billing.policies.effective import AssignedPlan
from billing.selectors.effective import billing_state, entitled_features
from config.admin.bases import Preview, Table
from config.admin.differences import Difference, differences
from config.admin.values import as_value
from config.kernel.audit import AuditContext


def assign_preview(form: AssignForm, by: AuditContext, *, at: datetime) -> Preview:
    """Return what would be in effect: perform the assignment, to be rolled back."""
    account, user = form.subject, form.cleaned_data["user"]
    when = max(by.effective_at, at)
    before = billing_state(account=account, user=user, as_of=when, at=at)
    features_before = entitled_features(before)
    known = form.identity().find()
    assignment, outcome = form.perform(by, at=at)
    after = billing_state(account=account, user=user, as_of=when, at=at)
    words = {
        "created": "A new assignment",
        "merged": "The assignment that already has this source reference changes to",
        "unchanged": "Nothing changes: the assignment already stands as",
    }
    window = window_text(assignment.window_start, assignment.window_end)
    subject = f"user {user}" if user else "the whole account"
    sentence = format_html(
        '<p class="mb-4">{}: <strong>{}</strong> for {}, {}.</p>',
        words[outcome], assignment.plan.name, subject, window,
    )  # fmt: skip
    return [
        sentence,
        _assignment_table(known, assignment),
        _plans_table(before.effective, after.effective, when),
        _features_table(features_before, entitled_features(after)),
        _settings_table(before, after),
    ]


def _assignment_table(known: PlanAssignment | None, made: PlanAssignment) -> Table:
    before = {"metadata": {}} if known is None else _told(known)
    after = {name: value for name, value in _told(made).items() if name in before}
    return Table(
        title="What changes of the assignment itself" if known else "Its exceptions",
        headers=("", "Before", "After"),
        rows=[
            (part.dotted, _cell(part, part.before), _cell(part, part.after))
            for part in differences(before, after)
        ],
        empty="Nothing." if known else "None: the plan says everything.",
    )


def _cell(part: Difference, value: Any) -> str:
    return as_value(value).text if part.path[0] == "metadata" else str(value)


def _told(assignment: PlanAssignment) -> dict[str, Any]:
    end = assignment.window_end
    return {
        "status": str(assignment.get_status_display()),
        "starts": minute_text(assignment.window_start),
        "ends": minute_text(end) if end else "no end",
        "metadata": assignment.metadata,
    }


def _plans_table(
    before: Sequence[AssignedPlan], after: Sequence[AssignedPlan], when: datetime
) -> Table:
    def line(plan: AssignedPlan, mark: str) -> tuple[Any, ...]:
        window = window_text(plan.window_start, plan.window_end)
        return (mark, f"{plan.plan_name} ({plan.plan_code})", plan.priority, window)

    known = {plan.assignment_id for plan in before}
    kept = {plan.assignment_id for plan in after}
    rows = [line(p, "stays" if p.assignment_id in known else "new") for p in after]
    rows += [line(p, "goes") for p in before if p.assignment_id not in kept]
    return Table(
        title=f"Plans in effect on {when:%Y-%m-%d %H:%M} UTC, the strongest first",
        headers=("", "Plan", "Priority", "Window"),
        rows=rows,
        empty="No plan would be in effect.",
    )


def _features_table(before: dict[str, str], after: dict[str, str]) -> Table:
    names = sorted(set(before) | set(after))
    return Table(
        title="Access that changes",
        headers=("Feature", "Before", "After"),
        rows=[
            (name, before.get(name, "no access"), after.get(name, "no access"))
            for name in names
            if before.get(name) != after.get(name)
        ],
        empty="No feature is gained or lost.",
    )


def _settings_table(before: Any, after: Any) -> Table:
    pairs = (
        ("Billing mode", before.billing_mode.value, after.billing_mode.value),
        ("Issue anchor", before.issue_anchor.value, after.issue_anchor.value),
        ("Policy bundle", bundle_text(before), bundle_text(after)),
    )
    return Table(
        title="Billing settings that change",
        headers=("Setting", "Before", "After"),
        rows=[pair for pair in pairs if pair[1] != pair[2]],
        empty="Billing mode, issue anchor and policy bundle stay as they are.",
    )
