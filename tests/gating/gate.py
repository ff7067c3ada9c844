"""What tests ask of a gate, in one line each."""

import itertools

from billing.services.accounts import ensure_account
from billing.services.assignments import Identity, assign_plan
from billing.services.plans import upsert_plan
from billing.services.users import ensure_user
from catalog.models import Meter
from catalog.services.entries import MeterEntry
from catalog.services.families import upsert_feature_family
from catalog.services.features import upsert_feature
from catalog.services.prices import PriceTerms, set_meter_price
from config.kernel.windows import Window
from gating.facts import Ask
from gating.models import (
    Counter,
    Denial,
    GatePolicy,
    GatePolicyBundle,
    Lease,
    RatedRecord,
    Rating,
    ResidualBucket,
    Seat,
)
from gating.services.admissions import AuthorizeRequest
from gating.services.admitting import admit_many
from gating.services.authorize import authorize, item_of, preflight
from gating.services.batches import commit_batch
from gating.services.bundles import upsert_bundle
from gating.services.closing import close_many
from gating.services.commits import CommitRequest, commit_lease
from gating.services.commits import item_of as commit_item
from gating.services.ingest import ingest
from gating.services.ingest_requests import IngestRequest
from gating.services.known import learn
from gating.services.leases import cancel_lease
from gating.services.policies import create_policy
from gating.services.seats import bill_seats
from gating.services.subjects import Subject
from gating.services.usage import MeterUse
from grants.models import Budget, GrantAllocation, GrantLot
from grants.services.budgets import BudgetTerms, close_budget, create_budget
from grants.services.credits import credit_balance
from tests.tools.purse import purse

TABLES = (
    Budget,
    Counter,
    Denial,
    GatePolicy,
    GatePolicyBundle,
    GrantAllocation,
    GrantLot,
    Lease,
    RatedRecord,
    Rating,
    ResidualBucket,
    Seat,
)
_numbers = itertools.count(1)


class Gate:
    """The gate as one user of one account meets it, at one instant."""

    def __init__(self, realm, account, user, at, by):
        self.realm, self.account, self.user, self.at, self.by = (
            realm,
            account,
            user,
            at,
            by,
        )

    def later(self, **shift):
        """The same gate, later (a timedelta's keywords)."""
        from datetime import timedelta

        return self.at_instant(self.at + timedelta(**shift))

    def at_instant(self, at):
        return Gate(self.realm, self.account, self.user, at, self.by)

    def of_user(self, name):
        user = ensure_user(
            account=self.account, business_user_id=name, at=self.at, by=self.by
        )
        return Gate(self.realm, self.account, user, self.at, self.by)

    def of_principal(self, name, user="u-1"):
        account = ensure_account(
            realm=self.realm, principal_id=name, at=self.at, by=self.by
        )
        other = Gate(self.realm, account, None, self.at, self.by)
        return other.of_user(user)

    # Setting up

    def feature(
        self,
        code="chat",
        *,
        price=None,
        per=1,
        cost=0,
        family="ai",
        meters=(),
        **values,
    ):
        """A feature of a family; `price` XUSD for `per` units on its primary meter."""
        upsert_feature_family(
            realm=self.realm, feature_family_code=family, at=self.at, by=self.by
        )
        entries = [MeterEntry(meter_code=name) for name in meters]
        feature, _ = upsert_feature(
            realm=self.realm,
            feature_code=code,
            feature_family_code=family,
            meters=entries,
            at=self.at,
            by=self.by,
            **values,
        )
        if price is not None:
            self.price(code, price, per=per, cost=cost)
        return feature

    def price(self, meter_code, price, *, per=1, cost=0):
        meter = Meter.objects.get(realm=self.realm, meter_code=meter_code)
        terms = PriceTerms(
            unit_price_xusd=price, unit_cost_xusd=cost, unit_quantity_minor=per
        )
        return set_meter_price(meter=meter, terms=terms, at=self.at, by=self.by)

    def bundle(self, key="pro", **values):
        return upsert_bundle(
            realm=self.realm, bundle_key=key, at=self.at, by=self.by, **values
        )[0]

    def default_bundle(self):
        return GatePolicyBundle.objects.get(
            realm=self.realm, bundle_key="__default_bundle__"
        )

    def quota(
        self, limit=500, *, feature="chat", bundle=None, seconds=86_400, **values
    ):
        return self.policy(
            {
                "kind": "quota",
                "unit": "call",
                "window_sec": seconds,
                "limit_minor": limit,
                "feature_code": feature,
                **values,
            },
            bundle,
        )

    def rate(self, limit=10, *, feature="chat", bundle=None, seconds=60, **values):
        return self.policy(
            {
                "kind": "rate",
                "unit": "request",
                "window_sec": seconds,
                "limit_count": limit,
                "feature_code": feature,
                **values,
            },
            bundle,
        )

    def seats(self, limit=1, *, feature="chat", bundle=None, seconds=0, **values):
        return self.policy(
            {
                "kind": "seats",
                "unit": "seat",
                "window_sec": seconds,
                "limit_count": limit,
                "feature_code": feature,
                **values,
            },
            bundle,
        )

    def policy(self, values, bundle=None):
        values.setdefault("name", f"policy {next(_numbers)}")
        return create_policy(
            bundle=bundle or self.default_bundle(), at=self.at, by=self.by, **values
        )

    def plan(
        self,
        code="pro",
        *,
        bundle=None,
        mode=None,
        priority=10,
        assign=True,
        user=False,
        **values,
    ):
        """A plan that allows everything it names, assigned to the account (or user)."""
        metadata = values.pop("metadata", {})
        if bundle:
            metadata["gate_bundle_key"] = bundle
        if mode:
            metadata["billing_defaults"] = {"period": {"billing_mode": mode}}
        plan, _ = upsert_plan(
            realm=self.realm,
            plan_code=code,
            name=code,
            kind="base",
            priority=priority,
            metadata=metadata,
            at=self.at,
            by=self.by,
            **values,
        )
        if assign:
            identity = Identity(
                self.account,
                self.user if user else None,
                plan,
                "ops.manual",
                f"order-{next(_numbers)}",
            )
            assign_plan(
                identity=identity, window=Window(self.at), at=self.at, by=self.by
            )
        return plan

    def credit(self, amount_xusd):
        return credit_balance(
            user=self.user,
            amount_xusd=amount_xusd,
            source_ref=f"gift-{next(_numbers)}",
            at=self.at,
            by=self.by,
        )

    def budget(self, limit_xusd=5000, reference="trip", **terms):
        budget, _ = create_budget(
            user=self.user,
            terms=BudgetTerms(limit_xusd, **terms),
            reference=reference,
            at=self.at,
            by=self.by,
        )
        return budget

    def close_budget(self, reference="trip"):
        budget = Budget.objects.get(user=self.user, reference=reference)
        return close_budget(budget=budget, at=self.at, by=self.by)

    # Asking

    def authorize(self, estimate=None, *, key=None, feature="chat", **given):
        reference, labels = given.pop("lease", None), given.pop("labels", {})
        return authorize(
            account=self.account,
            user=self.user,
            idempotency_key=key or f"a-{next(_numbers)}",
            at=self.at,
            by=self.by,
            request=AuthorizeRequest(
                Ask(feature, estimate_minor=estimate, **given), reference, labels
            ),
        )

    def lease(self, estimate=None, **given):
        """The reference of a new lease."""
        return self.authorize(estimate, **given).data["lease"]

    def preflight(self, estimate=None, *, feature="chat", **given):
        return preflight(
            account=self.account,
            user=self.user,
            ask=Ask(feature, estimate_minor=estimate, **given),
            at=self.at,
        )

    def commit(
        self, lease, quantity=1, *, key=None, feature="chat", meters=(), labels=None
    ):
        uses = [use if isinstance(use, MeterUse) else MeterUse(*use) for use in meters]
        return commit_lease(
            account=self.account,
            user=self.user,
            request=CommitRequest(lease, feature, quantity, uses, labels or {}),
            idempotency_key=key or f"c-{next(_numbers)}",
            at=self.at,
            by=self.by,
        )

    def commit_each(self, leases, quantity, *, feature="chat"):
        """Commit a batch, under keys that are the leases'; return the outcomes."""
        return commit_batch(
            Subject.of(self.account, self.user),
            [
                (CommitRequest(lease, feature, quantity, [], {}), f"c-{lease}")
                for lease in leases
            ],
            at=self.at,
            by=self.by,
        )

    def meet(
        self, others=(), estimate=None, *, key=None, feature="chat", reference=None
    ):
        """Ask as requests that met: for this user, and one of each other principal."""
        ask = Ask(feature, estimate_minor=estimate)
        items = [
            Subject.of(gate.account, gate.user).item(feature)
            | item_of(
                AuthorizeRequest(ask, reference and f"{reference}-{next(_numbers)}"),
                key or f"m-{next(_numbers)}",
                self.by,
            )
            for gate in (self, *map(self.of_principal, others))
        ]
        return admit_many(items, at=self.at)

    def commit_who_meet(self, leases, quantity, *, key=None, feature="chat"):
        """Commit as requests that met: (principal, or None for this user, and lease)."""
        items = []
        for other, lease in leases:
            gate = self.of_principal(other) if other else self
            request = CommitRequest(lease, feature, quantity, [], {})
            item = commit_item(request, key or f"c-{next(_numbers)}", self.by)
            items.append(Subject.of(gate.account, gate.user).item(feature) | item)
        return close_many(items, at=self.at)

    def know(self, rule_set_id, feature="chat"):
        """Let this process know what governs, as an earlier answer would have."""
        item = {
            "realm": self.realm.pk,
            "principal": self.account.billing_principal_id,
            "user": self.user.business_user_id,
            "feature": feature,
        }
        learn(item, {"o": "admitted", "rules": rule_set_id})

    def ingest(self, quantity=None, *, key=None, feature="chat", meters=(), **given):
        uses = [use if isinstance(use, MeterUse) else MeterUse(*use) for use in meters]
        return ingest(
            account=self.account,
            user=self.user,
            request=IngestRequest(feature, quantity, uses, **given),
            idempotency_key=key or f"i-{next(_numbers)}",
            at=self.at,
            by=self.by,
        )

    def cancel(self, lease):
        return cancel_lease(
            account=self.account,
            user=self.user,
            reference=lease,
            at=self.at,
            by=self.by,
        )

    def bill(self, **options):
        """Bill the seats of windows that have ended, of everybody."""
        return bill_seats(at=self.at, by=self.by, **options)

    # Looking

    def counter(self, **where):
        where.setdefault("kind", "quota")
        return Counter.objects.get(realm=self.realm, account=self.account, **where)

    def used(self, **where):
        row = self.counter(**where)
        return row.used_minor, row.reserved_minor

    def balance(self):
        row = purse(self.user)
        return row.available_xusd, row.reserved_xusd, row.spent_xusd

    def on_budget(self, reference="trip"):
        """What is consumed of a budget, and held on it."""
        row = Budget.objects.get(user=self.user, reference=reference)
        return row.consumed_xusd, row.reserved_xusd

    def row(self, lease):
        return Lease.objects.get(realm=self.realm, user=self.user, lease=lease)

    def rating(self, committed):
        return Rating.objects.get(pk=committed.data["commit_id"])

    def denials(self):
        return list(
            Denial.objects.filter(realm=self.realm, account=self.account).order_by("id")
        )


def row_counts():
    """How many rows every table of the gate, and of credit, holds."""
    return {model._meta.db_table: model.objects.count() for model in TABLES}
