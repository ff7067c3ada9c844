"""The *Give a grant* form: which program, for whom, how much, until when."""

from datetime import datetime
from typing import Any

from django import forms

from billing.models import BillingUser
from config.admin.bases import CommandForm, UtcDateTimeField
from config.kernel.audit import AuditContext
from config.kernel.errors import Conflict, Invalid
from config.kernel.money import format_xusd
from config.kernel.windows import Window
from grants.admin.money import UsdField
from grants.admin.people import UserNamedForm
from grants.models import GrantAssignment, GrantProgram, LotKind
from grants.services.assignment_changes import (
    SourceGivenOtherwise,
    create_manual_assignment,
    manual_identity,
)
from grants.services.assignments import GrantTerms
from grants.services.credits import CREDIT_PROGRAM
from grants.services.funding import MAX_SOURCE_REF


class ProgramChoice(forms.ModelChoiceField):  # type: ignore[type-arg]
    """A program, by its name, code and realm."""

    def label_from_instance(self, obj: Any) -> str:
        """Return how the program reads in the list of choices."""
        return f"{obj} ({obj.program_code}, realm {obj.realm_id})"


class GiveForm(UserNamedForm, CommandForm):
    """Whom, what, and until when.

    `may_approve` says whether who presses may give more than the deployment's limit.
    """

    may_approve = False
    shown_by = {"grant_program_code": "program", "program_id": "program"}

    program = ProgramChoice(
        GrantProgram.objects.filter(active=True)
        .exclude(grant_kind=LotKind.FALLBACK)
        .exclude(program_code=CREDIT_PROGRAM)
        .order_by("program_code", "realm_id"),
        help_text="It says how often and for how long. “One-time credit” gives once.",
    )
    amount_xusd = UsdField(
        label="Amount (US dollars)",
        help_text="Of each period, where the program gives more than once. Like 25, "
        "1250.50 or 0.000125: kept exactly, to the millionth.",
    )
    window_start = UtcDateTimeField(
        label="From",
        required=False,
        help_text="Date and time in UTC. Empty means now.",
    )
    window_end = UtcDateTimeField(
        label="Until",
        required=False,
        help_text="Date and time in UTC. Empty means as long as the program says.",
    )
    source_ref = forms.CharField(
        label="Source reference",
        max_length=MAX_SOURCE_REF,
        help_text="What it is for: the case, order or promise. A user is given the "
        "program once per reference.",
    )
    fieldsets = (
        ("Whom", {"fields": ("realm", "principal", "user_id")}),
        ("What", {"fields": ("program", "amount_xusd", "source_ref")}),
        ("When", {"fields": ("window_start", "window_end")}),
    )

    def user(self) -> BillingUser:
        """Return who is given it. Refuses (`NotFound`) an unknown account or user."""
        return self.named_user()

    def perform(self, *, at: datetime, by: AuditContext) -> GrantAssignment:
        """Give it. Refuses (`Conflict`) a reference under which it was given before."""
        answers, user = self.cleaned_data, self.user()
        program: GrantProgram = answers["program"]
        if program.realm_id != user.realm_id:
            raise Invalid(
                f"{program} is a program of the realm {program.realm_id}.",
                field="program",
            )
        start = answers["window_start"] or at
        identity = manual_identity(
            user=user, program=program, source_ref=answers["source_ref"], by=by
        )
        try:
            assignment, created = create_manual_assignment(
                identity=identity,
                window=Window(start, answers["window_end"]),
                terms=GrantTerms(amount_xusd=answers["amount_xusd"]),
                may_approve=self.may_approve,
                at=at,
                by=by,
            )
        except SourceGivenOtherwise:
            created = False
        if not created:
            raise Conflict(
                f"{answers['source_ref']} already gives {program} to {user}"
                f"{_amount_text(user, program, answers['source_ref'])}. Nothing was "
                "added. Use another reference for a further grant.",
                field="source_ref",
            )
        return assignment


def _amount_text(user: BillingUser, program: GrantProgram, source_ref: str) -> str:
    given = GrantAssignment.objects.in_realm(user.realm_id).filter(
        user=user, program=program, source_ref=source_ref
    )
    amount = given.values_list("amount_xusd", flat=True).first()
    return "" if amount is None else f": {format_xusd(amount)}"
