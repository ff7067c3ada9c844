"""The *Assign plan* form, and what it shows before anything is saved."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django import forms
from django.utils.html import format_html

from billing.admin.words import window_text
from billing.models import BillingAccount, BillingUser, Plan, SourceKind, UserStatus
from billing.policies.effective import AssignedPlan
from billing.selectors.effective import billing_state, entitled_features
from billing.services.assignments import Identity, assign_plan
from config.admin.bases import (
    CommandForm,
    Preview,
    Table,
    UtcDateTimeField,
    known_fields,
    metadata_form,
)
from config.kernel.audit import AuditContext
from config.kernel.errors import Invalid
from config.kernel.metadata import AssignmentMetadata
from config.kernel.windows import Window

_METADATA = [
    name
    for name in known_fields(AssignmentMetadata)
    if name not in {f"metadata__{note}" for note in
                    ("operator", "reason", "ticket_id", "effective_at")}
]  # fmt: skip


class AssignForm(metadata_form(AssignmentMetadata, base=CommandForm)):  # type: ignore[misc]
    """Which plan, for whom, until when, under which commercial event."""

    plan = forms.ModelChoiceField(
        Plan.objects.none(),
        label="Plan",
        help_text="Only active plans of the account's realm are offered.",
    )
    user = forms.ModelChoiceField(
        BillingUser.objects.none(),
        label="For",
        required=False,
        empty_label="The whole account",
        help_text="A plan for one user wins over the account's of equal priority.",
    )
    window_end = UtcDateTimeField(
        label="Ends",
        required=False,
        help_text="Date and time in UTC. Empty means it runs until somebody ends it.",
    )
    source_kind = forms.ChoiceField(
        label="Source",
        choices=[
            (SourceKind.OPS_MANUAL.value, SourceKind.OPS_MANUAL.label),
            (SourceKind.OPS_CAMPAIGN.value, SourceKind.OPS_CAMPAIGN.label),
        ],
        help_text="Which kind of decision this is.",
    )
    source_ref = forms.CharField(
        label="Source reference",
        max_length=255,
        help_text="The contract, order or ticket it stems from. The same reference "
        "for the same plan changes that assignment instead of adding one.",
    )

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        account: BillingAccount = self.subject
        for note in ("operator", "reason", "ticket_id", "effective_at"):
            self.fields.pop(f"metadata__{note}", None)
        self.fields["plan"].queryset = (
            Plan.objects.in_realm(account.realm_id)
            .filter(active=True)
            .order_by("kind", "-priority", "plan_code")
        )
        self.fields["user"].queryset = BillingUser.objects.filter(
            account=account, status=UserStatus.ACTIVE
        ).order_by("business_user_id")
        self.fields["effective_at"].label = "Starts"
        self.fields[
            "effective_at"
        ].help_text = (
            "Date and time in UTC; may lie in the past or future. Empty means now."
        )

    fieldsets = (
        (None, {"fields": ("plan", "user", "effective_at", "window_end")}),
        (
            "Commercial event",
            {
                "fields": ("source_kind", "source_ref"),
                "description": "What makes this assignment the same one when it is "
                "sent again.",
            },
        ),
        (
            "Exceptions for this assignment only",
            {
                "fields": tuple(_METADATA),
                "description": "Leave empty to use what the plan says.",
            },
        ),
    )

    def perform(self, by: AuditContext, *, at: datetime) -> Any:
        """Assign the plan; return the assignment and what happened."""
        answers = self.cleaned_data
        identity = Identity(
            account=self.subject,
            user=answers["user"],
            plan=answers["plan"],
            source_kind=answers["source_kind"],
            source_ref=answers["source_ref"].strip(),
        )
        return assign_plan(
            identity=identity,
            window=self.window(by),
            metadata=answers.get("metadata") or {},
            at=at,
            by=by,
        )

    def window(self, by: AuditContext) -> Window:
        """Return the window asked for. Refuses a reversed one (`Invalid`)."""
        end = self.cleaned_data["window_end"]
        if end is not None and end <= by.effective_at:
            raise Invalid("The end must be after the start.", field="window_end")
        return Window(by.effective_at, end)


def assign_preview(form: AssignForm, by: AuditContext, *, at: datetime) -> Preview:
    """Return what would be in effect: perform the assignment, to be rolled back."""
    account, user = form.subject, form.cleaned_data["user"]
    when = max(by.effective_at, at)
    before = billing_state(account=account, user=user, as_of=when, at=at)
    features_before = entitled_features(before)
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
        _plans_table(before.effective, after.effective, when),
        _features_table(features_before, entitled_features(after)),
        _settings_table(before, after),
    ]


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
    )
    return Table(
        title="Billing settings that change",
        headers=("Setting", "Before", "After"),
        rows=[pair for pair in pairs if pair[1] != pair[2]],
        empty="Billing mode and issue anchor stay as they are.",
    )
