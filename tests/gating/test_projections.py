"""A projection never governs longer than it should, and never says anything else."""

import random
import re
from collections import Counter as Tally
from datetime import timedelta

import pytest
from django.db import DatabaseError, connection, transaction
from django.test.utils import CaptureQueriesContext

from billing.models import PlanAssignment, UserStatus
from billing.services.accounts import ensure_account
from billing.services.assignment_changes import (
    cancel_assignment,
    end_assignment,
    pause_assignment,
    resume_assignment,
)
from billing.services.assignments import Identity, assign_plan, change_assignment
from billing.services.contracts import change_contract
from billing.services.entitlements import Target, append_entitlements
from billing.services.plans import change_plan_definition
from billing.services.users import change_user, ensure_user
from catalog.models import FeatureFamily, Meter, MeterPrice
from catalog.services.families import change_feature_family
from catalog.services.features import change_feature
from catalog.services.meters import change_meter
from catalog.services.prices import PriceTerms, set_meter_price
from config.kernel.errors import DomainError
from config.kernel.ids import new_id
from config.kernel.windows import Window
from config.tenancy.history import auditing
from config.tenancy.services.realms import change_realm
from gating.facts import Ask
from gating.models import GatePolicy, GatePolicyBundle, Lease, Projection
from gating.selectors.rules import LONGEST, resolve
from gating.services.admissions import Admission, AuthorizeRequest
from gating.services.authorize import authorize_as
from gating.services.bundles import change_bundle
from gating.services.denials import GateDenied
from gating.services.functions import gate_preflight
from gating.services.policies import change_policy, delete_policy
from gating.services.projections import rule_set_of
from gating.services.subjects import Subject
from tests.billing.agreeing import agreed, fixed, price, termed, times
from tests.gating.racing import arena, racers
from tests.tools.tables import FRESH, insert_copy, primary_key, rows, run
from tests.tools.verification import note
from tests.tools.world import build_world

INSTANT = timedelta(microseconds=1)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
EVENTS = {"INSERT", "UPDATE", "DELETE"}


# (a) Whatever changes is counted


def counted():
    """Return the counted tables, each with the events that are counted."""
    found = rows(
        "SELECT c.relname, t.tgtype FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_proc p ON p.oid = t.tgfoid"
        " WHERE p.proname IN ('gate_catalog_changed', 'gate_account_changed')"
    )
    tables = {}
    for table, bits in found:
        events = {
            name
            for name, bit in (("INSERT", 4), ("DELETE", 8), ("UPDATE", 16))
            if bits & bit
        }
        tables[table] = tables.get(table, set()) | events
    return tables


@pytest.fixture
def world(realm, at, by):
    return build_world(realm, at=at, by=by)


def item(world, feature="chat"):
    return {
        "realm": world.realm.pk,
        "principal": world.principal,
        "user": world.user.business_user_id,
        "bound": True,
        "feature": feature,
    }


def stale(world):
    """Whether what governs the world's user must be resolved again."""
    (answer,) = gate_preflight([item(world)], at=world.at)
    return answer["o"] == "stale"


def resolve_again(world):
    assert Subject.of(world.account, world.user).project("chat", at=world.at)
    assert not stale(world)


def changes_of(table, world):
    """Insert a row beside the world's, change it, delete it; yield after each."""
    before = {tuple(row) for row in keys(table)}
    if table == "realms":
        # Another realm is nothing to this one.
        run("UPDATE realms SET name = name WHERE realm_id = %s", [world.realm.pk])
        yield "UPDATE"
        return
    fresh = dict(FRESH[table])
    if "account_id" in fresh:
        fresh.pop("account_id")
    insert_copy(table, world, fresh)
    yield "INSERT"
    (made,) = {tuple(row) for row in keys(table)} - before
    match = " AND ".join(f"{name}::text = %s" for name in primary_key(table))
    statements = {
        "UPDATE": f"UPDATE {table} SET realm_id = realm_id WHERE {match}",
        "DELETE": f"DELETE FROM {table} WHERE {match}",
    }
    for event, statement in statements.items():
        try:
            with transaction.atomic():
                assert run(statement, list(made)) == 1
        except DatabaseError as refused:
            # A row that cannot change cannot change what governs.
            assert refused.__cause__.sqlstate == "PG002"
        else:
            yield event


def keys(table):
    columns = ", ".join(f"{name}::text" for name in primary_key(table))
    return rows(f"SELECT {columns} FROM {table}")


COUNTED = [
    "billing_accounts", "billing_contracts", "billing_plan_assignment_statuses", "billing_plan_assignments", "billing_plan_entitlements",
    "billing_plans", "billing_users", "contract_terms", "feature_families", "feature_meters", "features", "gate_policies", "gate_policy_bundles", "meter_prices", "meters",
    "realms",
]  # fmt: skip


def test_these_tables_are_counted_whatever_happens_to_them(db):
    # With an account its count goes, and no projection of it is believed.
    expected = dict.fromkeys(COUNTED, EVENTS) | {
        "billing_accounts": {"INSERT", "UPDATE"}
    }

    assert counted() == expected


@pytest.mark.parametrize("table", sorted(set(COUNTED) - {"billing_accounts"}))
def test_a_change_by_raw_sql_makes_the_projection_stale(world, table):
    resolve_again(world)
    seen = []
    with auditing(world.by, at=world.at):
        for event in changes_of(table, world):
            assert stale(world), f"{event} of {table} was not seen"
            seen.append(event)
            resolve_again(world)

    assert seen


def test_a_change_of_the_account_makes_its_projections_stale(world):
    resolve_again(world)
    with auditing(world.by, at=world.at):
        run(
            "UPDATE billing_accounts SET seat_limit = 3 WHERE id = %s",
            [world.account.pk],
        )

    assert stale(world)


def test_a_change_of_another_account_does_not(world, other_realm, at, by):
    resolve_again(world)
    ensure_user(
        account=ensure_account(realm=world.realm, principal_id="spare", at=at, by=by),
        business_user_id="someone",
        at=at,
        by=by,
    )
    change_realm(realm=other_realm, name="other", metadata={}, at=at, by=by)

    assert not stale(world)


def test_no_counted_table_can_be_emptied_at_a_stroke(db):
    guarded = rows(
        "SELECT c.relname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_proc p ON p.oid = t.tgfoid"
        " WHERE p.proname = 'plangate_refuse_rewrite' AND t.tgtype & 32 > 0 AND t.tgenabled = 'O'"
    )

    assert sorted(set(COUNTED) - {table for (table,) in guarded}) == []


@pytest.mark.parametrize(
    "table",
    [
        "billing_contracts",
        "billing_users",
        "billing_plan_assignments",
        "billing_plan_assignment_statuses",
        "contract_terms",
    ],
)
def test_no_row_moves_to_another_account_uncounted(world, table):
    column, other = {
        "billing_plan_assignment_statuses": ("assignment_id", world.user_assignment.pk),
        "contract_terms": ("contract_id", new_id()),
    }.get(table, ("account_id", world.spare_user.account_id))

    with (
        pytest.raises(DatabaseError) as refusal,
        transaction.atomic(),
        auditing(world.by, at=world.at),
    ):
        run(
            f"UPDATE {table} SET {column} = %s WHERE realm_id = %s AND {column} <> %s",
            [other, world.realm.pk, other],
        )

    assert refusal.value.__cause__.sqlstate == "PG002"


def test_all_that_resolving_reads_is_counted(world):
    with CaptureQueriesContext(connection) as captured:
        found = resolve(
            account=world.account, user=world.user, feature_code="chat", at=world.at
        )
    assert found.rules.policies
    assert found.rules.rates
    assert found.assignment_id
    read = {
        name
        for query in captured
        for name in re.findall(r'(?:FROM|JOIN)\s+"?([a-z_]\w*)"?', query["sql"])
    }

    assert {
        "billing_contracts",
        "billing_plan_assignments",
        "contract_terms",
        "gate_policies",
        "meter_prices",
    } <= read
    assert sorted(read - set(counted())) == []


# (b) What is scheduled begins and ends to the microsecond


@pytest.fixture
def planned(gate):
    """The gate with a feature that needs a plan, and a plan that allows it."""
    gate.feature(price=10, entitlement_required=True)
    gate.credit(10**9)
    gate.quota(10**6)
    gate.plan("pro", feature_codes=["chat"], assign=False, mode="prepaid")
    # The default plan, which allows everything.
    for row in PlanAssignment.objects.filter(account=gate.account):
        cancel_assignment(assignment=row, at=gate.at, by=gate.by)
    return gate


def given(gate, start, end=None, **more):
    """Assign the plan for a window."""
    from billing.models import Plan

    identity = Identity(
        gate.account,
        None,
        Plan.objects.get(realm=gate.realm, plan_code="pro"),
        "ops.manual",
        f"{start}",
    )
    return assign_plan(
        identity=identity, window=Window(start, end), at=gate.at, by=gate.by, **more
    )[0]


def told(gate, at, **ask):
    """Return what authorize says at an instant: a price, or a reason."""
    try:
        with transaction.atomic():
            lease = gate.at_instant(at).lease(1, **ask)
    except GateDenied as denied:
        return denied.meta["reason"]
    return gate.row(lease).reserved_xusd


def around(gate, edge):
    """Return what is told just before, at, and just after an instant."""
    return [told(gate, edge - INSTANT), told(gate, edge), told(gate, edge + INSTANT)]


def test_an_assignment_begins_and_ends_on_time(planned):
    start, end = planned.at + HOUR, planned.at + 2 * HOUR
    given(planned, start, end)

    assert told(planned, planned.at) == "entitlement_required"
    assert around(planned, start) == ["entitlement_required", 10, 10]
    assert around(planned, end) == [10, "entitlement_required", "entitlement_required"]


def test_a_dated_status_holds_on_time(planned):
    row = given(planned, planned.at)
    paused = planned.at + 3 * HOUR
    assert told(planned, planned.at) == 10
    with auditing(planned.by, at=planned.at):
        run(
            "INSERT INTO billing_plan_assignment_statuses"
            " SELECT (jsonb_populate_record(s, jsonb_build_object('id', gen_random_uuid(), 'sequence', 99, 'status', 'paused', 'effective_at', %s::text, 'recorded_at', %s::text))).*"
            " FROM billing_plan_assignment_statuses s WHERE s.assignment_id = %s LIMIT 1",
            [paused.isoformat(), paused.isoformat(), row.pk],
        )
        run(
            "UPDATE billing_plan_assignments SET status = 'paused' WHERE id = %s",
            [row.pk],
        )

    assert told(planned, planned.at) == 10
    assert around(planned, paused) == [
        10,
        "entitlement_required",
        "entitlement_required",
    ]


def test_a_future_price_is_asked_on_time(planned):
    given(planned, planned.at)
    dearer = planned.at + 5 * HOUR
    assert told(planned, planned.at) == 10
    planned.at_instant(dearer).price("chat", 25)

    assert told(planned, planned.at + HOUR) == 10
    assert around(planned, dearer) == [10, 25, 25]


def test_the_end_of_a_price_is_seen_on_time(planned):
    given(planned, planned.at)
    end = planned.at + 5 * HOUR
    with auditing(planned.by, at=planned.at):
        MeterPrice.objects.filter(realm=planned.realm).update(window_end=end)

    # Without any price the feature is free.
    assert around(planned, end) == [10, 0, 0]


def test_nothing_is_believed_for_longer_than_a_day(planned):
    given(planned, planned.at)
    told(planned, planned.at)
    row = Projection.objects.get(user=planned.user)

    assert (row.valid_from, row.valid_until) == (planned.at, planned.at + LONGEST)
    told(planned, planned.at + LONGEST)
    row.refresh_from_db()
    assert row.valid_from == planned.at + LONGEST


# (d) A clock that runs backwards


def test_a_clock_that_runs_backwards_is_followed(planned):
    start = planned.at + HOUR
    given(planned, start)
    instants = [start + DAY, start, start - INSTANT, start, planned.at, start + 2 * DAY]

    found = [told(planned, at) for at in instants]

    assert found == [10, 10, "entitlement_required", 10, "entitlement_required", 10]


# (c) Whatever was done, in whatever order


class Managed:
    """A gate whose definitions somebody edits at random."""

    def __init__(self, gate, seed):
        self.chance = random.Random(seed)
        self.gate = gate
        self.tally = Tally()
        gate.feature(price=10, entitlement_required=True, meters=["extra"])
        gate.feature("draw", price=3, per=2)
        self.users = [gate.user, gate.of_user("u-2").user]
        for user in self.users:
            gate.user = user
            gate.credit(10**6)
        self.bundles = [gate.default_bundle(), gate.bundle("pro"), gate.bundle("max")]
        for bundle in self.bundles:
            gate.quota(100, feature="*", bundle=bundle)
            gate.rate(50, feature="chat", bundle=bundle)
        self.plans = [
            gate.plan(
                "one",
                bundle="pro",
                mode="prepaid",
                assign=False,
                feature_codes=["chat"],
            ),
            gate.plan("two", bundle="max", mode="postpaid", priority=20, assign=False),
            gate.plan("three", assign=False, feature_codes=["draw"]),
        ]

    def step(self):
        choice = self.chance.choice
        self.gate.at += choice(
            [INSTANT, INSTANT, timedelta(minutes=7), 5 * HOUR, 30 * HOUR]
        )
        verb = choice(
            [self.assign, self.assign, self.assign, self.dated, self.assignment, self.plan, self.entitle, self.policy,
             self.bundle, self.price, self.feature, self.family, self.meter, self.of_realm, self.of_user,
             self.contract, self.term]
        )  # fmt: skip
        when = {"at": self.gate.at, "by": self.gate.by}
        try:
            with transaction.atomic():
                verb(when)
        except DomainError as refused:
            self.tally["refused", type(refused).__name__] += 1
        else:
            self.tally[verb.__name__] += 1
        self.agree()

    def agree(self):
        """What was projected is what would be, at this instant and for everyone."""
        kept = {key: self.ask(*key) for key in self.askers()}
        for user, feature in kept:
            row = Projection.objects.get(user=user, feature_code=feature)
            fresh = type(user).objects.select_related("account__realm").get(pk=user.pk)
            found = resolve(
                account=fresh.account, user=fresh, feature_code=feature, at=self.gate.at
            )
            assert row.rule_set_id == rule_set_of(self.gate.realm.pk, found.rules).pk
            assert row.plan_assignment_id == found.assignment_id
            assert row.user_active == (fresh.status == UserStatus.ACTIVE)
            assert row.valid_until <= found.valid_until
        Projection.objects.filter(realm=self.gate.realm).delete()
        assert {key: self.ask(*key) for key in self.askers()} == kept

    def askers(self):
        return [(user, feature) for user in self.users for feature in ("chat", "draw")]

    def ask(self, user, feature):
        (answer,) = self.asked(user, feature)
        return {
            name: answer[name]
            for name in ("o", "reason", "rules", "first", "second", "available")
        }

    def asked(self, user, feature):
        subject = Subject.of(self.gate.account, user)
        answers = gate_preflight([subject.item(feature)], at=self.gate.at)
        if answers[0]["o"] == "stale":
            subject.project(feature, at=self.gate.at)
            answers = gate_preflight([subject.item(feature)], at=self.gate.at)
        return answers

    # The verbs

    def window(self):
        start = self.gate.at + self.chance.choice(
            [-DAY, timedelta(0), timedelta(minutes=7), HOUR]
        )
        end = self.chance.choice([None, start + HOUR, start + 2 * DAY])
        return Window(start, end)

    def some(self):
        found = PlanAssignment.objects.filter(realm=self.gate.realm).select_related(
            "account__realm", "plan", "user"
        )
        return self.chance.choice(list(found.order_by("pk")))

    def assign(self, when):
        user = self.chance.choice([None, *self.users])
        identity = Identity(
            self.gate.account,
            user,
            self.chance.choice(self.plans),
            "ops.manual",
            f"o-{self.chance.randrange(4)}",
        )
        assign_plan(identity=identity, window=self.window(), **when)

    def dated(self, when):
        verb = self.chance.choice(
            [pause_assignment, resume_assignment, cancel_assignment]
        )
        verb(assignment=self.some(), **when)

    def assignment(self, when):
        if self.chance.random() < 0.4:
            end_assignment(assignment=self.some(), end_at=self.gate.at + HOUR, **when)
            return
        window = self.window()
        changes = {"window_start": window.start, "window_end": window.end}
        change_assignment(assignment=self.some(), changes=changes, **when)

    def plan(self, when):
        plan, choice = self.chance.choice(self.plans), self.chance.choice
        metadata = {
            "billing_defaults": {
                "period": {"billing_mode": choice(["prepaid", "postpaid", "hybrid"])}
            }
        }
        bundle = choice([None, "pro", "max"])
        if bundle:
            metadata["gate_bundle_key"] = bundle
        changes = {
            "metadata": metadata,
            "active": choice([True, True, False]),
            "priority": choice([5, 10, 20, 30]),
        }
        change_plan_definition(plan=plan, changes=changes, **when)

    def entitle(self, when):
        choice = self.chance.choice
        targets = [
            Target(
                effect=choice(["allow", "deny"]), feature_code=choice(["chat", "draw"])
            )
        ]
        if choice([True, False]):
            targets = [
                Target(effect=choice(["allow", "deny"]), feature_family_code="ai")
            ]
        append_entitlements(plan=choice(self.plans), targets=targets, **when)

    def policy(self, when):
        choice, bundle = self.chance.choice, self.chance.choice(self.bundles)
        found = list(
            GatePolicy.objects.filter(realm=self.gate.realm, bundle=bundle).order_by(
                "pk"
            )
        )
        what = choice(["new", "limit", "limit", "status", "gone", "gone"])
        if what == "new" or not found:
            self.gate.quota(
                choice([0, 7, 10**6]),
                bundle=bundle,
                feature=choice(["*", "chat"]),
                seconds=choice([60, 86_400]),
            )
            return
        policy = choice(found)
        if what == "gone":
            delete_policy(policy=policy, **when)
        elif what == "status":
            change_policy(
                policy=policy, status=choice(["assignable", "disabled"]), **when
            )
        else:
            column = "limit_minor" if policy.kind == "quota" else "limit_count"
            change_policy(policy=policy, **{column: choice([0, 3, 500])}, **when)

    def bundle(self, when):
        bundle = GatePolicyBundle.objects.get(pk=self.chance.choice(self.bundles).pk)
        change_bundle(
            bundle=bundle, status=self.chance.choice(["active", "disabled"]), **when
        )

    def price(self, when):
        meter = Meter.objects.get(
            realm=self.gate.realm,
            meter_code=self.chance.choice(["chat", "draw", "extra"]),
        )
        terms = PriceTerms(
            unit_price_xusd=self.chance.choice([0, 1, 7]),
            unit_cost_xusd=self.chance.choice([0, 2]),
            unit_quantity_minor=2,
        )
        later = self.gate.at + self.chance.choice(
            [timedelta(0), timedelta(minutes=7), HOUR]
        )
        set_meter_price(meter=meter, terms=terms, at=later, by=when["by"])

    def contract(self, when):
        choice = self.chance.choice
        known = list(self.gate.account.contracts.order_by("pk"))
        if known and self.chance.random() < 0.5:
            changes = choice(
                [{"status": "disabled"}, {"status": "active"}, {"window_end": None},
                 {"window_end": self.gate.at + choice([-HOUR, INSTANT, HOUR, DAY])}]
            )  # fmt: skip
            change_contract(contract=choice(known), changes=changes, **when)
            return
        start = self.gate.at + choice([-DAY, timedelta(0), timedelta(minutes=7), HOUR])
        agreed(self.gate.account, start, **when)

    def term(self, when):
        choice = self.chance.choice
        known = list(self.gate.account.contracts.order_by("pk"))
        if not known:
            self.contract(when)
            return
        code = choice(["chat", "draw", "extra"])
        start = self.gate.at + choice([-DAY, timedelta(0), timedelta(minutes=7), HOUR])
        steps = choice([[], [times("0.8")], [times("1/3")], [fixed(5, 2)]])
        termed(choice(known), price(*steps, meter=code), start, key=code, **when)

    def feature(self, when):
        from catalog.models import Feature

        choice = self.chance.choice
        feature = Feature.objects.get(
            realm=self.gate.realm, feature_code=choice(["chat", "draw"])
        )
        change_feature(
            feature=feature,
            active=choice([True, True, False]),
            entitlement_required=choice([None, True, False]),
            **when,
        )

    def family(self, when):
        family = FeatureFamily.objects.get(
            realm=self.gate.realm, feature_family_code="ai"
        )
        change_feature_family(
            family=family,
            entitlement_required=self.chance.choice([True, False]),
            **when,
        )

    def meter(self, when):
        meter = Meter.objects.get(
            realm=self.gate.realm,
            meter_code=self.chance.choice(["chat", "draw", "extra"]),
        )
        mode = self.chance.choice(
            [{}, {"residual_mode": "prepaid"}, {"residual_mode": "postpaid"}]
        )
        change_meter(
            meter=meter,
            metadata=mode,
            active=self.chance.choice([True, True, False]),
            **when,
        )

    def of_realm(self, when):
        mode = self.chance.choice(["prepaid", "postpaid", "hybrid"])
        metadata = {"billing_defaults": {"period": {"billing_mode": mode}}}
        change_realm(realm=self.gate.realm, name="any", metadata=metadata, **when)

    def of_user(self, when):
        user = self.chance.choice(self.users)
        change_user(
            user=user, status=self.chance.choice(["active", "disabled"]), **when
        )


@pytest.mark.parametrize("steps", [30, pytest.param(800, marks=pytest.mark.soak)])
def test_whatever_is_edited_the_projections_follow(gate, steps):
    seed = random.SystemRandom().randrange(10**9)
    managed = Managed(gate, seed)
    try:
        for _ in range(steps):
            managed.step()
    except AssertionError as error:
        raise AssertionError(
            f"seed {seed}, after {sum(managed.tally.values())} steps"
        ) from error

    done = sum(count for what, count in managed.tally.items() if isinstance(what, str))
    note(
        "projections after random edits",
        f"seed {seed}, {done} edits, {steps - done} refused, 0 differences",
    )
    assert done >= steps / 3


@pytest.mark.parametrize("function", ["gate_catalog_changed", "gate_account_changed"])
def test_without_the_counts_it_would_be_found(gate, function):
    managed = Managed(gate, "control")
    run(
        f"CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$"
    )

    with pytest.raises(AssertionError):
        for _ in range(60):
            managed.step()


# (e) Many first requests at once


def test_many_first_requests_at_once_make_one_user_and_their_leases(committed, at, by):
    gate = arena(at, by)
    gate.feature()
    gate.quota(10**6)
    with racers(16) as racing:
        for number in range(4):
            found = racing.race([lambda n=n: first(gate, number, n) for n in range(16)])

            assert [x for x in found if not isinstance(x, Admission)] == []
            keys = Lease.objects.filter(
                realm=gate.realm, user__business_user_id=f"new-{number}"
            ).values_list("idempotency_key", flat=True)
            assert sorted(keys) == sorted(f"k{n}" for n in range(8))


def first(gate, number, n):
    """Authorize for a user of a principal that nobody has heard of; two per key."""

    def bind():
        account = ensure_account(
            realm=gate.realm, principal_id=f"p-{number}", at=gate.at, by=gate.by
        )
        return account, ensure_user(
            account=account, business_user_id=f"new-{number}", at=gate.at, by=gate.by
        )

    subject = Subject(gate.realm.pk, f"p-{number}", f"new-{number}", bind)
    return authorize_as(
        subject,
        request=AuthorizeRequest(Ask("chat", estimate_minor=1)),
        idempotency_key=f"k{n % 8}",
        at=gate.at,
        by=gate.by,
    )
