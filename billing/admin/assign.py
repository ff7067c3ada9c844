"""The *Assign plan* form."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django import forms

from billing.admin.bundle_names import bundle_doubts
from billing.models import BillingAccount, BillingUser, Plan, SourceKind, UserStatus
from billing.services.accounts import lock_account
from billing.services.assignments import Identity, assign_plan
from config.admin.bases import (
    TimedForm,
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


class AssignForm(metadata_form(AssignmentMetadata, base=TimedForm)):  # type: ignore[misc]
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
                "description": "Leave empty to use what the plan says, or to keep what "
                "the assignment that has this source reference says.",
            },
        ),
    )

    def doubts(self, document: dict[str, Any]) -> Sequence[str]:
        """Return a sentence where the bundle that is named is not there."""
        return bundle_doubts(self.subject.realm_id, document)

    def perform(self, by: AuditContext, *, at: datetime) -> Any:
        """Assign the plan; return the assignment and what happened.

        An assignment that this event made before keeps its exceptions where the form
        names none, and its item. *Starts* is where the window begins: whatever else
        changes of that assignment does so now, and not in what was.
        """
        window, identity = self.window(by), self.identity()
        lock_account(self.subject)
        known, given = identity.find(), self.cleaned_data.get("metadata") or {}
        if known is None:
            return assign_plan(
                identity=identity, window=window, metadata=given, at=at, by=by
            )
        return assign_plan(
            identity=identity,
            window=window,
            subscription_item_id=known.subscription_item_id,
            metadata=_over(known.metadata, given),
            at=at,
            by=by.effective(at),
        )

    def identity(self) -> Identity:
        """Return the commercial event of the valid form."""
        answers = self.cleaned_data
        return Identity(
            account=self.subject,
            user=answers["user"],
            plan=answers["plan"],
            source_kind=answers["source_kind"],
            source_ref=answers["source_ref"].strip(),
        )

    def window(self, by: AuditContext) -> Window:
        """Return the window asked for. Refuses a reversed one (`Invalid`)."""
        end = self.cleaned_data["window_end"]
        if end is not None and end <= by.effective_at:
            raise Invalid("The end must be after the start.", field="window_end")
        return Window(by.effective_at, end)


def _over(stored: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Return the stored document with the keys that were given in place of its own."""
    merged = {**stored, **given}
    for key, value in given.items():
        if isinstance(value, dict) and isinstance(stored.get(key), dict):
            merged[key] = _over(stored[key], value)
    return merged
