"""Budgets: what caps a user's spending, and how far it is used."""

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.decorators import display

from billing.admin.related import Related, add_related
from catalog.admin.filters import TimeFilter
from catalog.admin.words import linked, moment, money
from config.admin.bases import (
    GRANTS,
    NOTHING,
    ActionVariant,
    CommandForm,
    Menu,
    RecordAdmin,
    command,
    instant_text,
)
from config.kernel.audit import AuditContext
from config.kernel.clock import now
from config.kernel.money import format_xusd
from grants.models import Budget, BudgetScope, BudgetStatus
from grants.services.budgets import close_budget

UNLIMITED = "Unlimited"
AHEAD = "Begins later"
STATUS_COLORS = {
    BudgetStatus.ACTIVE.label: "success",
    BudgetStatus.CLOSED.label: "default",
    BudgetStatus.EXPIRED.label: "warning",
    AHEAD: "info",
}


def is_open(budget: Budget) -> bool:
    """Return whether nobody has closed the budget."""
    return budget.closed_at is None


class StatusFilter(admin.SimpleListFilter):
    """How budgets stand now."""

    title = "status"
    parameter_name = "status"

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, str]]:
        """Return the choices."""
        return [(status.value, str(status.label)) for status in BudgetStatus]

    def queryset(self, request: Any, queryset: Any) -> Any:
        """Return the budgets that stand so now."""
        chosen = self.value()
        return queryset.of_status([chosen], at=now()) if chosen else queryset


@admin.register(Budget)
class BudgetAdmin(RecordAdmin):
    """Budgets."""

    menu = Menu(GRANTS, icon="savings", order=30)
    empty_message = (
        "No budget yet. One appears when your backend, or a user's app, makes it."
    )
    list_display = (
        "title_text", "user_link", "account_link", "status_label", "consumed", "held",
        "left", "limit", "ends", "realm",
    )  # fmt: skip
    list_display_links = ("title_text",)
    list_filter = (
        StatusFilter, "scope_kind", ("created_at", TimeFilter), "realm",
    )  # fmt: skip
    list_select_related = ("realm", "account", "user")
    search_fields = (
        "reference", "name", "account__billing_principal_id",
        "user__business_user_id", "user__metadata__email",
    )  # fmt: skip
    search_help_text = "Budget reference or name, principal, user id, e-mail"
    # Keys grow with time.
    ordering = ("-id",)
    export_fields = (
        "id", "realm", "account__billing_principal_id", "user__business_user_id",
        "reference", "name", "scope_kind", "feature_codes", "limit_xusd",
        "consumed_xusd", "reserved_xusd", "window_start", "window_end", "closed_at",
        "created_at",
    )  # fmt: skip
    fieldsets = (
        (
            None,
            {"fields": ("reference", "name", "status_label", "user_link",
                        "account_link", "realm")},
        ),
        (
            "Money",
            {
                "fields": ("limit", "consumed", "held", "left", "beyond"),
                "description": "Left is the limit, less what was consumed, less what "
                "is held. All amounts are US dollars. Held is kept by holds "
                "until they are committed, canceled or expire.",
            },
        ),
        (
            "Where and when it holds",
            {"fields": ("features", "begins", "ends_text", "closed")},
        ),
        (
            "For engineers",
            {
                "fields": ("id", "metadata", "created_at", "updated_at"),
                "classes": ("collapse",),
            },
        ),
    )  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[Budget]:
        """Return the budgets with what is left of them."""
        budgets: Any = super().get_queryset(request)
        found: QuerySet[Budget] = budgets.with_left()
        return found

    @display(description="Budget", ordering="reference")
    def title_text(self, budget: Budget) -> str:
        """Return the name that people gave it, else the caller's reference."""
        return str(budget)

    @display(description="User", ordering="user__business_user_id")
    def user_link(self, budget: Budget) -> Any:
        """Return the user, as a link."""
        return linked(budget.user)

    @display(description="Account", ordering="account__billing_principal_id")
    def account_link(self, budget: Budget) -> Any:
        """Return the account, as a link."""
        return linked(budget.account)

    @display(description="Status", label=STATUS_COLORS)
    def status_label(self, budget: Budget) -> str:
        """Return how the budget stands now."""
        at = now()
        status = budget.status(at=at)
        start = budget.window_start
        if status == BudgetStatus.ACTIVE and start is not None and at < start:
            return AHEAD
        return str(status.label)

    @display(description="Limit", ordering="limit_xusd")
    def limit(self, budget: Budget) -> Any:
        """Return the most that may be spent."""
        return UNLIMITED if budget.limit_xusd is None else money(budget.limit_xusd)

    @display(description="Consumed", ordering="consumed_xusd")
    def consumed(self, budget: Budget) -> Any:
        """Return what was spent."""
        return money(budget.consumed_xusd)

    @display(description="Held", ordering="reserved_xusd")
    def held(self, budget: Budget) -> Any:
        """Return what leases hold."""
        return money(budget.reserved_xusd)

    @display(description="Left", ordering="left_xusd")
    def left(self, budget: Budget) -> Any:
        """Return what may still be held or spent."""
        if budget.limit_xusd is None:
            return UNLIMITED
        return money(max(0, budget.room_xusd))

    @display(description="Beyond the limit")
    def beyond(self, budget: Budget) -> str:
        """Return by how much usage that is paid later passed the limit."""
        remaining = budget.remaining_xusd
        if remaining is None or remaining >= 0:
            return NOTHING
        return (
            f"{format_xusd(-remaining)}: usage that is paid after it is made counts in "
            "full."
        )

    @display(description="Features")
    def features(self, budget: Budget) -> str:
        """Return what the budget may be named for."""
        if budget.feature_codes is None:
            return str(BudgetScope.GLOBAL.label)
        return ", ".join(budget.feature_codes)

    @display(description="Begins")
    def begins(self, budget: Budget) -> str:
        """Return since when it holds."""
        start = budget.window_start
        return instant_text(start) if start else "It has always held"

    @display(description="Ends (UTC)", ordering="window_end")
    def ends(self, budget: Budget) -> Any:
        """Return the instant from which it no longer holds."""
        return moment(budget.window_end)

    @display(description="Ends")
    def ends_text(self, budget: Budget) -> str:
        """Return the instant from which it no longer holds."""
        end = budget.window_end
        return instant_text(end) if end else "It never ends by itself"

    @display(description="Closed")
    def closed(self, budget: Budget) -> str:
        """Return when it was closed; its history tells by whom, and why."""
        return instant_text(budget.closed_at) if budget.closed_at else "Not closed"

    @command(
        "Close budget",
        permission="grants.close_budget",
        icon="block",
        variant=ActionVariant.DANGER,
        description="The gate refuses new work that names this budget, at once and for "
        "good. Work that is under way keeps what it holds and is still counted.",
        available=is_open,
    )
    def close(
        self,
        _request: HttpRequest,
        budget: Budget,
        _form: CommandForm,
        *,
        at: datetime,
        by: AuditContext,
    ) -> str:
        """Let the budget admit nothing any more."""
        closed = close_budget(budget=budget, at=at, by=by)
        return f"{closed} is closed, with {format_xusd(closed.consumed_xusd)} consumed."


add_related(
    Related(
        label="Budgets",
        url_name="admin:grants_budget_changelist",
        permission="grants.view_budget",
        order=70,
    )
)
