"""Plan assignments: read-only rows with the named changes as buttons."""

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from billing.admin.accounts import MAY_ASSIGN, account_address
from billing.admin.words import (
    STATE_COLORS,
    assignment_state,
    holder_text,
    minute_text,
)
from billing.models import AssignmentStatus, Plan, PlanAssignment
from billing.services import assignment_changes as verbs
from config.admin.bases import (
    ACCOUNTS,
    ActionVariant,
    CommandForm,
    Done,
    Menu,
    RecordAdmin,
    UtcDateTimeField,
    command,
)
from config.kernel.audit import AuditContext
from config.kernel.clock import now

_LIVE = (AssignmentStatus.ACTIVE, AssignmentStatus.PAUSED)


class ExtendForm(CommandForm):
    """A later end."""

    window_end = UtcDateTimeField(
        label="New end",
        required=False,
        help_text="Date and time in UTC, later than the present end. Empty means it "
        "runs until somebody ends it.",
    )


class EndForm(CommandForm):
    """When it ends: the effective time."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields["effective_at"].label = "Ends"
        self.fields[
            "effective_at"
        ].help_text = "Date and time in UTC; until then it stays in effect. Empty: now."


class StatusForm(CommandForm):
    """Since when the new status holds."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields["effective_at"].label = "Since"
        self.fields[
            "effective_at"
        ].help_text = "Date and time in UTC, now or earlier. Empty means now."


class SwitchForm(CommandForm):
    """The plan to move to."""

    plan = forms.ModelChoiceField(Plan.objects.none(), label="New plan")
    source_ref = forms.CharField(
        label="Source reference",
        max_length=255,
        help_text="The contract, order or ticket of this change. It needs one of its "
        "own.",
    )

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        current = self.subject.plan
        self.fields["plan"].queryset = (  # type: ignore[attr-defined]
            Plan.objects.in_realm(self.subject.realm_id)
            .filter(active=True, kind=current.kind)
            .exclude(pk=current.pk)
            .order_by("-priority", "plan_code")
        )
        self.fields["plan"].help_text = (
            f"Now: {current}, priority {current.priority}. The old plan ends when the "
            "new one begins, with neither gap nor overlap."
        )
        self.fields["effective_at"].label = "Changes"
        self.fields[
            "effective_at"
        ].help_text = "Date and time in UTC, inside the window. Empty means now."


def _can_be(*statuses: str) -> Any:
    return lambda assignment: assignment.status in statuses


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
        "account_link",
        "plan",
        "holder",
        "state",
        "window_start",
        "window_end",
        "source_kind",
        "source_ref",
    )
    list_display_links = ("plan",)
    list_filter = ("status", "source_kind", "scope", "plan__kind", "realm")
    list_select_related = ("plan", "user", "account")
    search_fields = (
        "account__billing_principal_id",
        "user__business_user_id",
        "plan__plan_code",
        "plan__name",
        "source_ref",
        "id__iexact",
    )
    search_help_text = "Principal, user id, plan, source reference or assignment id"
    ordering = ("-id",)
    fields = (
        "account_link",
        "holder",
        "plan",
        "state",
        "status",
        "window_start",
        "window_end",
        "source_kind",
        "source_ref",
        "subscription_item_id",
        "metadata",
        "id",
        "created_at",
        "updated_at",
    )

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
        since = minute_text(by.effective_at)
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
        form=SwitchForm,
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
        form=SwitchForm,
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
