"""Grant assignments: who is bound to which program, why, and for how long."""

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from unfold.decorators import display

from billing.admin.assignment_forms import ExtendForm
from billing.admin.related import Related, add_related
from billing.admin.words import minute_text
from catalog.admin.filters import TimeFilter
from config.admin.bases import (
    GRANTS,
    ActionVariant,
    CommandForm,
    Done,
    Menu,
    Preview,
    command,
)
from config.kernel.audit import AuditContext
from config.kernel.errors import Invalid
from config.kernel.money import format_xusd
from grants.admin.assignment_page import AssignmentPage
from grants.admin.credits import APPROVE
from grants.admin.giving import GIVE, GIVING, GiveForm, gift_preview
from grants.models import GrantAssignment, GrantStatus
from grants.selectors.terms import terms_of
from grants.services.assignment_changes import (
    change_assignment,
    pause_assignment,
    resume_assignment,
)


def _is(*statuses: str) -> Any:
    def stands(assignment: GrantAssignment) -> bool:
        return assignment.status in statuses

    return stands


@admin.register(GrantAssignment)
class GrantAssignmentAdmin(AssignmentPage):
    """Grant assignments."""

    menu = Menu(GRANTS, icon="assignment_turned_in", order=45)
    tells_missing = True
    empty_message = (
        "Nobody is assigned to a program like that. A plan, a purchase, a campaign or "
        "a program's own rule does it, or press “Give a grant” above."
    )
    list_display = (
        "program_link", "wallet_link", "account_link", "state", "dollars", "starts",
        "ends", "source_kind", "source", "realm",
    )  # fmt: skip
    list_display_links = ("state",)
    changes_lately = False
    list_filter = (
        "status", "source_kind", "program", ("window_start", TimeFilter), "realm",
    )  # fmt: skip
    list_select_related = (
        "realm", "account", "user", "program", "campaign", "plan_assignment__plan",
    )  # fmt: skip
    search_fields = (
        "account__billing_principal_id", "user__business_user_id",
        "user__metadata__email", "program__program_code", "source_ref",
        "campaign__name", "id__iexact",
    )  # fmt: skip
    search_help_text = (
        "Principal, user id, e-mail, program code, campaign, source or assignment id"
    )
    # Keys grow with time.
    ordering = ("-id",)
    export_fields = (
        "id", "realm", "account__billing_principal_id", "user__business_user_id",
        "program__program_code", "status", "source_kind", "source_ref", "amount_xusd",
        "quantity", "window_start", "window_end", "created_at",
    )  # fmt: skip

    @display(description="Amount per period", ordering="amount_xusd")
    def dollars(self, assignment: GrantAssignment) -> str:
        """Return what it gives per period, in dollars."""
        return format_xusd(terms_of(assignment).amount_xusd)

    def preview_gift(
        self,
        request: HttpRequest,
        _subject: None,
        form: GiveForm,
        *,
        at: datetime,
        by: AuditContext,
    ) -> Preview:
        """Return how much is given how often, and what the user has then."""
        form.may_approve = request.user.has_perm(APPROVE)
        return gift_preview(form, at=at, by=by)

    @command(
        "Give a grant",
        form=GiveForm,
        permission=GIVE,
        icon="redeem",
        variant=ActionVariant.PRIMARY,
        description=GIVING,
        on_list=True,
        preview=preview_gift,
    )
    def give(
        self,
        request: HttpRequest,
        _subject: None,
        form: GiveForm,
        *,
        at: datetime,
        by: AuditContext,
    ) -> Done:
        """Give a grant to the user who is named."""
        form.may_approve = request.user.has_perm(APPROVE)
        made = form.perform(at=at, by=by)
        amount = format_xusd(made.amount_xusd or 0)
        return Done(
            f"{made.user} is given {amount} of {made.program}.",
            goto=reverse("admin:grants_grantassignment_change", args=[made.pk]),
        )

    @command(
        "Extend",
        form=ExtendForm,
        permission=GIVE,
        icon="event_repeat",
        available=lambda row: (
            row.window_end is not None and row.status != GrantStatus.CANCELED
        ),
    )
    def extend(
        self,
        _request: HttpRequest,
        assignment: GrantAssignment,
        form: CommandForm,
        *,
        at: datetime,
        by: AuditContext,
    ) -> str:
        """Move the end later."""
        end, present = form.cleaned_data["window_end"], assignment.window_end
        if end is not None and present is not None and end <= present:
            raise Invalid(
                f"It ends on {minute_text(present)} already: choose a later end.",
                field="window_end",
            )
        change_assignment(
            assignment=assignment, changes={"window_end": end}, at=at, by=by
        )
        return f"It gives {f'until {minute_text(end)}' if end else 'without end'} now."

    @command(
        "Pause",
        permission=GIVE,
        icon="pause_circle",
        description="Nothing more is given until it is resumed. What was given stays.",
        available=_is(GrantStatus.ACTIVE),
    )
    def pause(
        self,
        _request: HttpRequest,
        assignment: GrantAssignment,
        _form: CommandForm,
        *,
        at: datetime,
        by: AuditContext,
    ) -> str:
        """Pause it."""
        pause_assignment(assignment=assignment, at=at, by=by)
        return "It is paused: nothing more is given."

    @command(
        "Resume",
        permission=GIVE,
        icon="play_circle",
        description="It gives again, from the present period on: nothing is given for "
        "the pause.",
        available=_is(GrantStatus.PAUSED),
    )
    def resume(
        self,
        _request: HttpRequest,
        assignment: GrantAssignment,
        _form: CommandForm,
        *,
        at: datetime,
        by: AuditContext,
    ) -> str:
        """Resume it."""
        resume_assignment(assignment=assignment, at=at, by=by)
        return "It gives again."

    @command(
        "Cancel",
        permission=GIVE,
        icon="cancel",
        variant=ActionVariant.DANGER,
        description="Nothing more is given, for good. What was given stays: revoke it "
        "on the grant's own page.",
        available=_is(GrantStatus.ACTIVE, GrantStatus.PAUSED),
    )
    def cancel(
        self,
        _request: HttpRequest,
        assignment: GrantAssignment,
        _form: CommandForm,
        *,
        at: datetime,
        by: AuditContext,
    ) -> str:
        """Cancel it."""
        change_assignment(
            assignment=assignment,
            changes={"status": GrantStatus.CANCELED},
            at=at,
            by=by,
        )
        return "It is canceled: nothing more is given."


add_related(
    Related(
        label="Grant assignments",
        url_name="admin:grants_grantassignment_changelist",
        permission="grants.view_grantassignment",
        order=54,
    )
)
