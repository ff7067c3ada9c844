"""The realm a stateful test plays in, and the verbs that change what governs there."""

from dataclasses import replace

from billing.services.accounts import ensure_account
from billing.services.assignment_changes import (
    end_assignment,
    pause_assignment,
    resume_assignment,
    switch_plan,
)
from billing.services.assignments import Identity, assign_plan
from billing.services.plans import DEFAULT_PLAN_CODE, upsert_plan
from billing.services.users import change_user, ensure_user
from catalog.models import Meter
from catalog.services.entries import MeterEntry
from catalog.services.families import upsert_feature_family
from catalog.services.features import upsert_feature
from catalog.services.prices import PriceTerms, set_meter_price
from config.kernel.windows import Window
from gating.models import UNLIMITED_POLICY_NAME, GatePolicy
from gating.services.bundles import upsert_bundle
from gating.services.policies import change_policy, create_policy
from grants.services.credits import credit_balance
from tests.conftest import make_realm
from tests.gating.terms import Plan, Policy, Price

PEOPLE = {"ada": "acme", "bob": "acme", "cy": "globex"}
FEATURES = {"chat": ("chat", "tokens"), "draw": ("draw",)}
OPEN_TO_ALL = {"draw"}
PLANS = {
    plan.code: plan
    for plan in (
        Plan("lite", 10, "prepaid", ("chat",)),
        Plan("pro", 20, "prepaid", ("chat", "draw")),
        Plan("max", 30, "postpaid", ("chat", "draw")),
    )
}
UNIT_OF = {"quota": "call", "rate": "request", "seats": "seat"}


def limit_of(kind, limit):
    """Return a limit as the field that policies of the kind have."""
    return {"limit_minor" if kind == "quota" else "limit_count": limit}


class Stage:
    """A realm of its own. Every verb takes the instant at which it is called."""

    def __init__(self, at, by, *, blocks):
        self.by, self.number = by, 0
        self.realm = make_realm(at, by)
        self.policies, self.assignments = {}, {}
        self.make_catalog(blocks, at)
        self.make_plans(at)
        self.accounts, self.users = {}, {}
        for user, name in PEOPLE.items():
            self.accounts[name] = ensure_account(
                realm=self.realm, principal_id=name, at=at, by=by
            )
            self.users[user] = ensure_user(
                account=self.accounts[name], business_user_id=user, at=at, by=by
            )

    def who(self, at):
        return {"at": at, "by": replace(self.by, effective_at=at)}

    def new_reference(self):
        self.number += 1
        return f"order-{self.number}"

    # What is there at the beginning

    def make_catalog(self, blocks, at):
        """Make features and meters; tokens are sold in whole blocks where told."""
        upsert_feature_family(
            realm=self.realm, feature_family_code="ai", **self.who(at)
        )
        values = {"metadata": {"residual_mode": blocks}} if blocks else {}
        for code, meters in FEATURES.items():
            upsert_feature(
                realm=self.realm,
                feature_code=code,
                feature_family_code="ai",
                entitlement_required=code not in OPEN_TO_ALL,
                meters=[MeterEntry(meter_code=m, values=values) for m in meters[1:]],
                **self.who(at),
            )
        self.blocks = {"tokens": blocks}
        self.meters = {m.meter_code: m for m in Meter.objects.filter(realm=self.realm)}

    def make_plans(self, at):
        """Make plans, each with a bundle of its own; new users get none of them."""
        common = {"realm": self.realm, "kind": "base", **self.who(at)}
        upsert_plan(plan_code=DEFAULT_PLAN_CODE, name="off", active=False, **common)
        self.bundles, self.plans = {}, {}
        for code, plan in PLANS.items():
            self.bundles[code], _ = upsert_bundle(
                realm=self.realm, bundle_key=code, **self.who(at)
            )
            billing = {"period": {"billing_mode": plan.mode}}
            self.plans[code], _ = upsert_plan(
                plan_code=code,
                name=code,
                priority=plan.priority,
                metadata={"gate_bundle_key": code, "billing_defaults": billing},
                feature_codes=list(plan.features),
                **common,
            )

    def default_policies(self):
        """Return what governs where no plan does: the realm's unlimited policy."""
        row = GatePolicy.objects.get(realm=self.realm, name=UNLIMITED_POLICY_NAME)
        return [
            Policy(
                row.name, "quota", "user", "*", f"policy:{row.pk}", row.window_sec, None
            )
        ]

    def make_policy(self, bundle, policy, at):
        """Store a policy of a plan's bundle; one without a key counts by itself."""
        mode = "reserve" if policy.reserves else "optimistic"
        row = create_policy(
            bundle=self.bundles[bundle],
            name=policy.name,
            kind=policy.kind,
            subject_scope=policy.scope,
            feature_code=policy.feature,
            unit=UNIT_OF[policy.kind],
            window_sec=policy.seconds,
            status="assignable",
            enforcement_mode=mode,
            metadata={"counter_key": policy.key} if policy.key else {},
            **limit_of(policy.kind, policy.limit),
            **self.who(at),
        )
        policy.key = policy.key or f"policy:{row.pk}"
        self.policies[policy.name] = row

    # What changes

    def limit(self, policy, at):
        row = self.policies[policy.name]
        change_policy(policy=row, **limit_of(policy.kind, policy.limit), **self.who(at))

    def price(self, meter, terms, at):
        """Put a price in force; return it as the ledger keeps it."""
        price, per, cost, cost_per = terms
        row = set_meter_price(
            meter=self.meters[meter],
            terms=PriceTerms(
                unit_price_xusd=price,
                unit_quantity_minor=per,
                unit_cost_xusd=cost,
                cost_unit_quantity_minor=cost_per,
            ),
            **self.who(at),
        )
        return Price(row.pk, *terms, self.blocks.get(meter))

    def credit(self, user, amount, at):
        credit_balance(
            user=self.users[user],
            amount_xusd=amount,
            source_ref=self.new_reference(),
            **self.who(at),
        )

    def set_status(self, user, status, at):
        change_user(user=self.users[user], status=status, **self.who(at))

    def assign(self, account, plan, at, *, until=None):
        """Give an account a plan, in place of the one it has, if it has one."""
        held = self.assignments.get(account)
        if held is None:
            whose = self.accounts[account], None, self.plans[plan]
            identity = Identity(*whose, "ops.manual", self.new_reference())
            made, _ = assign_plan(
                identity=identity, window=Window(at, until), **self.who(at)
            )
        else:
            rises = self.plans[plan].priority > held.plan.priority
            made = switch_plan(
                direction="upgrade" if rises else "downgrade",
                assignment=held,
                plan=self.plans[plan],
                source_kind="ops.manual",
                source_ref=self.new_reference(),
                switch_at=at,
                **self.who(at),
            )
        self.assignments[account] = made

    def pause(self, account, at):
        held = self.assignments[account]
        self.assignments[account] = pause_assignment(assignment=held, **self.who(at))

    def resume(self, account, at):
        held = self.assignments[account]
        self.assignments[account] = resume_assignment(assignment=held, **self.who(at))

    def end(self, account, at):
        held = self.assignments.pop(account)
        end_assignment(assignment=held, end_at=at, **self.who(at))
