"""Movements of money: the postings of the ledger, each with its entries."""

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse

from billing.admin.related import Related, add_related
from catalog.admin.filters import TimeFilter
from config.admin.bases import (
    GRANTS,
    ActionVariant,
    CommandForm,
    Done,
    Menu,
    Preview,
    Table,
    add_news,
    command,
)
from config.kernel.audit import AuditContext
from config.kernel.money import format_xusd, xusd_to_usd_text
from grants.admin.posting_page import PostingPage, can_reverse
from grants.admin.words import change_text, happened
from grants.models import Posting
from grants.selectors.movements import by_people, with_changes
from grants.selectors.wallets import wallet_of
from grants.services.adjustments import reverse_adjustment

REVERSE = "grants.reverse_posting"


@admin.register(Posting)
class PostingAdmin(PostingPage):
    """Postings, called movements here."""

    menu = Menu(GRANTS, icon="receipt_long", order=60, label="Movements")
    tells_missing = True
    empty_message = (
        "Nothing moved like that. Money moves when something is given, adjusted or "
        "taken back; uses are booked a few minutes after they are made."
    )
    list_display = (
        "when", "reason_label", "change", "owed", "source", "wallet_link",
        "account_link", "who", "ticket", "realm",
    )  # fmt: skip
    list_display_links = ("when",)
    list_filter = (("occurred_at", TimeFilter), "reason", "realm")
    list_select_related = ("realm", "account", "user", "reverses", "reversed_by")
    search_fields = (
        "account__billing_principal_id", "user__business_user_id",
        "user__metadata__email", "source_ref", "ticket_id", "operator", "id__iexact",
    )  # fmt: skip
    search_help_text = (
        "Principal, user id, e-mail, source, ticket, operator or movement id"
    )
    # Keys grow with time.
    ordering = ("-id",)
    export_fields = (
        "occurred_at", "account__billing_principal_id", "user__business_user_id",
        "happened", "wallet_usd", "owed_usd", "source_ref", "operator", "explanation",
        "ticket_id", "effective_at", "realm", "id", "reverses", "actor_kind",
        "actor_id", "trace_id", "idempotency_key",
    )  # fmt: skip
    export_texts = {
        "happened": happened,
        "wallet_usd": lambda posting: xusd_to_usd_text(posting.wallet_xusd),
        "owed_usd": lambda posting: xusd_to_usd_text(posting.owed_xusd),
    }
    export_labels = {
        "occurred_at": "When (UTC)",
        "account__billing_principal_id": "Account",
        "user__business_user_id": "User",
        "happened": "What happened",
        "wallet_usd": "In (+) or out (-) of the wallet (USD)",
        "owed_usd": "More (+) or less (-) owed (USD)",
        "source_ref": "Reference",
        "operator": "Who",
        "explanation": "Reason",
        "ticket_id": "Ticket",
        "effective_at": "Effective from (UTC)",
        "realm": "Realm",
        "id": "Movement id",
        "reverses": "Undoes the movement",
        "actor_kind": "Signed in as (kind)",
        "actor_id": "Signed in as",
        "trace_id": "Trace id",
        "idempotency_key": "Idempotency key",
    }

    def get_queryset(self, request: HttpRequest) -> QuerySet[Posting]:
        """Return the postings with what each changed for its user."""
        return with_changes(super().get_queryset(request))

    def preview_reverse(
        self,
        _request: HttpRequest,
        posting: Posting,
        _form: CommandForm,
        *,
        at: datetime,
        by: AuditContext,
    ) -> Preview:
        """Return what the user has then: reverse it, to be rolled back."""
        before = wallet_of(user=posting.user, at=at).available_xusd
        reverse_adjustment(posting=posting, at=at, by=by)
        after = wallet_of(user=posting.user, at=at).available_xusd
        return [
            Table(
                title=f"Wallet of {posting.user} in the account {posting.account}",
                headers=("", "Now", "After"),
                rows=[("Available to spend", format_xusd(before), format_xusd(after))],
            )
        ]

    @command(
        "Reverse",
        permission=REVERSE,
        icon="undo",
        variant=ActionVariant.DANGER,
        description="Undoes the adjustment by a new, opposite movement. Possible once, "
        "while the grants that it changed are open, and only while what it gave is not "
        "spent.",
        available=can_reverse,
        preview=preview_reverse,
    )
    def reverse(
        self,
        _request: HttpRequest,
        posting: Posting,
        _form: CommandForm,
        *,
        at: datetime,
        by: AuditContext,
    ) -> Done:
        """Undo the adjustment."""
        undone = reverse_adjustment(posting=posting, at=at, by=by)
        return Done(
            "The adjustment is undone; this is the movement that undid it.",
            goto=reverse("admin:grants_posting_change", args=[undone.pk]),
        )


def _moved_lately(request: HttpRequest, limit: int) -> list[dict[str, Any]]:
    """Return what people gave and took last, as the first page tells changes."""
    if not request.user.has_perm("grants.view_posting"):
        return []
    return [
        {
            "what": f"{change_text(posting.wallet_xusd)} for {posting.user} of "
            f"{posting.account}",
            "verb": happened(posting).lower(),
            "link": reverse("admin:grants_posting_change", args=[posting.pk]),
            "recorded_at": posting.occurred_at,
            "operator": posting.operator,
            "reason": posting.explanation,
            "ticket_id": posting.ticket_id,
        }
        for posting in by_people(limit=limit)
    ]


add_news(_moved_lately)
add_related(
    Related(
        label="Movements of money",
        url_name="admin:grants_posting_changelist",
        permission="grants.view_posting",
        order=60,
    )
)
