"""Which grant, assignment or person a call is about, for a caller that may use it."""

from billing.api.context import account_in_realm, user_in_realm
from billing.models import BillingUser
from config.api.operations import Call
from config.kernel.errors import NotFound
from grants.models import GrantAssignment, GrantLot
from grants.selectors.assignments import grant_assignment_of
from grants.selectors.lots import lot_of


def owner_in_realm(call: Call, account_id: object, user_id: object) -> BillingUser:
    """Return the account's user that a body names by both ids.

    Refuses unknown ids (404), a user of another account (404) and an account that is
    not the caller's (403).
    """
    account = account_in_realm(call, account_id)
    user = user_in_realm(call, user_id)
    if user.account_id != account.pk:
        raise NotFound(
            f"Billing user not found for billing_account_id: {user} is of another "
            "account.",
            field="billing_user_id",
        )
    return user


def grant_assignment_in_realm(call: Call, assignment_id: str) -> GrantAssignment:
    """Return the realm's grant assignment of that id.

    Refuses an unknown one (404), and an account that is not the caller's (403).
    """
    assignment = grant_assignment_of(call.realm, assignment_id)
    account_in_realm(call, assignment.account_id)
    return assignment


def lot_in_realm(call: Call, grant_id: str) -> GrantLot:
    """Return the realm's grant of that id. Refuses as `grant_assignment_in_realm`."""
    lot = lot_of(call.realm, grant_id)
    account_in_realm(call, lot.account_id)
    return lot
