"""The page of a wallet: the numbers, and all that they come from."""

from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from unfold.decorators import display

from catalog.admin.words import linked, moment, money
from config.admin.bases import RecordAdmin
from config.kernel.clock import now
from config.kernel.money import format_xusd
from grants.admin.proofs import proof_panel
from grants.admin.sources import source_text
from grants.admin.wallet_tables import (
    MOVEMENTS,
    ended_table,
    ledger_table,
    movements_table,
    spendable_table,
    waiting_table,
)
from grants.admin.words import table
from grants.models import GrantAllocation, GrantLot, LotKind, Wallet
from grants.selectors.wallets import wallet_of

LATEST = 20
PROVE = "prove"
"""In the address of the page: show the proof too, which reads all uses."""


class WalletPage(RecordAdmin):
    """What the page of a wallet shows."""

    fieldsets = (
        (None, {"fields": ("user_link", "account_link", "realm")}),
        (
            "What the user has now",
            {
                "fields": ("available", "left", "owed", "held", "paid_money"),
                "description": "Available is what is left on grants that can be spent "
                "now, less what is owed, and never below $0. Held is kept for work "
                "under way, until it is committed, canceled or expires; what is left "
                "is without it. All amounts are US dollars.",
            },
        ),
        (
            "Grants",
            {
                "fields": ("grants", "waiting", "ended"),
                "description": "What ends first is spent first, then the higher "
                "priority, then the older one.",
            },
        ),
        ("What is owed", {"fields": ("debts",)}),
        (
            "Movements of money",
            {
                "fields": ("movements",),
                "description": "Uses are booked together, a few minutes after they are "
                "made: those of the last minutes may be missing here.",
            },
        ),
        ("Latest uses", {"fields": ("uses",)}),
        (
            "Ledger",
            {
                "fields": ("ledger",),
                "description": "All that ever happened, added up. What was given, or "
                "is owed, is in the wallet or was used, has expired, was refunded or "
                "was taken back.",
            },
        ),
        ("Proof of the balance", {"fields": ("proof",)}),
    )

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Any:
        """Return the user, with what they have now, and whether to prove it."""
        user: Any = super().get_object(request, object_id, from_field)
        if user is not None:
            user.state = wallet_of(user=user, at=now())
            user.is_proved = PROVE in request.GET
        return user

    @display(description="User")
    def user_link(self, user: Wallet) -> Any:
        """Return the user, as a link."""
        address = reverse("admin:billing_billinguser_change", args=[user.pk])
        return format_html('<a href="{}" class="text-link">{}</a>', address, user)

    @display(description="Account", ordering="account__billing_principal_id")
    def account_link(self, user: Wallet) -> Any:
        """Return the account, as a link."""
        return linked(user.account)

    @display(description="Left on grants that can be spent")
    def left(self, user: Any) -> Any:
        """Return what the lots that pay new uses have left."""
        return money(user.state.gross_xusd)

    @display(description="Main balance in the ledger")
    def paid_money(self, user: Any) -> Any:
        """Return the ledger's balance of what is no promotional credit."""
        return format_html(
            "{} Without promotional credit, with grants that cannot be spent yet, and "
            "behind by uses that are not booked yet.",
            money(user.state.ledger_xusd),
        )

    @display(description="Can be spent now, in this order")
    def grants(self, user: Any) -> Any:
        """Return the lots that pay new uses, the one that pays next first."""
        return spendable_table(user.state.lots, at=user.state.as_of)

    @display(description="Open, but cannot be spent now")
    def waiting(self, user: Any) -> Any:
        """Return the other open lots, and why nothing is spent of them."""
        return waiting_table(user.state.lots, at=user.state.as_of)

    @display(description="Ended lately")
    def ended(self, user: Any) -> Any:
        """Return the lots that ended last, and what became of their rest."""
        return ended_table(user, at=user.state.as_of)

    @display(description=f"Latest {MOVEMENTS}")
    def movements(self, user: Any) -> Any:
        """Return what came in and went out last, who did it, and why."""
        return movements_table(user)

    @display(description="Overage")
    def debts(self, user: Wallet) -> Any:
        """Return what was used beyond all lots and is not paid."""
        owed = GrantLot.objects.in_realm(user.realm_id).filter(user=user).owed()
        pending = GrantAllocation.objects.in_realm(user.realm_id).filter(
            user=user, posting__isnull=True, lot__isnull=True
        )
        rows: list[tuple[Any, ...]] = [
            (
                linked(lot, "Overage"),
                format_html(
                    "{} to {}", moment(lot.period_start), moment(lot.period_end)
                ),
                format_xusd(lot.consumed_xusd),
                format_xusd(lot.paid_xusd),
                format_xusd(lot.consumed_xusd - lot.paid_xusd),
            )
            for lot in owed.order_by("period_start", "id")
        ]
        not_yet = sum(pending.values_list("amount_xusd", flat=True))
        if not_yet:
            text = format_xusd(not_yet)
            rows.append(("Not booked yet", "Latest uses", text, format_xusd(0), text))
        return table(
            ("What", "Billing period (UTC)", "Used", "Paid", "Owed"),
            rows,
            empty="Nothing is owed.",
        )

    @display(description=f"Latest {LATEST}")
    def uses(self, user: Wallet) -> Any:
        """Return the newest allocations: what was paid, and by which lot."""
        taken = GrantAllocation.objects.in_realm(user.realm_id).filter(user=user)
        newest = taken.select_related("lot__program").order_by("-id")[:LATEST]
        return table(
            ("When (UTC)", "Amount", "For", "Paid by", "In the ledger"),
            [
                (
                    moment(use.occurred_at),
                    format_xusd(use.amount_xusd),
                    source_text(use.source_ref),
                    _payer(use),
                    posted_text(use),
                )
                for use in newest
            ],
            empty="Nothing was used yet.",
        )

    @display(description="Sums")
    def ledger(self, user: Wallet) -> Any:
        """Return what the ledger comes to, side by side."""
        return ledger_table(user)

    @display(description="Does it add up?")
    def proof(self, user: Any) -> Any:
        """Return the proof of the balance, or the way to it until it is asked for."""
        if user.is_proved:
            return proof_panel(user, at=user.state.as_of)
        return format_html(
            '<a href="?{}=1" class="text-link">Prove it from every grant, use and '
            "entry</a>",
            PROVE,
        )


def _payer(use: GrantAllocation) -> Any:
    if use.lot is None:
        return "Nobody yet: it is owed"
    if use.lot.kind == LotKind.FALLBACK:
        return linked(use.lot, "Nobody yet: it is owed")
    return linked(use.lot, use.lot.program)


def posted_text(use: GrantAllocation) -> Any:
    """Return the posting that settled a use, as a link, or that it waits."""
    if use.posting_id is None:
        return "Not yet"
    address = reverse("admin:grants_posting_change", args=[use.posting_id])
    return format_html('<a href="{}" class="text-link">Booked</a>', address)
