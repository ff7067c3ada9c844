"""Accounts and users by name."""

from billing.models import BillingUser
from billing.services.accounts import ensure_account
from billing.services.plans import change_plan_definition, default_plan
from billing.services.users import ensure_user


def accounts_named(realm, at, by, *principals):
    return [
        ensure_account(realm=realm, principal_id=principal, at=at, by=by)
        for principal in principals
    ]


def users_named(account, at, by, *names):
    return [
        ensure_user(account=account, business_user_id=name, at=at, by=by)
        for name in names
    ]


def user_of(account, name):
    return BillingUser.objects.get(account=account, business_user_id=name)


def full_by_default(realm, at, by):
    """Let new accounts of the realm have no seat at all."""
    plan = default_plan(realm)
    change_plan_definition(
        plan=plan, changes={"metadata": {"seat_limit": 0}}, at=at, by=by
    )
