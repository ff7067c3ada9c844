"""Users of accounts, and the seats they take."""

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from billing.admin.accounts import MAY_MANAGE_USERS, account_address
from billing.admin.related import related_links
from billing.models import BillingUser, UserStatus
from billing.services.users import change_user
from config.admin.bases import (
    ACCOUNTS,
    ActionVariant,
    CommandForm,
    Menu,
    RecordAdmin,
    command,
)
from config.kernel.audit import AuditContext

STATUS_COLORS = {
    UserStatus.ACTIVE.label: "success",
    UserStatus.DISABLED.label: "warning",
    UserStatus.DELETED.label: "danger",
}


@admin.register(BillingUser)
class UserAdmin(RecordAdmin):
    """Billing users."""

    menu = Menu(ACCOUNTS, icon="group", order=20)
    empty_message = "A user appears when a service first acts for one, or by the API."
    list_display = (
        "business_user_id",
        "shown_name",
        "shown_email",
        "account_link",
        "shown_status",
        "created_at",
    )
    list_filter = ("status", "realm")
    list_select_related = ("account",)
    search_fields = (
        "business_user_id",
        "metadata__email",
        "metadata__display_name",
        "account__billing_principal_id",
        "id__iexact",
    )
    search_help_text = "User id, e-mail, name, principal or billing user id"
    ordering = ("-id",)
    fields = (
        "business_user_id",
        "shown_name",
        "shown_email",
        "account_link",
        "shown_status",
        "id",
        "created_at",
        "metadata",
    )

    change_form_outer_before_template: Any = "admin/billing/user.html"

    def changeform_view(
        self,
        request: Any,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        """Show the user's page, with the ways on to what is on record."""
        user = self.get_object(request, object_id) if object_id else None
        links = []
        if user is not None:
            seen_by = f"{account_address(user.account_id)}?user={user.pk}"
            links = [
                {"label": "Plans and access", "address": seen_by},
                *related_links(request, user),
            ]
        return super().changeform_view(
            request, object_id, form_url, {**(extra_context or {}), "related": links}
        )

    @admin.display(description="Name")
    def shown_name(self, user: BillingUser) -> str:
        """Return the display name."""
        return user.display_name or "—"

    @admin.display(description="E-mail")
    def shown_email(self, user: BillingUser) -> str:
        """Return the e-mail address."""
        return user.email or "—"

    @admin.display(description="Account", ordering="account__billing_principal_id")
    def account_link(self, user: BillingUser) -> SafeString:
        """Return a link to the account."""
        return format_html(
            '<a class="text-primary-600 dark:text-primary-500" href="{}">{}</a>',
            account_address(user.account_id),
            user.account,
        )

    @display(description="Status", label=STATUS_COLORS, ordering="status")
    def shown_status(self, user: BillingUser) -> str:
        """Return the status, colored."""
        return str(user.get_status_display())

    @command(
        "Disable",
        permission=MAY_MANAGE_USERS,
        icon="person_off",
        variant=ActionVariant.DANGER,
        description="The user's calls are refused from now on, and the seat is free.",
        available=lambda user: user.status == UserStatus.ACTIVE,
    )
    def disable(
        self,
        _request: HttpRequest,
        user: BillingUser,
        _form: CommandForm,
        *,
        at: datetime,
        by: AuditContext,
    ) -> str:
        """Disable the user."""
        change_user(user=user, status=UserStatus.DISABLED, at=at, by=by)
        return f"User {user} is disabled."

    @command(
        "Restore",
        permission=MAY_MANAGE_USERS,
        icon="person_check",
        description="Needs a free seat of the account.",
        available=lambda user: user.status != UserStatus.ACTIVE,
    )
    def restore(
        self,
        _request: HttpRequest,
        user: BillingUser,
        _form: Any,
        *,
        at: datetime,
        by: AuditContext,
    ) -> str:
        """Activate the user again."""
        change_user(user=user, status=UserStatus.ACTIVE, at=at, by=by)
        return f"User {user} is active again."
