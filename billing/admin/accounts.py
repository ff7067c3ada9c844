"""Accounts: one page that says what a customer has, as of any time."""

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Count, OuterRef, Q, QuerySet, Subquery
from django.http import HttpRequest
from django.urls import reverse

from billing.admin.assign import AssignForm
from billing.admin.assign_preview import assign_preview
from billing.admin.contract_forms import ContractForm
from billing.admin.page import account_panels
from billing.models import (
    AssignmentStatus,
    BillingAccount,
    PlanAssignment,
    PlanKind,
    UserStatus,
)
from billing.services.accounts import set_seat_limit
from billing.services.contracts import upsert_contract
from billing.services.users import create_user
from catalog.admin.bases import refuse_existing
from config.admin.bases import (
    ACCOUNTS,
    CommandForm,
    Done,
    Menu,
    Preview,
    RecordAdmin,
    command,
)
from config.admin.forms import said_once
from config.kernel.audit import AuditContext
from config.kernel.clock import now

MAY_ASSIGN = "billing.assign_plan"
MAY_MANAGE_CONTRACTS = "billing.manage_contracts"
MAY_MANAGE_USERS = "billing.manage_users"


class SeatLimitForm(CommandForm):
    """The most active users."""

    seat_limit = forms.IntegerField(
        label="Seat limit",
        required=False,
        min_value=0,
        help_text="Most active users. Nobody is disabled: an account over its limit "
        "only cannot add users.",
    )
    unlimited = forms.BooleanField(
        label="No limit",
        required=False,
        help_text="Any number of users. Leave the limit empty.",
    )

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        present = self.subject.seat_limit
        self.fields["seat_limit"].initial = present
        self.fields["unlimited"].initial = present is None

    def clean(self) -> dict[str, Any]:
        """Refuse neither a limit nor "No limit", and both."""
        super().clean()
        sentence = "Say how many, or tick “No limit”: one of the two."
        return said_once(self, "seat_limit", "unlimited", sentence)


class AddUserForm(CommandForm):
    """A user to add or reactivate."""

    user_id = forms.CharField(
        label="User id",
        max_length=512,
        help_text="The user's own id in the product. A disabled or deleted user of "
        "this id is activated again.",
    )
    display_name = forms.CharField(label="Name", max_length=255, required=False)
    email = forms.EmailField(label="E-mail", required=False)


@admin.register(BillingAccount)
class AccountAdmin(RecordAdmin):
    """Accounts, found by anything a customer may say."""

    menu = Menu(ACCOUNTS, icon="account_balance_wallet", order=10)
    empty_message = (
        "An account appears when a service first names its principal, or by the API."
    )
    list_display = (
        "billing_principal_id",
        "realm_id",
        "base_plan",
        "active_users",
        "seats",
        "created_at",
    )
    list_filter = ("realm",)
    search_fields = (
        "billing_principal_id",
        "users__business_user_id",
        "users__metadata__email",
        "users__metadata__display_name",
        "assignments__plan__plan_code",
        "assignments__source_ref",
        "id__iexact",
    )
    search_help_text = (
        "Principal, user id, e-mail, name, plan code, source reference or account id"
    )
    ordering = ("-id",)
    fields = (
        "billing_principal_id",
        "id",
        "realm",
        "seats",
        "seat_limit_source",
        "created_at",
        "metadata",
    )
    change_form_outer_before_template: Any = "admin/billing/account.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[BillingAccount]:
        """Return the accounts with what the list shows of each."""
        at = now()
        base = (
            PlanAssignment.objects.filter(
                Q(window_end__isnull=True) | Q(window_end__gt=at),
                account=OuterRef("pk"),
                scope="account",
                status=AssignmentStatus.ACTIVE,
                window_start__lte=at,
                plan__kind=PlanKind.BASE,
                plan__active=True,
            )
            .order_by("-plan__priority", "-window_start", "-pk")
            .values("plan__name")[:1]
        )
        rows: QuerySet[BillingAccount] = super().get_queryset(request)
        return rows.annotate(
            base_plan_name=Subquery(base),
            active_user_count=Count(
                "users", filter=Q(users__status=UserStatus.ACTIVE), distinct=True
            ),
        )

    @admin.display(description="Base plan now")
    def base_plan(self, account: Any) -> str:
        """Return the account-wide base plan in effect."""
        return account.base_plan_name or "—"

    @admin.display(description="Active users")
    def active_users(self, account: Any) -> int:
        """Return how many users are active."""
        count: int = account.active_user_count
        return count

    @admin.display(description="Seat limit")
    def seats(self, account: BillingAccount) -> str:
        """Return the seat limit in words."""
        limit = account.seat_limit
        return "Unlimited" if limit is None else f"{limit} users"

    def changeform_view(
        self,
        request: Any,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        """Show the account's page with its panels, as of the times asked for."""
        account = self.get_object(request, object_id) if object_id else None
        panels = account_panels(account, request, at=now()) if account else {}
        return super().changeform_view(
            request, object_id, form_url, {**(extra_context or {}), **panels}
        )

    def preview_assign(
        self, _request: HttpRequest, _account: Any, form: Any, *, at: datetime, by: Any
    ) -> Preview:
        """Return what assigning would change."""
        return assign_preview(form, by, at=at)

    @command(
        "Assign plan",
        permission=MAY_ASSIGN,
        form=AssignForm,
        icon="add_card",
        description="Gives a plan to the account or one of its users. The next page "
        "shows what changes before anything is saved.",
        preview=preview_assign,
    )
    def assign(
        self,
        _request: HttpRequest,
        account: BillingAccount,
        form: Any,
        *,
        at: datetime,
        by: AuditContext,
    ) -> str:
        """Assign a plan."""
        assignment, outcome = form.perform(by, at=at)
        if outcome == "unchanged":
            return f"{assignment.plan.name} already was assigned exactly so."
        return f"{assignment.plan.name} is assigned to {account}."

    @command(
        "Set seat limit",
        permission=MAY_ASSIGN,
        form=SeatLimitForm,
        icon="event_seat",
    )
    def seat_limit(
        self,
        _request: HttpRequest,
        account: BillingAccount,
        form: CommandForm,
        *,
        at: datetime,
        by: AuditContext,
    ) -> str:
        """Set the seat limit."""
        limit = form.cleaned_data["seat_limit"]
        set_seat_limit(account=account, seat_limit=limit, at=at, by=by)
        if limit is None:
            return f"{account} now has unlimited seats."
        return f"{account} now has {limit} seat{'' if limit == 1 else 's'}."

    @command(
        "Add user", permission=MAY_MANAGE_USERS, form=AddUserForm, icon="person_add"
    )
    def add_user(
        self,
        _request: HttpRequest,
        account: BillingAccount,
        form: CommandForm,
        *,
        at: datetime,
        by: AuditContext,
    ) -> str:
        """Add a user."""
        answers = form.cleaned_data
        named = {n: answers[n] for n in ("display_name", "email") if answers[n]}
        user = create_user(
            account=account,
            business_user_id=answers["user_id"].strip(),
            metadata=named,
            at=at,
            by=by,
        )
        return f"User {user} is active in {account}."

    @command(
        "Add contract",
        permission=MAY_MANAGE_CONTRACTS,
        form=ContractForm,
        icon="contract",
        description="Its prices are added on the contract's own page. Where contracts "
        "overlap, the one that started last prevails.",
    )
    def add_contract(
        self,
        _request: HttpRequest,
        account: BillingAccount,
        form: Any,
        *,
        at: datetime,
        by: AuditContext,
    ) -> Done:
        """Add a contract."""
        contract, created = upsert_contract(
            account=account,
            effective_at=by.effective_at,
            values=form.values(),
            at=at,
            by=by,
        )
        refuse_existing("A contract that starts then", created=created)
        page = reverse("admin:billing_billingcontract_change", args=[contract.pk])
        return Done(f"{contract} is made. Now set its prices.", goto=page)


def account_address(account_id: Any) -> str:
    """Return the address of an account's page."""
    return reverse("admin:billing_billingaccount_change", args=[account_id])
