"""The hold desk: what was authorized and is not settled yet, and what became of it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import BadRequest
from django.db.models import QuerySet
from django.http import HttpRequest

from catalog.admin.filters import TimeFilter
from config.admin.bases import (
    GATE,
    ActionVariant,
    CommandForm,
    Figure,
    Menu,
    Preview,
    add_figure,
    command,
)
from config.kernel.audit import AuditContext
from config.kernel.ids import parse_uuid
from config.kernel.money import format_xusd
from gating.admin.hold_bulk import NAME, PERMISSION, release_selected
from gating.admin.hold_commit import CommitHoldForm, commit_preview
from gating.admin.hold_filters import (
    ALL,
    ORPHANED,
    OVERDUE,
    SHOW,
    AccountFilter,
    DeskFilter,
    FeatureFilter,
    chosen,
    orphans,
    orphans_of,
    overdue,
)
from gating.admin.hold_page import HoldPage, is_active
from gating.admin.hold_words import end_text, labels_text, orphan_text
from gating.admin.subjects import SEARCHED, account, feature, user
from gating.models import Lease, LeaseState
from gating.selectors.holds import complete
from gating.services.holds import release_hold


@admin.register(Lease)
class LeaseAdmin(HoldPage):
    """Leases, called holds here: what they hold is why people look."""

    menu = Menu(GATE, icon="lock_clock", order=20, label="Holds")
    empty_message = (
        "Nothing is held like that. A hold appears when a service asks the gate, and "
        "ends when it says what it used. Choose “Everything” among the filters to see "
        "those that have ended."
    )
    list_filter = (
        DeskFilter, AccountFilter, FeatureFilter, ("authorized_at", TimeFilter),
        "billing_mode", "realm",
    )  # fmt: skip
    list_select_related = ("realm", "account", "user")
    search_fields = (*SEARCHED, "lease", "trace_id")
    search_help_text = (
        "Lease reference, principal, user id, e-mail, feature code, trace id"
    )
    actions = (release_selected,)
    export_fields = (
        "id", "realm", "lease", "state", "account__billing_principal_id",
        "user__business_user_id", "feature_code", "reserved_minor", "reserved_xusd",
        "authorized_at", "expires_at", "ended_at", "billing_mode", "trace_id",
    )  # fmt: skip
    export_texts = {
        "unit": lambda lease: lease.counted_unit,
        "labels": labels_text,
        "orphaned_because": orphan_text,
        "how_it_ended": end_text,
    }

    def get_queryset(self, request: HttpRequest) -> QuerySet[Lease]:
        """Return the leases with their unit, their end, and why they are orphans."""
        return complete(super().get_queryset(request), orphans_of(request))

    def get_ordering(self, request: HttpRequest) -> Sequence[str]:
        """Return the oldest first of what is held, the newest first of what was.

        Keys grow with time, and their index is there.
        """
        shown = chosen(request)
        return ("-id",) if shown == ALL or shown in LeaseState.values else ("id",)

    def get_list_display(self, request: HttpRequest) -> Sequence[Any]:
        """Return the columns: of stuck holds also why they are."""
        why = ("orphan",) if chosen(request) in {ORPHANED, OVERDUE} else ()
        return (
            "age", "state_label", *why, account, user, feature, "held_quantity",
            "held_money", "expires", "caller", "realm",
        )  # fmt: skip

    def response_action(self, request: HttpRequest, queryset: Any) -> Any:
        """Take a bulk action on the rows that were ticked. Refuses what is no id."""
        ticked = request.POST.getlist(ACTION_CHECKBOX_NAME)
        if None in map(parse_uuid, ticked):
            raise BadRequest
        return super().response_action(request, queryset)

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Return the bulk actions that this member of staff may take."""
        actions = super().get_actions(request)
        if not request.user.has_perm(PERMISSION):
            actions.pop(NAME, None)
        return actions

    @command(
        "Release",
        permission=PERMISSION,
        icon="lock_open",
        variant=ActionVariant.DANGER,
        description="Gives back the quantity and money it holds, at once. If the work "
        "is still running, its commit will be kept aside as quarantined usage and not "
        "charged.",
        available=is_active,
    )
    def release(
        self,
        _request: HttpRequest,
        lease: Lease,
        _form: CommandForm,
        *,
        at: datetime,
        by: AuditContext,
    ) -> str:
        """Give up the authorization and what it holds."""
        done = release_hold(lease=lease, at=at, by=by)
        if not done.canceled:
            return f"{lease} had ended by itself: nothing was held any more."
        return f"{lease} is released: what it held is free again."

    def preview_commit(
        self,
        _request: HttpRequest,
        _lease: Lease,
        form: CommitHoldForm,
        *,
        at: datetime,
        by: AuditContext,
    ) -> Preview:
        """Return what is charged and what is given back."""
        return commit_preview(form, by, at=at)

    @command(
        "Commit",
        form=CommitHoldForm,
        permission="gating.commit_lease",
        icon="task_alt",
        variant=ActionVariant.PRIMARY,
        description="Says what was used, in place of the service that did not. It is "
        "counted and charged as if the service had said it; the rest of what is held "
        "is given back.",
        available=is_active,
        preview=preview_commit,
    )
    def commit(
        self,
        _request: HttpRequest,
        lease: Lease,
        form: CommitHoldForm,
        *,
        at: datetime,
        by: AuditContext,
    ) -> str:
        """Commit the hold in its caller's place."""
        rating = form.perform(by, at=at)
        charged = format_xusd(rating.applied_amount_xusd)
        return f"{lease} is committed: {charged} charged."


add_figure(
    Figure(
        label="Holds past their expiry",
        rows=overdue,
        url_name="admin:gating_lease_changelist",
        permission="gating.view_lease",
        query=lambda _at: f"{SHOW}={OVERDUE}",
        icon="lock_clock",
        order=60,
    )
)
add_figure(
    Figure(
        label="Orphaned holds",
        rows=orphans,
        url_name="admin:gating_lease_changelist",
        permission="gating.view_lease",
        query=lambda _at: f"{SHOW}={ORPHANED}",
        icon="running_with_errors",
        order=61,
    )
)
