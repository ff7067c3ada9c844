"""What the records of the gate have in common: whose they are, and how to find them."""

from typing import Any

from unfold.decorators import display

from catalog.admin.words import linked

WHOSE = ("account__billing_principal_id", "user__business_user_id")
SEARCHED = (*WHOSE, "user__metadata__email", "feature_code")
"""What customers and colleagues say of a record."""


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
