"""Giving credit and adjusting wallets: the forms of the buttons, and their preview."""

from datetime import datetime
from typing import Any

from django import forms
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from billing.models import BillingUser
from config.admin.bases import CommandForm, Preview, Table, TimedForm, instant_text
from config.kernel.audit import AuditContext
from config.kernel.errors import Conflict, Invalid
from config.kernel.money import format_xusd
from grants.admin.money import UsdField
from grants.admin.people import UserNamedForm
from grants.admin.sources import source_words
from grants.admin.words import signed, until_text
from grants.models import GrantLot, LedgerKind, Posting
from grants.selectors.wallets import Wallet, wallet_of
from grants.services.adjustments import adjust_wallet
from grants.services.consumption import KeyConsumedOtherwise
from grants.services.credits import SourceAlreadyCredited, credits_of, ensure_credit
from grants.services.funding import MAX_SOURCE_REF, FundingExhausted, source_of_key

GIVE, TAKE = "give", "take"
APPROVE = "grants.approve_grant"
"""The permission to give more than the deployment's limit."""
MAX_REFERENCE = 200


class CreditForm(TimedForm):
    """How much, and what for. The button's row is the user.

    `may_approve` says whether who presses may give more than the deployment's limit.
    """

    may_approve = False
    amount_xusd = UsdField(
        label="Amount (US dollars)",
        help_text="Like 25, 1250.50 or 0.000125: kept exactly, to the millionth.",
    )
    source_ref = forms.CharField(
        label="Source reference",
        max_length=MAX_SOURCE_REF,
        help_text="What the credit is for: the invoice, order or case. A user is "
        "credited once per reference.",
    )

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields["effective_at"].help_text = (
            "Since when it is meant to hold, in UTC; it cannot lie in the future. "
            "Empty means now. The credit can be spent at once in any case."
        )

    def user(self) -> BillingUser:
        """Return who is credited."""
        return owner_of(self.subject)

    def perform(self, *, at: datetime, by: AuditContext) -> GrantLot:
        """Give the credit. Refuses (`Conflict`) a source that was credited already."""
        user, source_ref = self.user(), self.cleaned_data["source_ref"]
        try:
            lot, created = ensure_credit(
                user=user,
                amount_xusd=self.cleaned_data["amount_xusd"],
                source_ref=source_ref,
                may_approve=self.may_approve,
                at=at,
                by=by,
            )
        except SourceAlreadyCredited:
            # The same to the person who typed it, in the units that were typed.
            lot, created = credits_of(user).get(source_ref=source_ref), False
        if not created:
            raise Conflict(
                f"{lot.source_ref} already credited {format_xusd(lot.amount_xusd)} "
                f"to {user} on {instant_text(lot.created_at)}. Nothing was added. "
                "Use another reference for a further credit.",
                field="source_ref",
            )
        return lot


class CreditUserForm(UserNamedForm, CreditForm):
    """The same for a user who is named as the customer names them."""

    fieldsets = (
        ("Whom", {"fields": ("realm", "principal", "user_id")}),
        ("What", {"fields": ("amount_xusd", "source_ref")}),
    )

    def user(self) -> BillingUser:
        """Return who is credited. Refuses (`NotFound`) an unknown account or user."""
        return self.named_user()


class AdjustForm(CommandForm):
    """Whether to give or take, how much, and under which reference.

    `may_approve` says whether who presses may give more than the deployment's limit.
    """

    may_approve = False
    direction = forms.ChoiceField(
        label="What to do",
        choices=[(GIVE, "Give to the user"), (TAKE, "Take from the user")],
        widget=forms.RadioSelect,
    )
    amount_xusd = UsdField(
        label="Amount (US dollars)",
        help_text="Like 25, 1250.50 or 0.000125: kept exactly, to the millionth. No "
        "more can be taken than is left to spend. What is given ends by itself, after "
        "as long as the program “One-time credit” says: a year, unless it was changed. "
        "The preview shows the day. For money without an end press “Credit” instead.",
    )
    reference = forms.CharField(
        max_length=MAX_REFERENCE,
        help_text="The case or correction it belongs to. A wallet is adjusted once per "
        "reference.",
    )

    def user(self) -> BillingUser:
        """Return whose wallet is adjusted."""
        return owner_of(self.subject)

    def perform(self, *, at: datetime, by: AuditContext) -> Posting:
        """Adjust the wallet. Refuses (`Conflict`) a reference that was used already."""
        amount = self.cleaned_data["amount_xusd"]
        if self.cleaned_data["direction"] == TAKE:
            amount = -amount
        user, reference = self.user(), self.cleaned_data["reference"]
        try:
            posting, created = adjust_wallet(
                user=user,
                amount_xusd=amount,
                key=reference,
                may_approve=self.may_approve,
                at=at,
                by=by,
            )
        except KeyConsumedOtherwise:
            posting, created = _adjustment(user, reference), False
        except FundingExhausted:
            left = format_xusd(wallet_of(user=user, at=at).gross_xusd)
            raise Invalid(
                f"Only {left} of the user's grants is left to spend: no more can be "
                "taken.",
                field="amount_xusd",
            ) from None
        if not created:
            raise Conflict(
                f"{reference} already adjusted this wallet by "
                f"{signed(adjusted_xusd(posting))} on "
                f"{instant_text(posting.occurred_at)}. Nothing was changed. Use "
                "another reference for a further adjustment.",
                field="reference",
            )
        return posting


def owner_of(wallet: BillingUser) -> BillingUser:
    """Return the user of a wallet, as the verbs take users."""
    return BillingUser.objects.select_related("account__realm").get(pk=wallet.pk)


def adjusted_xusd(posting: Posting) -> int:
    """Return what an adjustment gave (10^-6 USD), below 0 where it took."""
    entries = posting.entries.filter(ledger_account__kind=LedgerKind.ADJUSTED)
    return -sum(entries.values_list("amount_xusd", flat=True))


def _adjustment(user: BillingUser, reference: str) -> Posting:
    postings = Posting.objects.in_realm(user.realm_id).filter(user=user)
    return postings.get(idempotency_key=source_of_key("adjustment", reference))


def money_preview(form: Any, *, at: datetime, by: AuditContext) -> Preview:
    """Return what a form changes of a wallet."""
    return wallet_preview(form, at=at, by=by)[1]


def wallet_preview(form: Any, *, at: datetime, by: AuditContext) -> tuple[Any, Preview]:
    """Return what a form makes, and changes of a wallet; to be rolled back."""
    user = form.user()
    before = wallet_of(user=user, at=at)
    made = form.perform(at=at, by=by)
    after = wallet_of(user=user, at=at)
    parts = (
        ("Left on grants that can be spent", "gross_xusd"),
        ("Owed", "outstanding_xusd"),
        ("Available to spend", "available_xusd"),
    )
    return made, [
        Table(
            title=f"Wallet of {user} in the account {user.account}",
            headers=("", "Now", "After"),
            rows=[
                (
                    label,
                    format_xusd(getattr(before, name)),
                    format_xusd(getattr(after, name)),
                )
                for label, name in parts
            ],
        ),
        _changed_grants(before, after),
        *_emptied(before, after),
    ]


def _emptied(before: Wallet, after: Wallet) -> list[SafeString]:
    """Return what follows for grants of which a form takes all that was left."""
    had = {lot.pk for lot in before.lots if lot.remaining_xusd > 0}
    empty = [lot for lot in after.lots if lot.pk in had and lot.remaining_xusd <= 0]
    if not empty:
        return []
    names = "; ".join(f"{lot.program}, {source_words(lot.source_ref)}" for lot in empty)
    message = (
        f"Nothing is left then of: {names}. A grant that is empty closes within a few "
        "minutes, and from then on this adjustment cannot be undone by “Reverse”. To "
        "put it right later, give the amount back by a new adjustment."
    )
    warning = "unfold/helpers/messages/warning.html"
    return [render_to_string(warning, {"message": message})]


def _changed_grants(before: Wallet, after: Wallet) -> Table:
    earlier = {lot.pk: lot.available_xusd for lot in before.lots}
    return Table(
        title="Grants that change",
        headers=("Grant", "Left now", "Left after", "Can be spent until (UTC)"),
        rows=[
            (
                f"{lot.program}, {source_words(lot.source_ref)}",
                format_xusd(earlier[lot.pk]) if lot.pk in earlier else "New",
                format_xusd(lot.available_xusd),
                until_text(lot.window_end),
            )
            for lot in after.lots
            if earlier.get(lot.pk) != lot.available_xusd
        ],
    )
