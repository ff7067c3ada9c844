"""What keys and realms refer to in this app must be there."""

from typing import Any

from billing.models import BillingAccount, Plan
from config.kernel.errors import Invalid
from config.kernel.ids import parse_uuid
from config.tenancy.models import DomainEvent, Realm, ServiceKey


def require_known_accounts(
    *, event: DomainEvent, subject: ServiceKey, **_: Any
) -> None:
    """Refuse a key limited to an account that is not of its realm.

    Runs inside `service_key.created`, so the key is not created. Refuses with
    `Invalid` on `allowed_accounts`.
    """
    accounts = BillingAccount.objects.in_realm(event.realm_id)
    found = accounts.filter(pk__in=subject.allowed_accounts).values_list(
        "pk", flat=True
    )
    known = {str(account_id) for account_id in found}
    for account_id in subject.allowed_accounts:
        if account_id not in known:
            raise Invalid(
                f"There is no account {account_id} in this realm.",
                field="allowed_accounts",
            )


def require_known_default_plan(*, event: DomainEvent, subject: Realm, **_: Any) -> None:
    """Refuse a realm whose default plan is unknown or inactive.

    Runs inside `realm.changed` where metadata changed: new users would get no plan,
    and nobody would be told. Refuses with `Invalid` on `metadata.default_plan_id`.
    """
    named = subject.metadata.get("default_plan_id")
    if not named or "metadata" not in event.payload.get("changed", ()):
        return
    plans = Plan.objects.in_realm(subject).filter(active=True)
    plan_id = parse_uuid(named)
    if plan_id is None or not plans.filter(pk=plan_id).exists():
        raise Invalid(
            f"There is no active plan {named} in this realm.",
            field="metadata.default_plan_id",
        )
