"""Credit balances: what each user was given, has spent and may still spend."""

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db.models import F, QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html
from unfold.decorators import display

from billing.admin.related import Related, add_related
from catalog.admin.words import linked, moment, money
from config.admin.bases import (
    GRANTS,
    ActionVariant,
    Done,
    Menu,
    Preview,
    RecordAdmin,
    command,
    instant_text,
)
from config.kernel.audit import AuditContext
from config.kernel.money import format_xusd
from grants.admin.credits import CreditForm, CreditUserForm, credit_preview
from grants.admin.entries import signed
from grants.admin.sources import source_text
from grants.models import CreditBalance
from grants.selectors.balances import entries_of, proof

LATEST = 20
_DESCRIPTION = (
    "Adds to the balance; it can be spent at once. Credit is not taken back here: a "
    "mistake is corrected by a further entry."
)


@admin.register(CreditBalance)
class CreditBalanceAdmin(RecordAdmin):
    """Credit balances."""

    menu = Menu(GRANTS, icon="account_balance_wallet", order=10, label="Balances")
    empty_message = (
        "Nobody has credit yet. Press “Credit a user” above, or let your backend give "
        "it."
    )
    list_display = (
        "user_name", "account_link", "available", "reserved", "spent", "granted",
        "realm",
    )  # fmt: skip
    list_filter = ("realm",)
    list_select_related = ("realm", "account", "user")
    search_fields = (
        "account__billing_principal_id", "user__business_user_id",
        "user__metadata__email",
    )  # fmt: skip
    search_help_text = "Principal, user id, e-mail"
    ordering = ("account__billing_principal_id", "user__business_user_id", "pk")
    export_fields = (
        "realm", "account__billing_principal_id", "user__business_user_id",
        "granted_xusd", "spent_xusd", "reserved_xusd", "updated_at",
    )  # fmt: skip
    fieldsets = (
        (None, {"fields": ("user_link", "account_link", "realm")}),
        (
            "Balance",
            {
                "fields": ("available", "reserved", "spent", "granted", "proof_text",
                           "changed"),
                "description": "Available is granted, less spent, less reserved. XUSD "
                "are millionths of a US dollar. Reserved is held by leases until they "
                "are committed, canceled or expire.",
            },
        ),
        ("Movements", {"fields": ("movements",)}),
    )  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[CreditBalance]:
        """Return the balances with what is left of them."""
        balances: QuerySet[CreditBalance] = super().get_queryset(request)
        return balances.annotate(
            left_xusd=F("granted_xusd") - F("spent_xusd") - F("reserved_xusd")
        )

    @display(description="User", ordering="user__business_user_id")
    def user_name(self, balance: CreditBalance) -> str:
        """Return the user's id."""
        return str(balance.user)

    @display(description="User")
    def user_link(self, balance: CreditBalance) -> Any:
        """Return the user, as a link."""
        return linked(balance.user)

    @display(description="Account", ordering="account__billing_principal_id")
    def account_link(self, balance: CreditBalance) -> Any:
        """Return the account, as a link."""
        return linked(balance.account)

    @display(description="Available", ordering="left_xusd")
    def available(self, balance: CreditBalance) -> Any:
        """Return what may still be spent."""
        return money(balance.available_xusd)

    @display(description="Reserved", ordering="reserved_xusd")
    def reserved(self, balance: CreditBalance) -> Any:
        """Return what leases hold."""
        return money(balance.reserved_xusd)

    @display(description="Spent", ordering="spent_xusd")
    def spent(self, balance: CreditBalance) -> Any:
        """Return what was spent."""
        return money(balance.spent_xusd)

    @display(description="Granted", ordering="granted_xusd")
    def granted(self, balance: CreditBalance) -> Any:
        """Return what was given."""
        return money(balance.granted_xusd)

    @display(description="Last moved")
    def changed(self, balance: CreditBalance) -> str:
        """Return when the balance last changed."""
        return instant_text(balance.updated_at)

    @display(description="Proof")
    def proof_text(self, balance: CreditBalance) -> Any:
        """Return whether the entries add up to the balance, with the sums."""
        found = proof(balance)
        given, taken = format_xusd(found.given_xusd), format_xusd(found.taken_xusd)
        if found.holds:
            return f"Holds: the entries add up to {given} granted and {taken} spent."
        return format_html(
            "<strong>Does not hold:</strong> the entries add up to {} granted and {} "
            "spent. Tell the engineers before anything is changed.",
            given,
            taken,
        )

    @display(description=f"Latest {LATEST}")
    def movements(self, balance: CreditBalance) -> Any:
        """Return the newest entries, and the way to all of them."""
        entries = entries_of(user=balance.user).order_by("-id")
        every = f"{reverse('admin:grants_creditentry_changelist')}?user={balance.pk}"
        rows = [
            (
                linked(entry, moment(entry.occurred_at)),
                entry.get_kind_display(),
                signed(entry.amount_xusd),
                source_text(entry.source_ref),
                entry.reason or "Usage",
            )
            for entry in entries[:LATEST]
        ]
        if not rows:
            return "Nothing was credited or spent yet."
        headers = ("When (UTC)", "Kind", "Amount", "Source", "Reason")
        table = {"headers": headers, "rows": rows}
        return format_html(
            '<div class="flex flex-col gap-3 w-full">{}'
            '<a href="{}" class="text-link">Every movement, to filter and export</a>'
            "</div>",
            render_to_string("unfold/components/table.html", {"table": table}),
            every,
        )

    def preview_credit(
        self,
        _request: HttpRequest,
        _balance: CreditBalance | None,
        form: CreditForm,
        *,
        at: datetime,
        by: AuditContext,
    ) -> Preview:
        """Return what the credit changes."""
        return credit_preview(form, at=at, by=by)

    @command(
        "Credit",
        form=CreditForm,
        permission="grants.credit_balance",
        icon="add_card",
        variant=ActionVariant.PRIMARY,
        description=_DESCRIPTION,
        preview=preview_credit,
    )
    def credit(
        self,
        _request: HttpRequest,
        _balance: CreditBalance,
        form: CreditForm,
        *,
        at: datetime,
        by: AuditContext,
    ) -> str:
        """Credit the balance's user."""
        entry = form.perform(at=at, by=by)
        return f"{form.user()} was credited {format_xusd(entry.amount_xusd)}."

    @command(
        "Credit a user",
        form=CreditUserForm,
        permission="grants.credit_balance",
        icon="add_card",
        variant=ActionVariant.PRIMARY,
        description=_DESCRIPTION,
        on_list=True,
        preview=preview_credit,
    )
    def credit_user(
        self,
        _request: HttpRequest,
        _subject: None,
        form: CreditForm,
        *,
        at: datetime,
        by: AuditContext,
    ) -> Done:
        """Credit a user who may have no balance yet."""
        entry = form.perform(at=at, by=by)
        return Done(
            f"{entry.user} was credited {format_xusd(entry.amount_xusd)}.",
            goto=reverse("admin:grants_creditbalance_change", args=[entry.user_id]),
        )


add_related(
    Related(
        label="Balances",
        url_name="admin:grants_creditbalance_changelist",
        permission="grants.view_creditbalance",
        order=50,
    )
)
