"""The page of a grant assignment: what it gives, why, and what it gave."""

from datetime import datetime
from typing import Any

from django.urls import reverse
from unfold.decorators import display

from catalog.admin.words import linked, moment, money, unbroken
from config.admin.bases import RecordAdmin, instant_text
from config.kernel.clock import now
from config.kernel.money import format_xusd
from grants.admin.lot_page import wallet_text
from grants.admin.sources import source_text
from grants.admin.words import lot_state, minute, table, until_text
from grants.models import GrantAssignment, GrantStatus
from grants.selectors.terms import terms_of

LATEST = 20
AHEAD, IN_EFFECT, OVER = "Begins later", "In effect", "Over"
STATE_COLORS = {
    IN_EFFECT: "success",
    AHEAD: "info",
    OVER: "default",
    GrantStatus.PAUSED.label: "warning",
    GrantStatus.CANCELED.label: "danger",
}


def state_of(assignment: GrantAssignment, *, at: datetime) -> str:
    """Return one plain word for where an assignment stands at `at` (aware UTC)."""
    end = assignment.window_end
    if assignment.status in {GrantStatus.PAUSED, GrantStatus.CANCELED}:
        return str(assignment.get_status_display())
    if assignment.status == GrantStatus.EXPIRED or (end is not None and end <= at):
        return OVER
    return AHEAD if assignment.window_start > at else IN_EFFECT


class AssignmentPage(RecordAdmin):
    """What the page of a grant assignment shows."""

    fieldsets = (
        (
            None,
            {"fields": ("program_link", "state", "wallet_link", "account_link",
                        "realm")},
        ),
        (
            "What it gives",
            {
                "fields": ("amount", "quantity", "debts", "begins", "ends_text"),
                "description": "In this window the program's grants are given to the "
                "user. What was given stays, whatever becomes of the assignment.",
            },
        ),
        (
            "Why",
            {"fields": ("source_kind", "source", "plan_link", "campaign_link")},
        ),
        ("What it gave", {"fields": ("lots",)}),
        (
            "For engineers",
            {
                "fields": ("id", "status", "source_ref", "anchored_at", "payment_id",
                           "metadata", "created_at", "updated_at"),
                "classes": ("collapse",),
            },
        ),
    )  # fmt: skip

    @display(description="Program", ordering="program__program_code")
    def program_link(self, assignment: GrantAssignment) -> Any:
        """Return the program, as a link."""
        return linked(assignment.program)

    @display(description="Wallet", ordering="user__business_user_id")
    def wallet_link(self, assignment: GrantAssignment) -> Any:
        """Return the user, as a link to the wallet."""
        return wallet_text(assignment)

    @display(description="Account", ordering="account__billing_principal_id")
    def account_link(self, assignment: GrantAssignment) -> Any:
        """Return the account, as a link."""
        return linked(assignment.account)

    @display(description="State now", label=STATE_COLORS)
    def state(self, assignment: GrantAssignment) -> str:
        """Return where it stands now."""
        return state_of(assignment, at=now())

    @display(description="Amount per period", ordering="amount_xusd")
    def amount(self, assignment: GrantAssignment) -> Any:
        """Return what it gives per period."""
        return money(terms_of(assignment).amount_xusd)

    @display(description="What is owed")
    def debts(self, assignment: GrantAssignment) -> str:
        """Return whether its grants pay first what the user owes."""
        own = assignment.get_outstanding_policy_override_display()
        return str(own) if own else "As the program says"

    @display(description="From (UTC)", ordering="window_start")
    def starts(self, assignment: GrantAssignment) -> Any:
        """Return since when it gives."""
        return moment(assignment.window_start)

    @display(description="Until (UTC)", ordering="window_end")
    def ends(self, assignment: GrantAssignment) -> Any:
        """Return the instant from which it gives no more."""
        return moment(assignment.window_end)

    @display(description="From")
    def begins(self, assignment: GrantAssignment) -> str:
        """Return since when it gives."""
        return instant_text(assignment.window_start)

    @display(description="Until")
    def ends_text(self, assignment: GrantAssignment) -> str:
        """Return the instant from which it gives no more."""
        end = assignment.window_end
        return instant_text(end) if end else "It never ends by itself"

    @display(description="Reference", ordering="source_ref")
    def source(self, assignment: GrantAssignment) -> Any:
        """Return what caused it, as a link where that can be looked at."""
        if assignment.campaign is not None:
            return linked(assignment.campaign)
        if assignment.plan_assignment is not None:
            return linked(assignment.plan_assignment, assignment.plan_assignment.plan)
        return source_text(assignment.source_ref)

    @display(description="Plan assignment")
    def plan_link(self, assignment: GrantAssignment) -> Any:
        """Return the plan assignment that brings it, as a link."""
        return linked(assignment.plan_assignment)

    @display(description="Campaign")
    def campaign_link(self, assignment: GrantAssignment) -> Any:
        """Return the campaign that gave it, as a link."""
        return linked(assignment.campaign)

    @display(description=f"Latest {LATEST} grants")
    def lots(self, assignment: GrantAssignment) -> Any:
        """Return the newest lots that it issued."""
        at, every = now(), reverse("admin:grants_grantlot_changelist")
        newest = assignment.lots.order_by("-id")[:LATEST]
        return table(
            ("Of (UTC)", "State", "Given", "Left", "Until (UTC)"),
            [
                (
                    linked(lot, minute(lot.window_start)),
                    unbroken(lot_state(lot, at=at)),
                    format_xusd(lot.amount_xusd),
                    format_xusd(lot.available_xusd),
                    until_text(lot.window_end),
                )
                for lot in newest
            ],
            empty="It has given nothing yet.",
            more=(f"{every}?assignment={assignment.pk}", "Every grant that it gave"),
        )
