"""Plan assignments: read-only rows with the named changes as buttons."""

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from billing.admin.accounts import MAY_ASSIGN, account_address
from billing.admin.assignment_forms import (
    DowngradeForm,
    EndForm,
    ExtendForm,
    StatusForm,
    UpgradeForm,
)
from billing.admin.words import (
    STATE_COLORS,
    assignment_state,
    holder_text,
    minute_text,
    short_text,
)
from billing.models import AssignmentStatus, PlanAssignment
from billing.services import assignment_changes as verbs
from config.admin.bases import (
    ACCOUNTS,
    ActionVariant,
    CommandForm,
    Done,
    Menu,
    RecordAdmin,
    command,
    instant_text,
)
from config.kernel.audit import AuditContext
from config.kernel.clock import now

NO_END = "No end"
_LIVE = (AssignmentStatus.ACTIVE, AssignmentStatus.PAUSED)


def _can_be(*statuses: str) -> Any:
    """Return whether an assignment has one of the statuses, and has not ended."""

    def can_be(assignment: PlanAssignment) -> bool:
        end = assignment.window_end
        return assignment.status in statuses and (end is None or end > now())

    return can_be


def _switch(
    direction: Any,
    assignment: PlanAssignment,
    form: CommandForm,
    *,
    at: datetime,
    by: AuditContext,
) -> Done:
    made = verbs.switch_plan(
        direction=direction,
        assignment=assignment,
        plan=form.cleaned_data["plan"],
        source_kind="ops.manual",
        source_ref=form.cleaned_data["source_ref"].strip(),
        switch_at=by.effective_at,
        at=at,
        by=by,
    )
    return Done(
        f"{assignment.plan.name} ends and {made.plan.name} begins on "
        f"{minute_text(made.window_start)}.",
        goto=account_address(assignment.account_id),
    )


def _done(sentence: str, assignment: PlanAssignment) -> Done:
    return Done(sentence, goto=account_address(assignment.account_id))


@admin.register(PlanAssignment)
class AssignmentAdmin(RecordAdmin):
    """Plan assignments."""

    menu = Menu(ACCOUNTS, icon="assignment_ind", order=30)
    empty_message = "Open an account and press “Assign plan” to make the first one."
    list_display = (
        "account_link", "plan", "holder", "state", "starts", "ends", "source_kind",
        "source_ref",
    )  # fmt: skip
    list_display_links = ("plan",)
    list_filter = ("status", "source_kind", "scope", "plan__kind", "realm")
    list_select_related = ("plan", "user", "account")
    search_fields = (
        "account__billing_principal_id", "user__business_user_id", "plan__plan_code",
        "plan__name", "source_ref", "id__iexact",
    )  # fmt: skip
    search_help_text = "Principal, user id, plan, source reference or assignment id"
    ordering = ("-id",)
    fields = (
        "account_link", "holder", "plan", "state", "status", "window_start",
        "end_text", "source_kind", "source_ref", "subscription_item_id", "metadata",
        "id", "created_at", "updated_at",
    )  # fmt: skip

    @admin.display(description="Account", ordering="account__billing_principal_id")
    def account_link(self, assignment: PlanAssignment) -> SafeString:
        """Return a link to the account."""
        return format_html(
            '<a class="text-primary-600 dark:text-primary-500" href="{}">{}</a>',
            account_address(assignment.account_id),
            assignment.account,
        )

    @admin.display(description="For")
    def holder(self, assignment: PlanAssignment) -> str:
        """Return whom it governs."""
        return holder_text(assignment)

    @admin.display(description="From (UTC)", ordering="window_start")
    def starts(self, assignment: PlanAssignment) -> str:
        """Return its first instant."""
        return short_text(assignment.window_start)

    @admin.display(description="Until (UTC)", ordering="window_end")
    def ends(self, assignment: PlanAssignment) -> str:
        """Return the instant from which it no longer governs."""
        end = assignment.window_end
        return short_text(end) if end else NO_END

    @admin.display(description="Window end")
    def end_text(self, assignment: PlanAssignment) -> str:
        """Return the exact end."""
        end = assignment.window_end
        return instant_text(end) if end else NO_END

    @display(description="State now", label=STATE_COLORS)
    def state(self, assignment: PlanAssignment) -> str:
        """Return where it stands now."""
        return assignment_state(assignment, at=now())

    @command(
        "Extend",
        permission=MAY_ASSIGN,
        form=ExtendForm,
        icon="event_repeat",
        available=lambda row: row.window_end is not None and row.status in _LIVE,
    )
    def extend(
        self,
        _request: HttpRequest,
        assignment: PlanAssignment,
        form: CommandForm,
        *,
        at: datetime,
        by: AuditContext,
    ) -> Done:
        """Move the end later."""
        end = form.cleaned_data["window_end"]
        verbs.extend_assignment(assignment=assignment, window_end=end, at=at, by=by)
        until = f"until {minute_text(end)}" if end else "with no end"
        return _done(f"{assignment.plan.name} now runs {until}.", assignment)

    @command(
        "End",
        permission=MAY_ASSIGN,
        form=EndForm,
        icon="event_busy",
        variant=ActionVariant.DANGER,
        available=_can_be(*_LIVE),
    )
    def end(
        self,
        _request: HttpRequest,
        assignment: PlanAssignment,
        form: CommandForm,
        *,
        at: datetime,
        by: AuditContext,
    ) -> Done:
        """End it."""
        end_at = by.effective_at
        verbs.end_assignment(assignment=assignment, end_at=end_at, at=at, by=by)
        sentence = f"{assignment.plan.name} ends on {minute_text(end_at)}."
        return _done(sentence, assignment)

    @command(
        "Pause",
        permission=MAY_ASSIGN,
        form=StatusForm,
        icon="pause_circle",
        description="The plan has no effect until it is resumed; its window runs on.",
        available=_can_be(AssignmentStatus.ACTIVE),
    )
    def pause(
        self,
        _request: HttpRequest,
        assignment: PlanAssignment,
        _form: CommandForm,
        *,
        at: datetime,
        by: AuditContext,
    ) -> Done:
        """Suspend it."""
        verbs.pause_assignment(assignment=assignment, at=at, by=by)
        # A pause from before the start holds from the start on.
        since = minute_text(max(by.effective_at, assignment.window_start))
        return _done(f"{assignment.plan.name} is paused since {since}.", assignment)

    @command(
        "Resume",
        permission=MAY_ASSIGN,
        form=StatusForm,
        icon="play_circle",
        available=_can_be(AssignmentStatus.PAUSED),
    )
    def resume(
        self,
        _request: HttpRequest,
        assignment: PlanAssignment,
        _form: CommandForm,
        *,
        at: datetime,
        by: AuditContext,
    ) -> Done:
        """Put it back into effect."""
        verbs.resume_assignment(assignment=assignment, at=at, by=by)
        return _done(f"{assignment.plan.name} is in effect again.", assignment)

    @command(
        "Cancel",
        permission=MAY_ASSIGN,
        form=StatusForm,
        icon="cancel",
        variant=ActionVariant.DANGER,
        description="Takes the plan out of effect for good; what it was stays on "
        "record.",
        available=_can_be(*_LIVE),
    )
    def cancel(
        self,
        _request: HttpRequest,
        assignment: PlanAssignment,
        _form: CommandForm,
        *,
        at: datetime,
        by: AuditContext,
    ) -> Done:
        """Cancel it."""
        verbs.cancel_assignment(assignment=assignment, at=at, by=by)
        return _done(f"{assignment.plan.name} is canceled.", assignment)

    @command(
        "Upgrade",
        permission=MAY_ASSIGN,
        form=UpgradeForm,
        icon="trending_up",
        available=_can_be(AssignmentStatus.ACTIVE),
    )
    def upgrade(
        self,
        _request: HttpRequest,
        assignment: PlanAssignment,
        form: CommandForm,
        *,
        at: datetime,
        by: AuditContext,
    ) -> Done:
        """Move to a higher plan."""
        return _switch("upgrade", assignment, form, at=at, by=by)

    @command(
        "Downgrade",
        permission=MAY_ASSIGN,
        form=DowngradeForm,
        icon="trending_down",
        available=_can_be(AssignmentStatus.ACTIVE),
    )
    def downgrade(
        self,
        _request: HttpRequest,
        assignment: PlanAssignment,
        form: CommandForm,
        *,
        at: datetime,
        by: AuditContext,
    ) -> Done:
        """Move to a lower plan."""
        return _switch("downgrade", assignment, form, at=at, by=by)
