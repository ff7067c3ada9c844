"""Giving credit: the forms of the two buttons, and what they show first."""

from datetime import datetime
from typing import Any

from django import forms

from billing.models import BillingUser
from config.admin.bases import Preview, Table, TimedForm, instant_text
from config.kernel.audit import AuditContext
from config.kernel.errors import Conflict, NotFound
from config.kernel.money import format_xusd
from config.tenancy.models import Realm
from grants.admin.money import UsdField
from grants.models import CreditEntry, EntryKind
from grants.selectors.balances import entries_of, wallet_of
from grants.services.credits import SourceAlreadyCredited, ensure_credit
from grants.services.funding import MAX_SOURCE_REF


class CreditForm(TimedForm):
    """How much, and what for. The button's row names the user."""

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
        user: BillingUser = self.subject.user
        return user

    def perform(self, *, at: datetime, by: AuditContext) -> CreditEntry:
        """Give the credit. Refuses (`Conflict`) a source that was credited already."""
        user, source_ref = self.user(), self.cleaned_data["source_ref"]
        try:
            entry, created = ensure_credit(
                user=user,
                amount_xusd=self.cleaned_data["amount_xusd"],
                source_ref=source_ref,
                at=at,
                by=by,
            )
        except SourceAlreadyCredited:
            # The same to the person who typed it, in the units that were typed.
            given = entries_of(user=user, kinds=[EntryKind.CREDIT])
            entry, created = given.get(source_ref=source_ref), False
        if not created:
            raise Conflict(
                f"{entry.source_ref} already credited {format_xusd(entry.amount_xusd)} "
                f"to {user} on {instant_text(entry.occurred_at)}. Nothing was added. "
                "Use another reference for a further credit.",
                field="source_ref",
            )
        return entry


class CreditUserForm(CreditForm):
    """The same for a user who is named as the customer names them."""

    realm = forms.ModelChoiceField(Realm.objects.order_by("realm_id"))
    principal = forms.CharField(
        label="Account", help_text="The principal: the customer's own id."
    )
    user_id = forms.CharField(
        label="User", help_text="The user's own id in that account."
    )

    fieldsets = (
        ("Whom", {"fields": ("realm", "principal", "user_id")}),
        ("What", {"fields": ("amount_xusd", "source_ref")}),
    )

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        realms = list(Realm.objects.all()[:2])
        if len(realms) == 1:
            self.initial["realm"] = realms[0].pk

    def user(self) -> BillingUser:
        """Return who is credited. Refuses (`NotFound`) an unknown account or user."""
        answers = self.cleaned_data
        users = BillingUser.objects.in_realm(answers["realm"]).filter(
            account__billing_principal_id=answers["principal"]
        )
        user = users.filter(business_user_id=answers["user_id"]).first()
        if user is not None:
            return user
        if users.exists():
            raise NotFound(
                f"The account {answers['principal']} has no user {answers['user_id']}.",
                field="user_id",
            )
        raise NotFound(
            f"The realm {answers['realm']} has no account {answers['principal']} with "
            "a user.",
            field="principal",
        )


def credit_preview(form: CreditForm, *, at: datetime, by: AuditContext) -> Preview:
    """Return what the credit changes: perform it, to be rolled back."""
    user = form.user()
    before = wallet_of(user=user, at=at)
    form.perform(at=at, by=by)
    after = wallet_of(user=user, at=at)
    parts = (
        ("Granted in all", "granted_xusd"),
        ("Available to spend", "available_xusd"),
    )
    return [
        Table(
            title=f"Balance of {user} in the account {user.account}",
            headers=("", "Now", "After"),
            rows=[
                (
                    label,
                    format_xusd(getattr(before, name)),
                    format_xusd(getattr(after, name)),
                )
                for label, name in parts
            ],
        )
    ]
