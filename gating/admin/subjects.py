"""What the records of the gate have in common: whose they are, and how to find them."""

from typing import Any

from unfold.decorators import display

from billing.admin.related import Related, add_related
from catalog.admin.words import linked
from config.admin.bases import NOTHING
from grants.models import Budget

WHOSE = ("account__billing_principal_id", "user__business_user_id")
SEARCHED = (*WHOSE, "user__metadata__email", "feature_code")
"""What customers and colleagues say of a record."""

for _order, (_label, _model) in enumerate(
    (("Denials", "denial"), ("Holds", "lease"), ("Ratings", "rating"))
):
    add_related(
        Related(
            label=_label,
            url_name=f"admin:gating_{_model}_changelist",
            permission=f"gating.view_{_model}",
            order=_order,
        )
    )


@display(description="Account", ordering="account__billing_principal_id")
def account(row: Any) -> Any:
    """Return the account, as a link."""
    return linked(row.account)


@display(description="User", ordering="user__business_user_id")
def user(row: Any) -> Any:
    """Return the user, as a link."""
    return linked(row.user)


@display(description="Feature", ordering="feature_code")
def feature(row: Any) -> str:
    """Return the feature's code; denials of unknown features have none."""
    return row.feature_code or "Unknown feature"


@display(description="Budget")
def budget(row: Any) -> Any:
    """Return the budget that was named, as a link."""
    if row.budget_id is None:
        return NOTHING
    return linked(Budget.objects.in_realm(row.realm_id).get(pk=row.budget_id))
