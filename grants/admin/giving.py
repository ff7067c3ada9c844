"""The *Give a grant* form: which program, for whom, how much, until when."""

from datetime import datetime
from typing import Any, ClassVar

from django import forms

from billing.models import BillingUser
from config.admin.bases import (
    CommandForm,
    Preview,
    Table,
    UtcDateTimeField,
    instant_text,
)
from config.kernel.audit import AuditContext
from config.kernel.errors import Conflict, Invalid
from config.kernel.money import format_xusd
from config.kernel.windows import Window
from grants.admin.credits import owner_of, wallet_preview
from grants.admin.money import UsdField
from grants.admin.people import UserNamedForm
from grants.admin.words import counted
from grants.models import Cadence, GrantAssignment, GrantProgram, LotKind
from grants.schedule import due_slots
from grants.selectors.terms import LotTerms, billing_periods, terms_of
from grants.services.assignment_changes import (
    SourceGivenOtherwise,
    create_manual_assignment,
    manual_identity,
)
from grants.services.assignments import GrantTerms
from grants.services.credits import CREDIT_PROGRAM
from grants.services.funding import MAX_SOURCE_REF

_WHAT = (
    ("What", {"fields": ("program", "amount_xusd", "source_ref")}),
    ("When", {"fields": ("window_start", "window_end")}),
)
GIVE = "grants.give_grant"
GIVING = (
    "Gives by a program, to one user: again and again, or until a day, as the program "
    "says, from now or a later time on. To give money once and without an end press "
    "“Credit” on the wallet; to put a wrong amount right, “Adjust”. Above the limit of "
    "this installation an approver has to press."
)
MOST_TIMES = 500
"""How often a grant is counted to be given; of more it is said that there are more."""


class ProgramChoice(forms.ModelChoiceField):  # type: ignore[type-arg]
    """A program, by its name, code and realm."""

    def label_from_instance(self, obj: Any) -> str:
        """Return how the program reads in the list of choices."""
        return f"{obj} ({obj.program_code}, realm {obj.realm_id})"


class GrantForm(CommandForm):
    """What, and until when. The button's row is the user.

    `may_approve` says whether who presses may give more than the deployment's limit.
    """

    may_approve = False
    shown_by = {"grant_program_code": "program", "program_id": "program"}

    program = ProgramChoice(
        GrantProgram.objects.filter(active=True)
        .exclude(grant_kind=LotKind.FALLBACK)
        .exclude(program_code=CREDIT_PROGRAM)
        .order_by("program_code", "realm_id"),
        help_text="It says how often and for how long; the preview shows both. "
        "“One-time credit” gives once.",
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
    fieldsets: ClassVar[Any] = _WHAT

    def user(self) -> BillingUser:
        """Return who is given it."""
        return owner_of(self.subject)

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


class GiveForm(UserNamedForm, GrantForm):
    """The same for a user who is named as the customer names them."""

    fieldsets = (("Whom", {"fields": ("realm", "principal", "user_id")}), *_WHAT)

    def user(self) -> BillingUser:
        """Return who is given it. Refuses (`NotFound`) an unknown account or user."""
        return self.named_user()


def gift_preview(form: GrantForm, *, at: datetime, by: AuditContext) -> Preview:
    """Return how much is given how often, and what the user has then."""
    made, changes = wallet_preview(form, at=at, by=by)
    return [_gift_table(made, at=at), *changes]


def _gift_table(assignment: GrantAssignment, *, at: datetime) -> Table:
    terms, end = terms_of(assignment), assignment.window_end
    until = instant_text(end) if end else "Nobody said: until it is canceled"
    return Table(
        title=f"{assignment.program} for {assignment.user}",
        headers=("", ""),
        rows=[
            ("Each time", format_xusd(terms.amount_xusd)),
            ("How often", str(assignment.program.get_cadence_display())),
            ("From", instant_text(assignment.window_start)),
            ("Until", until),
            ("In all", _total_text(assignment, terms, at=at)),
        ],
    )


def _total_text(assignment: GrantAssignment, terms: LotTerms, *, at: datetime) -> str:
    """Return what an assignment gives over its whole window."""
    cadence, start = assignment.program.cadence, terms.binding.window.start
    if cadence == Cadence.ONCE and not terms.schedule.accrues_daily:
        return format_xusd(terms.amount_xusd)
    if terms.binding.window.end is None or cadence == Cadence.BILLING_PERIOD:
        return "As often as it is due until it ends: there is no total"
    due = due_slots(
        terms.schedule,
        terms.binding,
        since=start,
        until=terms.binding.window.end,
        limit=MOST_TIMES,
        billing=billing_periods(assignment, at=at),
    )
    total = sum(slot.part_of(terms.amount_xusd) for slot in due.slots)
    more = "More than " if due.resume_at is not None else ""
    return f"{more}{format_xusd(total)}, in {counted(len(due.slots), 'grant')}"


def _amount_text(user: BillingUser, program: GrantProgram, source_ref: str) -> str:
    given = GrantAssignment.objects.in_realm(user.realm_id).filter(
        user=user, program=program, source_ref=source_ref
    )
    amount = given.values_list("amount_xusd", flat=True).first()
    return "" if amount is None else f": {format_xusd(amount)}"
