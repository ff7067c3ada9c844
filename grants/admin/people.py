"""Naming a user as the customer does: account and user id, in a realm."""

from typing import Any

from django import forms

from billing.models import BillingUser
from config.kernel.errors import NotFound
from config.tenancy.models import Realm


class UserNamedForm(forms.Form):
    """The three questions that say which user; the only realm there is comes chosen."""

    realm = forms.ModelChoiceField(Realm.objects.order_by("realm_id"))
    principal = forms.CharField(
        label="Account", help_text="The principal: the customer's own id."
    )
    user_id = forms.CharField(
        label="User",
        help_text="The user's own id in that account. Where you do not know it, search "
        "for the person among the wallets: the same button is on their wallet.",
    )

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        realms = list(Realm.objects.all()[:2])
        if len(realms) == 1:
            self.initial["realm"] = realms[0].pk

    def named_user(self) -> BillingUser:
        """Return the user. Refuses (`NotFound`) an unknown account or user."""
        answers = self.cleaned_data
        users = BillingUser.objects.in_realm(answers["realm"]).filter(
            account__billing_principal_id=answers["principal"]
        )
        named = users.filter(business_user_id=answers["user_id"])
        user = named.select_related("account__realm").first()
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
