"""Wallets: what each user has, owes and may spend."""

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from unfold.decorators import display

from billing.admin.related import Related, add_related
from catalog.admin.words import money
from config.admin.bases import (
    GRANTS,
    ActionVariant,
    Done,
    Menu,
    Preview,
    command,
)
from config.kernel.audit import AuditContext
from config.kernel.clock import now
from config.kernel.money import format_xusd, xusd_to_usd_text
from grants.admin.credits import (
    APPROVE,
    AdjustForm,
    CreditForm,
    CreditUserForm,
    adjusted_xusd,
    money_preview,
)
from grants.admin.giving import GIVE, GIVING, GrantForm, gift_preview
from grants.admin.wallet_page import WalletPage
from grants.admin.words import signed
from grants.models import Wallet
from grants.selectors.purses import with_sums

CREDIT, ADJUST = "grants.credit_wallet", "grants.adjust_wallet"
_DESCRIPTION = (
    "Gives something new, once: money without an end that can be spent at once. To put "
    "a wrong amount right, up or down, press “Adjust” on the wallet; to give by a "
    "program, again and again or until a day, “Give a grant”. A mistake is undone by "
    "“Revoke” on the grant."
)


def _available(user: Any) -> int:
    available: int = max(0, user.gross_xusd - user.owed_xusd)
    return available


@admin.register(Wallet)
class WalletAdmin(WalletPage):
    """Wallets."""

    menu = Menu(GRANTS, icon="account_balance_wallet", order=10)
    tells_missing = True
    empty_message = (
        "No user yet. A wallet appears with its user: when a service first acts for "
        "one, or by the API."
    )
    # Users are found by the search over everything already.
    searched = False
    list_display = (
        "user_name", "account_link", "available", "owed", "held", "realm",
    )  # fmt: skip
    list_filter = ("status", "realm")
    list_select_related = ("realm", "account")
    search_fields = (
        "account__billing_principal_id", "business_user_id", "metadata__email",
        "id__iexact",
    )  # fmt: skip
    search_help_text = "Principal, user id, e-mail or billing user id"
    ordering = ("-id",)
    export_fields = (
        "account__billing_principal_id", "business_user_id", "available_usd",
        "owed_usd", "held_usd", "realm", "id",
    )  # fmt: skip
    export_texts = {
        "available_usd": lambda user: xusd_to_usd_text(_available(user)),
        "owed_usd": lambda user: xusd_to_usd_text(user.owed_xusd),
        "held_usd": lambda user: xusd_to_usd_text(user.held_xusd),
    }
    export_labels = {
        "account__billing_principal_id": "Account",
        "business_user_id": "User",
        "available_usd": "Available (USD)",
        "owed_usd": "Owed (USD)",
        "held_usd": "Held (USD)",
        "realm": "Realm",
        "id": "Billing user id",
    }

    def get_queryset(self, request: HttpRequest) -> QuerySet[Wallet]:
        """Return the users with what they have, owe and hold now."""
        users: QuerySet[Wallet] = super().get_queryset(request)
        return with_sums(users, at=now())

    @display(description="User", ordering="business_user_id")
    def user_name(self, user: Wallet) -> str:
        """Return the user's id."""
        return str(user)

    @display(description="Available")
    def available(self, user: Any) -> Any:
        """Return what may still be spent."""
        return money(_available(user))

    @display(description="Owed")
    def owed(self, user: Any) -> Any:
        """Return what was used beyond all grants and is not paid."""
        return money(user.owed_xusd)

    @display(description="Held")
    def held(self, user: Any) -> Any:
        """Return what leases hold."""
        return money(user.held_xusd)

    def preview_money(
        self,
        request: HttpRequest,
        _user: Wallet | None,
        form: Any,
        *,
        at: datetime,
        by: AuditContext,
    ) -> Preview:
        """Return what a credit or adjustment changes."""
        form.may_approve = request.user.has_perm(APPROVE)
        return money_preview(form, at=at, by=by)

    @command(
        "Credit",
        form=CreditForm,
        permission=CREDIT,
        icon="add_card",
        variant=ActionVariant.PRIMARY,
        description=_DESCRIPTION,
        preview=preview_money,
    )
    def credit(
        self,
        request: HttpRequest,
        user: Wallet,
        form: CreditForm,
        *,
        at: datetime,
        by: AuditContext,
    ) -> str:
        """Credit the user."""
        form.may_approve = request.user.has_perm(APPROVE)
        lot = form.perform(at=at, by=by)
        return f"{user} was credited {format_xusd(lot.amount_xusd)}."

    @command(
        "Credit a user",
        form=CreditUserForm,
        permission=CREDIT,
        icon="add_card",
        variant=ActionVariant.PRIMARY,
        description=_DESCRIPTION,
        on_list=True,
        preview=preview_money,
    )
    def credit_user(
        self,
        request: HttpRequest,
        _subject: None,
        form: CreditForm,
        *,
        at: datetime,
        by: AuditContext,
    ) -> Done:
        """Credit a user who is named on the form."""
        form.may_approve = request.user.has_perm(APPROVE)
        lot = form.perform(at=at, by=by)
        return Done(
            f"{lot.user} was credited {format_xusd(lot.amount_xusd)}.",
            goto=reverse("admin:grants_wallet_change", args=[lot.user_id]),
        )

    @command(
        "Adjust",
        form=AdjustForm,
        permission=ADJUST,
        icon="tune",
        description="Puts right what the user has, up or down, where an amount was "
        "wrong. To give something new press “Credit”; to give again and again, “Give a "
        "grant”. What is given here is a new grant; what is taken is taken back from "
        "the grants that would be spent next. “Reverse” on its movement undoes it, as "
        "long as those grants are open.",
        preview=preview_money,
    )
    def adjust(
        self,
        request: HttpRequest,
        user: Wallet,
        form: AdjustForm,
        *,
        at: datetime,
        by: AuditContext,
    ) -> str:
        """Adjust the wallet."""
        form.may_approve = request.user.has_perm(APPROVE)
        posting = form.perform(at=at, by=by)
        return f"The wallet of {user} was adjusted by {signed(adjusted_xusd(posting))}."

    def preview_gift(
        self,
        request: HttpRequest,
        _user: Wallet,
        form: GrantForm,
        *,
        at: datetime,
        by: AuditContext,
    ) -> Preview:
        """Return how much is given how often, and what the user has then."""
        form.may_approve = request.user.has_perm(APPROVE)
        return gift_preview(form, at=at, by=by)

    @command(
        "Give a grant",
        form=GrantForm,
        permission=GIVE,
        icon="redeem",
        description=GIVING,
        preview=preview_gift,
    )
    def give(
        self,
        request: HttpRequest,
        user: Wallet,
        form: GrantForm,
        *,
        at: datetime,
        by: AuditContext,
    ) -> str:
        """Give a grant to the user."""
        form.may_approve = request.user.has_perm(APPROVE)
        made = form.perform(at=at, by=by)
        amount = format_xusd(made.amount_xusd or 0)
        return f"{user} is given {amount} of {made.program}."


add_related(
    Related(
        label="Wallets",
        url_name="admin:grants_wallet_changelist",
        permission="grants.view_wallet",
        order=50,
        user_page="admin:grants_wallet_change",
    )
)
