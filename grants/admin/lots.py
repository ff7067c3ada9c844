"""Grants: money for one period, given to one user."""

from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.decorators import display

from billing.admin.related import Related, add_related
from catalog.admin.filters import TimeFilter
from catalog.admin.words import moment, unbroken
from config.admin.bases import (
    GRANTS,
    NOTHING,
    ActionVariant,
    CommandForm,
    Figure,
    Menu,
    Preview,
    Table,
    add_figure,
    command,
)
from config.kernel.audit import AuditContext
from config.kernel.clock import now
from config.kernel.money import format_xusd
from grants.admin.lot_filters import StateFilter, ending
from grants.admin.lot_page import LotPage
from grants.admin.words import can_be_spent_xusd, rest_text, taken_text
from grants.models import OPEN, SPENDABLE, GrantLot, LotKind, LotStatus
from grants.selectors.movements import with_taken_back
from grants.selectors.wallets import Wallet, wallet_of
from grants.services.lots import resume_lot, revoke_lot, suspend_lot

MANAGE = "grants.manage_lots"
HELD_OF_IT = "Of that held for work under way, which nothing pays then"


def _was_given(lot: GrantLot) -> bool:
    return lot.kind != LotKind.FALLBACK


def can_suspend(lot: GrantLot) -> bool:
    """Return whether a lot may be spent, now or later, but for its window."""
    return _was_given(lot) and lot.status in SPENDABLE


def can_resume(lot: GrantLot) -> bool:
    """Return whether a lot is suspended."""
    return _was_given(lot) and lot.status == LotStatus.SUSPENDED


def can_revoke(lot: GrantLot) -> bool:
    """Return whether a lot is open."""
    return _was_given(lot) and lot.status in OPEN


@admin.register(GrantLot)
class LotAdmin(LotPage):
    """Grants."""

    menu = Menu(GRANTS, icon="redeem", order=20)
    tells_missing = True
    empty_message = (
        "No grant like that. A grant appears when a plan, a purchase, a campaign or a "
        "person gives a user something: press “Credit a user” among the wallets."
    )
    list_display = (
        "program_text", "wallet_link", "account_link", "state", "left_text", "rest",
        "given_amount", "starts", "ends", "source_kind", "realm",
    )  # fmt: skip
    list_display_links = ("program_text",)
    changes_lately = False
    list_filter = (
        StateFilter, "status", "kind", "source_kind", ("created_at", TimeFilter),
        "program", "realm",
    )  # fmt: skip
    list_select_related = (
        "realm", "account", "user", "program", "assignment__program",
        "assignment__user", "carried_from__program", "carried_from__user",
    )  # fmt: skip
    search_fields = (
        "account__billing_principal_id", "user__business_user_id",
        "user__metadata__email", "program__program_code", "source_ref", "id__iexact",
    )  # fmt: skip
    search_help_text = (
        "Principal, user id, e-mail, program code, source reference or grant id"
    )
    # Keys grow with time.
    ordering = ("-id",)
    export_fields = (
        "id", "realm", "account__billing_principal_id", "user__business_user_id",
        "program__program_code", "status", "kind", "source_kind", "source_ref",
        "amount_xusd", "consumed_xusd", "reserved_xusd", "paid_xusd", "on_ledger",
        "priority", "window_start", "window_end", "closure_kind", "closed_at",
        "closed_remaining_xusd", "created_at",
    )  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[GrantLot]:
        """Return the grants with what adjustments took back of each."""
        return with_taken_back(super().get_queryset(request))

    @display(description="Program", ordering="program__program_code")
    def program_text(self, lot: GrantLot) -> Any:
        """Return the program it was given by."""
        return unbroken(lot.program)

    @display(description="Can be spent now")
    def left_text(self, lot: GrantLot) -> str:
        """Return what new uses may take of it, in dollars."""
        return format_xusd(can_be_spent_xusd(lot, at=now()))

    @display(description="What became of the rest")
    def rest(self, lot: GrantLot) -> str:
        """Return what became of what nobody spent and cannot be spent now."""
        told = (rest_text(lot, at=now()), taken_text(lot))
        return "; ".join(filter(None, told)) or NOTHING

    @display(description="Given", ordering="amount_xusd")
    def given_amount(self, lot: Any) -> str:
        """Return what was given at first, in dollars."""
        return format_xusd(lot.amount_xusd + lot.taken_back_xusd)

    @display(description="From (UTC)", ordering="window_start")
    def starts(self, lot: GrantLot) -> Any:
        """Return since when it can be spent."""
        return moment(lot.window_start)

    @display(description="Until (UTC)", ordering="window_end")
    def ends(self, lot: GrantLot) -> Any:
        """Return the instant from which it cannot be spent."""
        return moment(lot.window_end)

    def preview_suspend(
        self,
        _request: HttpRequest,
        lot: GrantLot,
        _form: CommandForm,
        *,
        at: datetime,
        by: AuditContext,
    ) -> Preview:
        """Return what the user cannot spend then: suspend it, to be rolled back."""
        before = wallet_of(user=lot.user, at=at)
        suspend_lot(lot=lot, at=at, by=by)
        after = wallet_of(user=lot.user, at=at)
        return [suspension_table(lot, before, after)]

    @command(
        "Suspend",
        permission=MANAGE,
        icon="pause_circle",
        description="Nothing more is spent of it until it is resumed, also nothing of "
        "what is held. Its window runs on.",
        available=can_suspend,
        preview=preview_suspend,
    )
    def suspend(
        self,
        _request: HttpRequest,
        lot: GrantLot,
        _form: CommandForm,
        *,
        at: datetime,
        by: AuditContext,
    ) -> str:
        """Suspend the lot."""
        suspend_lot(lot=lot, at=at, by=by)
        return f"{lot} is suspended."

    @command(
        "Resume",
        permission=MANAGE,
        icon="play_circle",
        description="It can be spent again, as long as its window holds.",
        available=can_resume,
    )
    def resume(
        self,
        _request: HttpRequest,
        lot: GrantLot,
        _form: CommandForm,
        *,
        at: datetime,
        by: AuditContext,
    ) -> str:
        """Resume the lot."""
        resume_lot(lot=lot, at=at, by=by)
        return f"{lot} can be spent again."

    def preview_revoke(
        self,
        _request: HttpRequest,
        lot: GrantLot,
        _form: CommandForm,
        *,
        at: datetime,
        by: AuditContext,
    ) -> Preview:
        """Return what the user loses: revoke the lot, to be rolled back."""
        done = revoke_lot(lot=lot, at=at, by=by)
        return [
            Table(
                title=f"{lot}",
                headers=("", "Amount"),
                rows=[
                    ("Stays spent", format_xusd(done.consumed_xusd)),
                    ("Is taken back", format_xusd(done.closed_remaining_xusd or 0)),
                    (HELD_OF_IT, format_xusd(done.reserved_xusd)),
                ],
            )
        ]

    @command(
        "Revoke",
        permission=MANAGE,
        icon="cancel",
        variant=ActionVariant.DANGER,
        description="Takes back what is left, for good. What was spent stays spent.",
        available=can_revoke,
        preview=preview_revoke,
    )
    def revoke(
        self,
        _request: HttpRequest,
        lot: GrantLot,
        _form: CommandForm,
        *,
        at: datetime,
        by: AuditContext,
    ) -> str:
        """Revoke the lot."""
        done = revoke_lot(lot=lot, at=at, by=by)
        taken = format_xusd(done.closed_remaining_xusd or 0)
        return f"The grant is revoked: {taken} was taken back."


def suspension_table(lot: GrantLot, before: Wallet, after: Wallet) -> Table:
    """Return a user's wallet before and after one of the grants is suspended."""
    return Table(
        title=f"{lot}: 1 person, of the account {lot.account}",
        headers=("", "Now", "After"),
        rows=[
            (
                "Available to spend, of all grants",
                format_xusd(before.available_xusd),
                format_xusd(after.available_xusd),
            ),
            (
                "Left on this grant, to be spent once it is resumed",
                NOTHING,
                format_xusd(lot.available_xusd),
            ),
            (HELD_OF_IT, NOTHING, format_xusd(lot.reserved_xusd)),
        ],
    )


def _soon(at: datetime) -> QuerySet[GrantLot]:
    given = GrantLot.objects.exclude(kind=LotKind.FALLBACK)
    found: QuerySet[GrantLot] = ending(given, at)
    return found


add_figure(
    Figure(
        label="Grants ending within 7 days",
        rows=_soon,
        url_name="admin:grants_grantlot_changelist",
        permission="grants.view_grantlot",
        query=lambda _at: urlencode({"state": "soon"}),
        icon="redeem",
        order=40,
    )
)
add_figure(
    Figure(
        label="Overages that are not paid",
        rows=lambda _at: GrantLot.objects.all().owed(),
        url_name="admin:grants_grantlot_changelist",
        permission="grants.view_grantlot",
        query=lambda _at: urlencode({"state": "owed"}),
        icon="money_off",
        order=41,
    )
)
add_related(
    Related(
        label="Grants",
        url_name="admin:grants_grantlot_changelist",
        permission="grants.view_grantlot",
        order=52,
    )
)
