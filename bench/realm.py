"""The realm that is measured: one product, one plan, and customers who can pay.

Its first customers are made by the product's own verbs, and used once through the API;
`bench.clones` multiplies them.
"""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction

from billing.models import BillingAccount, BillingUser, Plan
from billing.services.accounts import ensure_account
from billing.services.assignments import Identity, assign_plan
from billing.services.plans import change_plan_definition, default_plan, upsert_plan
from billing.services.users import create_user
from catalog.services.entries import MeterEntry
from catalog.services.families import upsert_feature_family
from catalog.services.features import upsert_feature
from catalog.services.prices import PriceTerms
from config.kernel.audit import Actor, AuditContext
from config.kernel.clock import now
from config.kernel.ids import new_trace_id
from config.kernel.windows import Window
from config.tenancy.models import Realm, ServiceKey
from config.tenancy.services.realms import create_realm
from config.tenancy.services.service_keys import create_service_key
from gating.services.bundles import upsert_bundle
from gating.services.policies import create_policy
from grants.services.credits import credit_balance

FEATURE = "chat.completion"
PLENTY = 10**15
MONTH, MINUTE = 30 * 86_400, 60
PRICE = PriceTerms(
    unit_price_xusd=3_000_000,
    unit_quantity_minor=1_000_000,
    unit_cost_xusd=1_100_000,
    cost_unit_quantity_minor=1_000_000,
)
"""Three dollars for a million tokens."""


@dataclass(frozen=True, slots=True)
class Customer:
    """An account with its one user."""

    account: BillingAccount
    user: BillingUser


@dataclass(frozen=True, slots=True)
class Realms:
    """The realm, its key, and a first customer of each sort.

    `admitted` is never denied; `denied` always is: its quota is 0.
    """

    realm: Realm
    key: ServiceKey
    admitted: Customer
    denied: Customer


def explained(at: datetime) -> AuditContext:
    """Return who makes the realm, and why, effective at `at` (aware UTC)."""
    return AuditContext(
        actor=Actor("system", "make bench"),
        operator="bench",
        reason="performance measurement",
        ticket_id="BENCH-1",
        effective_at=at,
        trace_id=new_trace_id(),
    )


@transaction.atomic
def make_realm() -> Realms:
    """Create a new realm with its catalog, plans, limits and first customers."""
    at = now() - timedelta(days=1)
    by = explained(at)
    realm_id = f"bench-{secrets.token_hex(4)}"
    realm = create_realm(realm_id=realm_id, at=at, by=by)
    key = create_service_key(realm=realm, name="bench", at=at, by=by)
    free = default_plan(realm)
    if free is not None:
        change_plan_definition(plan=free, changes={"active": False}, at=at, by=by)
    _make_feature(realm, at=at, by=by)
    paying = _make_plan(realm, "pro", PLENTY, at=at, by=by)
    used_up = _make_plan(realm, "used-up", 0, at=at, by=by)
    return Realms(
        realm,
        key,
        admitted=_make_customer(realm, "acct", paying, at=at, by=by),
        denied=_make_customer(realm, "none", used_up, at=at, by=by),
    )


def principal_id(kind: str, number: int) -> str:
    """Return the principal of a customer: `acct` is admitted, `none` denied."""
    return f"{kind}-{number:09d}"


def user_id(kind: str, number: int) -> str:
    """Return the user id of a customer's one user."""
    return f"{kind}-{number:09d}-user"


def _make_feature(realm: Realm, *, at: datetime, by: AuditContext) -> None:
    upsert_feature_family(
        realm=realm, feature_family_code="assistant", name="Assistant", at=at, by=by
    )
    meter = MeterEntry(
        meter_code=FEATURE,
        values={"unit": "token", "semantic_kind": "activity"},
        price=PRICE,
    )
    upsert_feature(
        realm=realm,
        feature_family_code="assistant",
        feature_code=FEATURE,
        name="Chat completions",
        meters=[meter],
        at=at,
        by=by,
    )


def _make_plan(
    realm: Realm, code: str, included: int, *, at: datetime, by: AuditContext
) -> Plan:
    """Make a plan with `included` tokens a month and a rate that is never reached."""
    key = f"{code}-limits"
    bundle, _ = upsert_bundle(realm=realm, bundle_key=key, name=key, at=at, by=by)
    create_policy(
        bundle=bundle, name=f"{code}: tokens a month", feature_code=FEATURE,
        kind="quota", subject_scope="account", unit="token", window_sec=MONTH,
        limit_minor=included, enforcement_mode="reserve", at=at, by=by,
    )  # fmt: skip
    create_policy(
        bundle=bundle, name=f"{code}: requests a minute", feature_code=FEATURE,
        kind="rate", subject_scope="user", unit="request", window_sec=MINUTE,
        limit_count=PLENTY, at=at, by=by,
    )  # fmt: skip
    plan, _ = upsert_plan(
        realm=realm,
        plan_code=code,
        name=code,
        kind="base",
        priority=10,
        metadata={
            "gate_bundle_key": key,
            "billing_defaults": {"period": {"billing_mode": "prepaid"}},
        },
        feature_family_codes=["assistant"],
        at=at,
        by=by,
    )
    return plan


def _make_customer(
    realm: Realm, kind: str, plan: Plan, *, at: datetime, by: AuditContext
) -> Customer:
    account = ensure_account(
        realm=realm, principal_id=principal_id(kind, 0), at=at, by=by
    )
    user = create_user(
        account=account, business_user_id=user_id(kind, 0), metadata={}, at=at, by=by
    )
    assign_plan(
        identity=Identity(account, None, plan, "ops.manual", "CN-1"),
        window=Window(at, None),
        at=at,
        by=by,
    )
    credit_balance(user=user, amount_xusd=PLENTY, source_ref="INV-1", at=at, by=by)
    return Customer(account, user)
