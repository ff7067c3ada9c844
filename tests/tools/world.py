"""A realm with a row of every table, made by the verbs that make them.

Tests of rules that hold for *all* tables and addresses start from here: two worlds of
two realms, or two accounts of one, and then something that must be refused.
"""

import hashlib
from dataclasses import replace
from types import SimpleNamespace

from billing.services.accounts import ensure_account, set_seat_limit
from billing.services.assignments import Identity, assign_plan
from billing.services.contract_terms import add_contract_term
from billing.services.contracts import upsert_contract
from billing.services.details import change_billing_details
from billing.services.entitlements import Target, append_entitlements
from billing.services.plans import upsert_plan
from billing.services.tokens import issue_token
from billing.services.users import ensure_user
from catalog.models import FeatureMeter, Meter
from catalog.services.families import upsert_feature_family
from catalog.services.features import upsert_feature
from catalog.services.meters import upsert_meter
from catalog.services.prices import PriceTerms, set_meter_price
from config.kernel.windows import Window
from config.tenancy.models import JobRun, ServiceKeyNonce, StoredAnswer
from config.tenancy.services.events import record_event
from config.tenancy.services.service_keys import create_service_key
from gating.facts import Ask
from gating.models import SeatBilling
from gating.services.admissions import AuthorizeRequest
from gating.services.authorize import authorize
from gating.services.bundles import upsert_bundle
from gating.services.commits import CommitRequest, commit_lease
from gating.services.denials import GateDenied
from gating.services.leases import cancel_lease
from gating.services.policies import create_policy
from grants.models import GrantAssignment
from grants.services.adjustments import adjust_wallet
from grants.services.budgets import BudgetTerms, create_budget
from grants.services.campaigns import CampaignTerms, create_campaign
from grants.services.credits import credit_balance
from grants.services.programs import ProgramTerms, create_program

PRINCIPAL, USER = "acme", "u-1"


def build_world(realm, *, at, by, principal=PRINCIPAL):
    """Fill a realm; return its rows by what they are."""
    world = SimpleNamespace(realm=realm, at=at, by=by)
    world.key = create_service_key(realm=realm, at=at, by=by)
    _catalog(world)
    _plans(world)
    _policies(world)
    _programs(world)
    _account(world, principal)
    spare = ensure_account(realm=realm, principal_id="spare", at=at, by=by)
    world.spare_user = ensure_user(
        account=spare, business_user_id="spare", at=at, by=by
    )
    _tenancy(world)
    return world


def neighbor(world, *, principal="globex"):
    """Return the same catalog and plans with another account of the same realm."""
    other = SimpleNamespace(**vars(world))
    _account(other, principal)
    return other


def _catalog(world):
    realm, at, by = world.realm, world.at, world.by
    world.family, _ = upsert_feature_family(
        realm=realm, feature_family_code="ai", at=at, by=by
    )
    world.feature, _ = upsert_feature(
        realm=realm, feature_code="chat", feature_family_code="ai", at=at, by=by
    )
    world.meter = Meter.objects.get(realm=realm, meter_code="chat")
    world.link = FeatureMeter.objects.get(realm=realm, feature=world.feature)
    # 7 for 2: a commit of 1 leaves a remainder.
    terms = PriceTerms(unit_price_xusd=7, unit_cost_xusd=3, unit_quantity_minor=2)
    upsert_meter(realm=realm, meter_code="spare", at=at, by=by)
    world.price = set_meter_price(meter=world.meter, terms=terms, at=at, by=by)


def _plans(world):
    realm, at, by = world.realm, world.at, world.by
    metadata = {
        "gate_bundle_key": "pro",
        "billing_defaults": {"period": {"billing_mode": "prepaid"}},
    }
    world.bundle, _ = upsert_bundle(realm=realm, bundle_key="pro", at=at, by=by)
    world.plan, _ = upsert_plan(
        realm=realm,
        plan_code="pro",
        name="Pro",
        kind="base",
        priority=10,
        metadata=metadata,
        at=at,
        by=by,
    )
    append_entitlements(
        plan=world.plan,
        targets=[Target(effect="allow", feature_code="chat")],
        at=at,
        by=by,
    )
    world.entitlement = world.plan.entitlements.get()
    world.higher_plan, _ = upsert_plan(
        realm=realm, plan_code="max", name="Max", kind="base", priority=20, at=at, by=by
    )
    world.lower_plan, _ = upsert_plan(
        realm=realm,
        plan_code="lite",
        name="Lite",
        kind="base",
        priority=5,
        at=at,
        by=by,
    )
    upsert_plan(
        realm=realm, plan_code="thanks", name="Thanks", kind="promo", at=at, by=by
    )


def _policies(world):
    common = {
        "bundle": world.bundle,
        "feature_code": "chat",
        "at": world.at,
        "by": world.by,
    }
    world.policy = create_policy(
        name="chats",
        kind="quota",
        unit="call",
        window_sec=86_400,
        limit_minor=500,
        **common,
    )
    create_policy(
        name="per minute",
        kind="rate",
        unit="request",
        window_sec=60,
        limit_count=100,
        **common,
    )
    create_policy(
        name="team", kind="seats", unit="seat", window_sec=0, limit_count=9, **common
    )


def _programs(world):
    """A program, and a campaign that gives of it to whom it targets: nobody by itself."""
    realm, at, by = world.realm, world.at, world.by
    terms = ProgramTerms(cadence="once", window_kind="forever", amount_xusd=500)
    world.program = create_program(
        realm=realm, program_code="welcome", terms=terms, at=at, by=by
    )
    grants = [{"grant_program_code": "welcome", "amount_xusd": "700"}]
    world.campaign = create_campaign(
        realm=realm,
        terms=CampaignTerms(
            name="Spring",
            window_start=at,
            window_end=at.replace(year=2100),
            event_type="shop.order_paid",
            assignment_trigger="first_match",
            metadata={"grants": grants, "billing_plan_code": "thanks"},
        ),
        at=at,
        by=by,
    )


def _account(world, principal):
    realm, at, by = world.realm, world.at, world.by
    world.principal = principal
    account = ensure_account(realm=realm, principal_id=principal, at=at, by=by)
    world.account = set_seat_limit(account=account, seat_limit=9, at=at, by=by)
    change_billing_details(
        account=account, changes={"legal_name": "Acme Ltd"}, at=at, by=by
    )
    world.user = ensure_user(account=account, business_user_id=USER, at=at, by=by)
    world.assignment = _assigned(world, None)
    world.user_assignment = _assigned(world, world.user)
    _contract(world)
    world.token = issue_token(
        user=world.user,
        service_key_id=world.key.key_id,
        scopes=None,
        ttl_seconds=900,
        traits={},
        nonce=None,
        request=principal.encode(),
        at=at,
        by=replace(by, idempotency_key=f"token of {principal}"),
    )
    world.lot = credit_balance(
        user=world.user, amount_xusd=10_001, source_ref="opening", at=at, by=by
    )
    world.adjustment, _ = adjust_wallet(
        user=world.user, amount_xusd=-1, key="opening", at=at, by=by
    )
    terms = BudgetTerms(
        5000,
        name="Trip",
        scope_kind="feature",
        feature_codes=["chat"],
        window_start=at,
        window_end=at.replace(year=2100),
    )
    world.budget, _ = create_budget(
        user=world.user, terms=terms, reference="trip", at=at, by=by
    )
    _usage(world)
    _grants(world)


def _assigned(world, user):
    identity = Identity(world.account, user, world.plan, "ops.manual", "contract-1")
    row, _ = assign_plan(
        identity=identity,
        window=Window(world.at, world.at.replace(year=2100)),
        at=world.at,
        by=world.by,
    )
    return row


def _contract(world):
    """A contract whose price is the catalog's, so that nothing else differs by it."""
    when = {"at": world.at, "by": world.by}
    world.contract, _ = upsert_contract(
        account=world.account,
        effective_at=world.at,
        values={"name": "Enterprise"},
        **when,
    )
    world.term, _ = add_contract_term(
        contract=world.contract,
        kind="pricing",
        term_key="chat",
        effective_at=world.at,
        value={
            "schema": "billing/contract_pricing:v2",
            "meter_code": "chat",
            "price": {"adjustments": [{"op": "multiplier", "multiplier": "1"}]},
        },
        **when,
    )


def _usage(world):
    """A commit that costs, on a budget; a lease given up, an open one, and a denial."""
    world.closed_lease = _lease(world, "closed-1", budget="trip")
    commit_lease(
        account=world.account,
        user=world.user,
        request=CommitRequest(world.closed_lease, "chat", 1, [], {}),
        idempotency_key="commit-1",
        at=world.at,
        by=world.by,
    )
    canceled = _lease(world, "canceled-1")
    cancel_lease(
        account=world.account,
        user=world.user,
        reference=canceled,
        at=world.at,
        by=world.by,
    )
    world.lease = _lease(world, "open-1")
    try:
        authorize(
            account=world.account,
            user=world.user,
            request=AuthorizeRequest(Ask("chat", estimate_minor=10**6), None, {}),
            idempotency_key="denied-1",
            at=world.at,
            by=world.by,
        )
    except GateDenied:
        pass
    else:
        raise AssertionError("an estimate over the quota was admitted")
    SeatBilling.objects.create(
        realm=world.realm,
        account=world.account,
        policy_id=world.policy.pk,
        billed_until=world.at,
    )


def _lease(world, key, budget=None):
    admitted = authorize(
        account=world.account,
        user=world.user,
        request=AuthorizeRequest(
            Ask("chat", estimate_minor=2, budget=budget), None, {}
        ),
        idempotency_key=key,
        at=world.at,
        by=world.by,
    )
    return admitted.data["lease"]


def _grants(world):
    """What a campaign gave, on an event that the user is about; and its lot."""
    record_event(
        realm=world.realm,
        kind="shop.order_paid",
        subject=world.user,
        at=world.at,
        by=world.by,
    )
    world.grant_assignment = GrantAssignment.objects.get(
        user=world.user, campaign=world.campaign
    )
    world.grant = world.grant_assignment.lots.get()


def _tenancy(world):
    JobRun.objects.create(
        job="settle_uses", at=world.at, started_at=world.at, trace_id="0" * 32
    )
    ServiceKeyNonce.objects.create(
        key_id=world.key.pk, nonce="0" * 32, seen_at=world.at
    )
    StoredAnswer.objects.create(
        realm=world.realm,
        caller=f"service_key:{world.key.pk}",
        method="POST",
        path="/mgt/v1/meters",
        key="k-1",
        identity_hash=b"k-1",
        request_hash=hashlib.sha256(b"{}").digest(),
        status=201,
        body=b"{}",
        expires_at=world.at,
    )
