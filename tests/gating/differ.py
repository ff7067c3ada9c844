"""Random gates: the same story told to the database's functions and to their twin."""

import json
import random
from collections import Counter as Tally
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import UUID

import orjson
import psycopg
import pytest
from django.db import DatabaseError, connection, transaction

from billing.services.accounts import ensure_account
from billing.services.users import change_user, ensure_user
from config.kernel.money import INT64_MAX
from config.kernel.windows import format_instant
from config.tenancy.history import auditing
from gating.evidence import read_budget
from gating.facts import BudgetFact, FeatureFact, UnitPrice
from gating.models import AccountVersion, CatalogVersion, GateState, Projection, RuleSet
from gating.options import options
from gating.pricing import MeterRate
from gating.projection import PolicyFact, counter_of
from gating.rules import MeterRule, Rules, ranked
from gating.services import admitting, closing, functions
from gating.services.admitting import authorize_items
from gating.services.closing import commit_items
from gating.services.functions import GateMoved
from gating.services.known import learn
from gating.services.projections import rule_set_of
from tests.gating.twin import Person, Twin, ask_of, counter_id
from tests.tools.context import BY
from tests.tools.purse import store_lot

START = datetime(2026, 3, 10, 11, 59, 59, 250_000, tzinfo=UTC)
FEATURES = ("chat", "draw")
METERS = ("chat", "draw", "extra")
INSTANT = timedelta(microseconds=1)
LIMITS = (None, 0, 1, 2, 3, 7, 20, 20, 100, 100, 1000, INT64_MAX)
AMOUNTS = (*(0, 0, 1, 1, 2, 3, 5, 8, 20) * 3, INT64_MAX - 1, INT64_MAX)
PRICES = (*(0, 1, 1, 2, 3, 7, 10) * 3, 1_000_000, INT64_MAX)
BUDGETS = (None, None, 0, 1, 5, 10, 30, 70, 200, 1000, 10_000, INT64_MAX)
PER = (*(1, 1, 2, 3, 7) * 3, 1000, INT64_MAX)


class Difference(AssertionError):
    """The database and its specification do not agree."""


def call(statement, items, *arguments):
    """Call as the services do, for a caller whose credentials were read just now."""
    given = (orjson.dumps(items).decode(), *arguments)
    given += (None,) * (statement.count("%s") - len(given))
    with connection.cursor():
        cursor = psycopg.Cursor(connection.connection)
    cursor.execute(statement, given, prepare=True)
    return orjson.loads(cursor.fetchone()[0])


def people(realm, at, by):
    """Two accounts; of the first, three users, and one that is not active."""
    made = []
    for principal, names in (("acme", "abcz"), ("globex", "d")):
        account = ensure_account(realm=realm, principal_id=principal, at=at, by=by)
        for name in names:
            user = ensure_user(account=account, business_user_id=name, at=at, by=by)
            if name == "z":
                change_user(user=user, status="disabled", at=at, by=by)
            made.append(Person(principal, name, account.pk, user.pk, name != "z"))
        GateState.objects.bulk_create(
            [GateState(account=account, realm=realm)], ignore_conflicts=True
        )
    return made


@contextmanager
def deployed(twin):
    """Run the block with the options of a story, as a deployment would set them."""
    names = {
        "PLANGATE_LEASE_TTL_SECONDS": int(twin.ttl.total_seconds()),
        "PLANGATE_LEASE_GRACE_SECONDS": int(twin.grace.total_seconds()),
        "PLANGATE_STRICT_METERS": int(twin.strict),
    }
    with pytest.MonkeyPatch.context() as environment:
        for name, value in names.items():
            environment.setenv(name, str(value))
        options.cache_clear()
        try:
            yield
        finally:
            options.cache_clear()


class Story:
    """One random gate, and what happens to it. Everything follows from the seed."""

    def __init__(self, realm, everyone, seed):
        self.chance = random.Random(seed)
        self.realm, self.everyone = realm, everyone
        self.now = START + timedelta(seconds=self.chance.choice([0, 0.75, 1, 3600]))
        self.number = 0
        self.tally = Tally()
        choice = self.chance.choice
        # Stories in which there is enough of everything but budgets.
        self.of_budgets = self.chance.random() < 0.2
        # Those in which there is room, and next to nothing that is not plain.
        self.roomy = not self.of_budgets and self.chance.random() < 0.35
        # Nothing but quotas and rates, each with a counter of its own.
        self.plain = self.of_budgets or self.roomy or self.chance.random() < 0.5
        self.people = self.chance.sample(everyone, choice([1, 2, 2, 3, len(everyone)]))
        shared = self.chance.random() < 0.6
        by_feature = {code: self.random_rules(code) for code in FEATURES}
        rules = {
            (person.user_id, code): by_feature[code]
            if shared
            else self.random_rules(code)
            for person in self.people
            for code in FEATURES
        }
        self.twin = Twin(
            ttl=choice([timedelta(seconds=1), timedelta(hours=1), timedelta(hours=12)]),
            grace=choice([timedelta(0), timedelta(seconds=60)]),
            strict=self.chance.random() < 0.3,
            rules=rules,
            inactive={person.user_id for person in everyone if not person.active},
        )

    # The rules

    def random_rules(self, code):
        chance, choice = self.chance, self.chance.choice
        priced = 1 if self.of_budgets or self.roomy else 0.85
        meters = tuple(
            MeterRule(
                meter,
                f"{meter}s",
                self.rate(meter) if chance.random() < priced else None,
            )
            for meter in chance.sample(
                METERS,
                choice(
                    [2, 3]
                    if self.of_budgets
                    else [1, 2]
                    if self.roomy
                    else [0, 1, 1, 2, 3]
                ),
            )
        )
        first = next((m.rate for m in meters if m.rate), None)
        price = None
        if first is not None and chance.random() < 0.9:
            price = UnitPrice(
                first.unit_price_xusd,
                first.unit_quantity_minor,
                whole_blocks=first.residual_mode is not None,
            )
        return Rules(
            feature=FeatureFact(
                code,
                choice(["ai", "ai", "ai", "art"]),
                active=self.plain or chance.random() < 0.96,
            ),
            entitlement=choice(
                ["allowed"] * 12
                + ["not_required"] * 8
                + ["denied", "missing"] * (not self.plain)
            ),
            plan_code=choice(["pro", None]),
            bundle_missing=not self.plain and chance.random() < 0.03,
            policies=ranked(
                [
                    self.policy(code, n)
                    for n in range(
                        choice([1, 2, 3] if self.roomy else [0, 1, 2, 2, 3, 3, 4, 6])
                    )
                ]
            ),
            billing_mode=choice(
                ["prepaid", "postpaid"]
                if self.of_budgets
                else ["prepaid", "prepaid", "postpaid", "hybrid"]
            ),
            price=price,
            zero_cost=chance.random() < 0.15,
            unpriced=tuple(m.meter_code for m in meters if m.rate is None),
            meters=meters,
        )

    def rate(self, meter):
        choice = self.chance.choice
        usual = self.of_budgets or self.roomy
        price = choice([1, 1, 2, 3, 7] if usual else PRICES)
        return MeterRate(
            meter_code=meter,
            unit=f"{meter}s",
            unit_price_xusd=price,
            unit_price_base_xusd=price,
            unit_price_dynamic_xusd=0,
            unit_quantity_minor=choice(PER),
            unit_cost_xusd=choice(PRICES),
            cost_unit_quantity_minor=choice(PER),
            effective_at=START - timedelta(days=choice([1, 2])),
            residual_mode=None
            if self.roomy
            else choice([None, None, "prepaid", "postpaid"]),
        )

    def policy(self, code, number):
        choice = self.chance.choice
        kind = choice(["quota", "quota", "quota", "rate", "seats"])
        if self.plain and kind == "seats":
            kind = "rate"
        if (self.of_budgets or self.roomy) and number == 0:
            kind = "quota"
        return PolicyFact(
            policy_id=UUID(int=self.chance.getrandbits(128)),
            name=f"p{number}",
            kind=kind,
            scope=choice(["user", "account"]),
            feature_code=choice([code, "*"]),
            counter_key=f"policy:{number}"
            if self.plain
            else choice(["one", "one", "two", f"policy:{number}"]),
            unit="call",
            window_seconds=choice(
                [0, 60, 86_400] if kind == "seats" else [1, 60, 60, 86_400]
            ),
            limit=choice(
                [1000, INT64_MAX]
                if self.of_budgets
                else [None, 20, 60, 200, 1000, 1000]
                if self.roomy
                else LIMITS
            ),
            enforcement=choice(["reserve", "reserve", "optimistic"]),
            version=START,
        )

    # What is there at the beginning

    def lay_out(self):
        self.store_rules()
        self.learn_rules()
        for (user_id, _), rules in self.twin.rules.items():
            person = next(p for p in self.people if p.user_id == user_id)
            self.store_counters(person, rules)
            self.store_seats(person, rules)
        for person in self.everyone:
            if self.chance.random() < 0.8:
                self.store_balance(person)
            for reference in ("b", "c"):
                if self.chance.random() < 0.8:
                    self.store_budget(person, reference)

    def store_rules(self):
        sets = {
            key: rule_set_of(self.realm.pk, rules)
            for key, rules in self.twin.rules.items()
        }
        RuleSet.objects.bulk_create(
            {row.pk: row for row in sets.values()}.values(), ignore_conflicts=True
        )
        self.rule_ids = {key: str(row.pk) for key, row in sets.items()}
        catalog = CatalogVersion.objects.get(pk=self.realm.pk).version
        versions = dict(
            AccountVersion.objects.filter(realm=self.realm).values_list(
                "account_id", "version"
            )
        )
        Projection.objects.bulk_create(
            Projection(
                realm=self.realm,
                principal_id=person.principal,
                business_user_id=person.name,
                feature_code=code,
                account_id=person.account_id,
                user_id=person.user_id,
                user_active=person.active,
                rule_set_id=sets[person.user_id, code].pk,
                catalog_version=catalog,
                account_version=versions[person.account_id],
                valid_from=START - timedelta(days=1),
                valid_until=START + timedelta(days=365),
            )
            for person in self.people
            for code in FEATURES
        )

    def learn_rules(self):
        """Let the services know what governs, as an earlier answer would have."""
        for person in self.people:
            for code in FEATURES:
                item = {"realm": self.realm.pk, "principal": person.principal}
                learn(
                    item | {"user": person.name, "feature": code},
                    {"o": "denied", "rules": self.rule_ids[person.user_id, code]},
                )

    def amount(self, most):
        amounts = AMOUNTS[:-2] if self.roomy else AMOUNTS
        return min(self.chance.choice(amounts), most)

    def store_counters(self, person, rules):
        for policy in rules.policies:
            if policy.kind == "seats" or self.chance.random() < 0.55:
                continue
            key = counter_of(
                policy,
                feature_code=rules.feature.feature_code,
                account_id=person.account_id,
                user_id=person.user_id,
                at=self.now,
            )
            name = counter_id(key, person.account_id, policy.window_seconds)
            if name in self.twin.counters:
                continue
            # A rate counts requests: never as many as a number holds.
            used = self.amount(100 if policy.kind == "rate" else INT64_MAX)
            pair = [
                used,
                self.amount(INT64_MAX - used)
                if policy.kind == "quota" and self.chance.random() < 0.3
                else 0,
            ]
            self.twin.counters[name] = pair
            execute(
                "INSERT INTO gate_counters (id, realm_id, account_id, kind, subject_scope, subject_id, feature_code, key, window_start, window_end, used_minor, reserved_minor)"
                " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
                [
                    name,
                    self.realm.pk,
                    person.account_id,
                    key.kind,
                    key.scope,
                    key.subject_id,
                    key.feature_code,
                    key.key,
                    key.window_start,
                    key.window_end,
                    *pair,
                ],
            )

    def store_seats(self, person, rules):
        for policy in rules.policies:
            if policy.kind != "seats" or self.chance.random() < 0.5:
                continue
            key = self.twin.seats_key(person, policy, self.now)
            for other in self.everyone:
                if (
                    other.account_id != person.account_id
                    or other.user_id in self.twin.seats[key]
                    or self.chance.random() < 0.5
                ):
                    continue
                self.twin.seats[key].add(other.user_id)
                execute(
                    "INSERT INTO gate_seats (id, realm_id, account_id, user_id, scope_code, key, window_start, window_end, taken_at)"
                    " VALUES (gen_random_uuid(), %s, %s, %s, %s, %s, %s, %s, %s)",
                    [self.realm.pk, key[0], other.user_id, *key[1:], self.now],
                )

    def store_balance(self, person):
        granted = self.chance.choice(
            [10_000]
            if self.of_budgets
            else [60, 400, 10_000]
            if self.roomy
            else [0, 1, 5, 10, 30, 70, 200, 1000, 10_000, INT64_MAX]
        )
        spent = self.amount(granted)
        held = self.amount(granted - spent) if self.chance.random() < 0.2 else 0
        self.twin.money[person.user_id] = [granted, spent, held]
        self.store_lots(person, granted, spent, held)

    def store_lots(self, person, granted, spent, held):
        """The same over one to three lots: which of them pays is not what is compared."""
        parts = sorted(
            self.amount(granted)
            for _ in range(
                self.chance.choice([0] * 9 + [1] if self.roomy else [0, 0, 1, 2])
            )
        )
        sizes = [b - a for a, b in pairwise([0, *parts, granted])]
        for place, size in enumerate(sizes):
            used = min(spent, size)
            kept = min(held, size - used)
            spent, held = spent - used, held - kept
            store_lot(
                self.realm.pk,
                person.account_id,
                person.user_id,
                at=self.now - timedelta(days=1),
                by=BY,
                amount=size,
                spent=used,
                held=kept,
                window_end=self.now + timedelta(days=1000 + place),
                priority=self.chance.choice([0, 5, -5]),
            )

    def store_budget(self, person, reference):
        chance, choice = self.chance, self.chance.choice
        limit = choice(BUDGETS)
        reserved = 0
        if chance.random() < 0.2:
            reserved = self.amount(INT64_MAX if limit is None else limit)
        shift = (timedelta(hours=1), INSTANT, timedelta(0), -INSTANT, -timedelta(1))
        budget = BudgetFact(
            UUID(self.new_id()),
            consumed_xusd=self.amount(INT64_MAX - reserved),
            reserved_xusd=reserved,
            limit_xusd=limit,
            window_start=choice([None, None, self.now - choice(shift)]),
            window_end=choice([None, None, self.now + choice(shift)]),
            closed_at=self.now if chance.random() < 0.05 else None,
            feature_codes=choice([None, None, ("chat",), FEATURES]),
        )
        start, end = budget.window_start, budget.window_end
        if start is not None and end is not None and end <= start:
            budget = replace(budget, window_end=None)
        self.twin.budgets[person.user_id, reference] = budget
        codes = budget.feature_codes
        row = {
            "id": budget.budget_id,
            "realm_id": self.realm.pk,
            "account_id": person.account_id,
            "user_id": person.user_id,
            "reference": reference,
            "name": "",
            "metadata": "{}",
            "scope_kind": "global" if codes is None else "feature_set",
            "feature_codes": codes and list(codes),
            **{
                name: getattr(budget, name)
                for name in (
                    "limit_xusd",
                    "consumed_xusd",
                    "reserved_xusd",
                    "window_start",
                    "window_end",
                    "closed_at",
                )
            },
        }
        with auditing(BY, at=BY.effective_at):
            execute(
                f"INSERT INTO budgets ({', '.join(row)}) VALUES ({', '.join(['%s'] * len(row))})",
                list(row.values()),
            )

    # What happens

    def tell(self, steps):
        self.lay_out()
        with deployed(self.twin):
            for _ in range(steps):
                what = self.chance.choices(
                    [
                        self.authorizes,
                        self.meets,
                        self.commits,
                        self.commits_who_meet,
                        self.previews,
                        self.waits,
                    ],
                    [4, 1, 4, 1, 1, 2],
                )[0]
                what()
        self.compare_rows()

    def waits(self):
        """Let time pass, mostly to the instants around the end of a lease."""
        twin, choice = self.twin, self.chance.choice
        if self.roomy and self.chance.random() < 0.8:
            self.now += timedelta(seconds=choice([0.25, 1]))
            return
        ends = [
            lease.row["expires_at"] + late
            for lease in twin.leases.values()
            if lease.row["state"] == "active"
            for late in (timedelta(0), INSTANT, twin.grace, twin.grace + INSTANT)
        ]
        ends = [end for end in ends if end > self.now]
        if ends and self.chance.random() < 0.7:
            self.now = choice(ends)
            # What is overdue is given back before anything else is decided.
            self.chance.choice([self.authorizes, self.previews, self.commits])()
        else:
            self.now += timedelta(seconds=choice([1, 59, 3600, 86_400]))

    def new_id(self):
        return str(UUID(int=self.chance.getrandbits(128)))

    def asked(self, person):
        self.number += 1
        chance, choice = self.chance, self.chance.choice
        return {
            "realm": self.realm.pk,
            "principal": person.principal,
            "user": person.name,
            "bound": True,
            "feature": choice(["chat", "chat", "chat", "draw"]),
            "family": choice([None] * 12 + ["ai"] * 4 + ["art"]),
            "estimate": choice(
                [
                    *(None, None, 0, 1, 2, 3, 5, 7, 21, chance.randrange(200)) * 2,
                    INT64_MAX,
                ]
            ),
            "budget": choice(
                [None, None, *["b"] * 5, "c", "c", "none"]
                if self.of_budgets
                else [None] * 25 + ["b"]
            ),
            "key": f"k{chance.randrange(6)}"
            if chance.random() < 0.2
            else f"n{self.number}",
            "hash": choice(["00", "00", "00", "01"]),
            "lease": choice([None, None, f"l{chance.randrange(12)}"]),
            "id": self.new_id(),
            "labels": {},
            "trace": "0" * 32,
        }

    def authorizes(self):
        count = self.chance.choice([1, 1, 1, 2, 3, 5, 10])
        same = self.chance.choice(self.people) if self.chance.random() < 0.5 else None
        asked = []
        alike = {"feature": "chat", "family": None, "budget": None, "lease": None}
        alike = alike if same and self.chance.random() < 0.6 else {}
        if self.roomy:
            alike |= {"feature": "chat"} if self.chance.random() < 0.8 else {}
            alike |= {
                "estimate": self.chance.choice([None, 1, 2, 3, 5]),
                "budget": None,
            }
        for _ in range(count):
            person = same or self.chance.choice(self.people)
            asked.append((person, self.asked(person) | alike))
        given = [item for _, item in asked]
        if self.chance.random() < 0.7:
            answers = self.by_services(authorize_items, given)
        else:
            answers = call(
                functions._AUTHORIZE, given, self.now, self.twin.ttl, self.twin.grace
            )
        self.authorized(asked, answers)

    def authorized(self, asked, answers):
        swept = set()
        for (person, item), answer in zip(asked, answers, strict=True):
            expected = self.twin.authorize(person, ask_of(item), item, self.now, swept)
            self.check(expected, answer, person, item)

    def meets(self):
        """Ask for several at once who met by chance, then for each that was left out."""
        usual = {"feature": "chat", "family": None, "budget": None}
        if self.chance.random() < 0.7:
            usual["estimate"] = self.chance.choice([None, 1, 2, 3, 5])
        asked = [
            (person, self.asked(person) | usual)
            for person in self.chance.sample(self.people, len(self.people))
        ]
        self.met(admitting, admitting.admit_many, asked, self.authorized)

    def met(self, module, many, asked, compare):
        """Ask for all who are like the first one, compare, then for who was left out."""
        kind = module.alike(asked[0][1])
        if kind is None:
            return
        asked = [pair for pair in asked if module.alike(pair[1]) == kind]
        answers = self.by_services(many, [item for _, item in asked])
        found = list(zip(asked, answers, strict=True))
        together = [(pair, answer) for pair, answer in found if answer is not None]
        for (_, item), answer in together:
            self.tally[f"met {answer['o']}"] += 1
            self.tally[f"met {answer['o']} with others"] += len(together) > 1
            assert answer["o"] in {"admitted", "denied", "committed"}, item
        self.tally[f"left out by {many.__name__}"] += len(found) - len(together)
        compare([pair for pair, _ in together], [answer for _, answer in together])
        one = authorize_items if module is admitting else commit_items
        for pair, answer in found:
            if answer is None:
                compare([pair], self.by_services(one, [pair[1]]))

    def commits_who_meet(self):
        """Commit a lease of each person at once, then those that were left out."""
        asked = [
            self.used(person, (), among=[person])
            for person in self.chance.sample(self.people, len(self.people))
        ]
        self.met(closing, closing.close_many, asked, self.committed)

    def by_services(self, verb, items):
        """Ask as the services do: what is plain is decided in one stride."""
        answers = verb(items, at=self.now)
        for answer in answers:
            if answer is None:
                continue
            # Only the long way tells these as text.
            if isinstance(answer.get("rules"), UUID):
                self.tally[f"plain {answer['o']}"] += 1
                self.tally[f"plain {answer['o']} together"] += len(items) > 1
                for name in ("rules", "account", "user"):
                    if name in answer:
                        answer[name] = str(answer[name])
        return answers

    def previews(self):
        person = self.chance.choice(self.people)
        item = self.asked(person)
        (answer,) = call(
            functions._PREFLIGHT, [item], self.now, self.twin.ttl, self.twin.grace
        )
        self.check(
            self.twin.preflight(person, ask_of(item), self.now), answer, person, item
        )

    def commits(self):
        alike = 0.9 if self.roomy else 0.5
        same = self.chance.choice(self.people) if self.chance.random() < alike else None
        counts = [1, 2, 3, 5] if self.roomy else [1, 1, 1, 2, 4, 7]
        asked = []
        for _ in range(self.chance.choice(counts)):
            taken = {item["lease"] for _, item in asked} if same else ()
            asked.append(self.used(same, taken))
        given = [item for _, item in asked]
        if self.chance.random() < 0.7:
            answers = self.by_services(commit_items, given)
        else:
            answers = call(
                functions._COMMIT, given, self.now, self.twin.grace, self.twin.strict
            )
        self.committed(asked, answers)

    def committed(self, asked, answers):
        for (person, item), answer in zip(asked, answers, strict=True):
            expected = self.twin.commit(person, item, self.now)
            self.check(expected, answer, person, item)

    def used(self, same, taken, among=None):
        """What a person commits: `same`, of another lease than those taken, or anybody.

        Who has no such lease is one of `among`, else of all.
        """
        self.number += 1
        chance, choice = self.chance, self.chance.choice
        simply = chance.random() < (0.85 if same else 0.4)
        leases = [
            lease
            for lease in self.twin.leases.values()
            if same is None
            or (
                lease.row["user_id"] == same.user_id
                and lease.row["feature_code"] == "chat"
                and lease.row["lease"] not in taken
            )
        ]
        open_first = sorted(
            leases,
            key=lambda lease: (lease.row["state"] != "active", chance.random()),
        )
        person, reference, feature = choice(among or self.people), "nothing", "chat"
        if open_first and chance.random() < 0.95:
            lease = open_first[0] if chance.random() < 0.8 else choice(open_first)
            reference, feature = lease.row["lease"], lease.row["feature_code"]
            person = next(p for p in self.people if p.user_id == lease.row["user_id"])
        usual = 0.99 if self.roomy else 0.93
        feature = feature if chance.random() < usual else choice(FEATURES)
        quantity = choice(
            [
                *(1, 1, 2, 3, 5, 8, 21, 1000, 1 + chance.randrange(300)) * 3,
                INT64_MAX,
            ]
        )
        if simply or self.roomy:
            quantity = choice([1, 1, 2, 3])
        return person, {
            "realm": self.realm.pk,
            "principal": person.principal,
            "user": person.name,
            "bound": True,
            "feature": feature,
            "lease": reference,
            "quantity": quantity,
            "key": f"k{chance.randrange(6)}"
            if chance.random() < (0.12 if self.roomy else 0.25)
            else f"n{self.number}",
            "hash": choice(["00", "00", "00", "01"]),
            "id": self.new_id(),
            "operation": "commit",
            "labels": {},
            "trace": "0" * 32,
            "entry": self.new_id(),
            "uses": [
                self.use(quantity, person, feature)
                for _ in range(1 if simply else choice([1, 1, 2, 3, 5]))
            ],
        }

    def use(self, quantity, person, feature):
        chance, choice = self.chance, self.chance.choice
        known = [m.meter_code for m in self.twin.rules[person.user_id, feature].meters]
        return {
            "id": self.new_id(),
            "meter": known[0]
            if known and self.roomy and chance.random() < 0.9
            else choice(known)
            if known and chance.random() < 0.9
            else choice([*METERS, "foreign"]),
            "quantity": choice([quantity, 0, 1, 2, 5])
            if self.roomy
            else choice(
                [quantity, 0, 1, 2, 5, chance.randrange(50), chance.randrange(5000)]
            ),
            "unit": choice([None, "piece"]),
            "etag": None,
        }

    # What must agree

    def check(self, expected, answer, person, item):
        words = [
            expected["o"],
            expected.get("reason"),
            expected.get("status"),
            expected.get("field"),
            *expected.get("reasons", ()),
        ]
        self.tally.update({"items": 1} | {word: 1 for word in words if word})
        found = {name: answer.get(name) for name in expected}
        if "budget" in expected:
            found["budget"] = read_budget(answer.get("budget"))
        if answer["o"] == "denied" and answer["reason"] is None:
            # Found in one stride, and told by the specification alone.
            found["reason"] = expected.get("reason")
        if isinstance(found.get("evidence"), dict):
            evidence = found["evidence"]
            at = datetime.fromisoformat(evidence["expires_at"])
            found["evidence"] = evidence | {
                "windows": sorted(evidence["windows"]),
                "expires_at": format_instant(at),
            }
        same = found == expected
        if same and answer["o"] in {"admitted", "denied"}:
            same = answer["rules"] == self.rule_ids[person.user_id, item["feature"]]
        if not same:
            raise Difference(
                f"asked {json.dumps(item)}\nspecified {expected}\n    found {found}"
            )

    def compare_rows(self):
        realm = [self.realm.pk]
        counters = rows(
            "SELECT id, used_minor, reserved_minor FROM gate_counters WHERE realm_id = %s",
            realm,
        )
        agree(
            "counters",
            {name: (*pair,) for name, pair in self.twin.counters.items()},
            {row[0]: row[1:] for row in counters},
        )
        balances = rows(
            "SELECT user_id, sum(amount_xusd), sum(consumed_xusd), sum(reserved_xusd) FROM grant_lots WHERE realm_id = %s GROUP BY user_id",
            realm,
        )
        agree(
            "balances",
            {name: (*pair,) for name, pair in self.twin.money.items()},
            {row[0]: row[1:] for row in balances},
        )
        budgets = rows(
            "SELECT user_id, reference, consumed_xusd, reserved_xusd FROM budgets WHERE realm_id = %s",
            realm,
        )
        agree(
            "budgets",
            {
                name: (budget.consumed_xusd, budget.reserved_xusd)
                for name, budget in self.twin.budgets.items()
            },
            {row[:2]: row[2:] for row in budgets},
        )
        seats = rows(
            "SELECT account_id, scope_code, key, window_start, window_end, user_id FROM gate_seats WHERE realm_id = %s",
            realm,
        )
        agree(
            "seats",
            {(*key, user) for key, users in self.twin.seats.items() for user in users},
            set(seats),
        )
        buckets = rows(
            "SELECT user_id, rate_identity, remainder_numer FROM gate_residual_buckets WHERE realm_id = %s AND remainder_numer > 0",
            realm,
        )
        agree(
            "remainders",
            {(*key, value) for key, value in self.twin.carried.items() if value},
            set(buckets),
        )
        self.compare_leases()
        self.compare_ratings()
        spent = rows(
            "SELECT source_ref, sum(amount_xusd) FROM grant_allocations WHERE realm_id = %s AND lot_id IS NOT NULL GROUP BY source_ref",
            realm,
        )
        funded = {
            (f"gate_rating:{name}", answer["funded"])
            for name, answer in self.twin.stored.items()
            if answer["funded"]
        }
        agree("entries", funded, set(spent))

    def compare_leases(self):
        names = [
            "id", "account_id", "user_id", "lease", "feature_code", "feature_family_code", "state", "billing_mode", "policy_id",
            "window_start", "window_end", "estimate_minor", "cap_minor", "counter_ids", "reserved_minor", "reserved_xusd",
            "zero_cost", "authorized_at", "expires_at", "ended_at", "idempotency_key", "available_xusd", "rating_id",
            "budget", "budget_id",
        ]  # fmt: skip
        more = [
            "quota_counter_ids",
            "quota_limits",
            "quota_held",
            "seen_first",
            "seen_second",
            "rule_set_id",
            "request_hash",
        ]
        found = rows(
            f"SELECT {', '.join(names + more)} FROM gate_leases WHERE realm_id = %s",
            [self.realm.pk],
        )
        stored = {}
        for row in found:
            kept = dict(zip(names + more, row, strict=True))
            kept["id"] = str(kept["id"])
            kept["rating_id"] = kept["rating_id"] and str(kept["rating_id"])
            kept["counter_ids"] = set(kept["counter_ids"])
            kept["quotas"] = dict(
                zip(
                    kept.pop("quota_counter_ids"),
                    zip(kept.pop("quota_limits"), kept.pop("quota_held"), strict=True),
                    strict=True,
                )
            )
            kept["seen"] = tuple(
                zip(kept.pop("seen_first"), kept.pop("seen_second"), strict=True)
            )
            kept["rule_set_id"], kept["request_hash"] = (
                str(kept["rule_set_id"]),
                bytes(kept["request_hash"]).hex(),
            )
            stored[kept["id"]] = kept
        expected = {
            lease.row["id"]: lease.row
            | {
                "quotas": lease.quotas,
                "seen": lease.seen.pairs,
                "rule_set_id": self.rule_ids[
                    lease.row["user_id"], lease.row["feature_code"]
                ],
                "request_hash": lease.hash,
            }
            for lease in self.twin.leases.values()
        }
        agree("leases", expected, stored)

    def compare_ratings(self):
        found = rows(
            "SELECT id, application_status, reason_codes, late_rating, applied_quantity_minor, applied_amount_xusd, applied_cost_xusd, funded_xusd,"
            " canonical_amount_xusd, canonical_cost_xusd, budget_id FROM gate_ratings WHERE realm_id = %s",
            [self.realm.pk],
        )
        expected = {
            name: (
                a["status"],
                a["reasons"],
                a["late"],
                a["quantity"],
                a["amount"],
                a["cost"],
                a["funded"],
                sum(a["numbers"][::6]),
                sum(a["numbers"][1::6]),
                a["budget_id"],
            )
            for name, a in self.twin.stored.items()
        }
        agree("ratings", expected, {str(row[0]): row[1:] for row in found})
        lines = rows(
            "SELECT rating_id, meter_code, unit, rating_status, amount_xusd, cost_xusd, remainder_in, remainder_out, cost_remainder_in, cost_remainder_out"
            " FROM gate_rated_records WHERE realm_id = %s ORDER BY rating_id, line_number",
            [self.realm.pk],
        )
        specified = [
            (name, *line, *a["numbers"][6 * n : 6 * n + 6])
            for name, a in sorted(self.twin.stored.items())
            for n, line in enumerate(a["lines"])
        ]
        agree("lines", specified, [(str(row[0]), *row[1:]) for row in lines])


def execute(statement, parameters):
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)


def rows(statement, parameters):
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall()


def agree(what, specified, found):
    if specified != found:
        if isinstance(specified, dict):
            names = [
                n
                for n in specified.keys() | found.keys()
                if specified.get(n) != found.get(n)
            ]
            specified, found = (
                {n: x.get(n) for n in names} for x in (specified, found)
            )
        elif isinstance(specified, set):
            specified, found = specified - found, found - specified
        raise Difference(f"{what}\nspecified {specified}\n    found {found}")


def differences(realm, everyone, *, seed, stories, steps=16):
    """Tell stories until they differ; return what happened, and the difference or None."""
    tally = Tally()
    for number in range(stories):
        story = Story(realm, everyone, f"{seed}/{number}")
        try:
            with transaction.atomic():
                story.tell(steps)
                transaction.set_rollback(True)
        except (Difference, DatabaseError, psycopg.Error, GateMoved) as error:
            return tally, f"story {seed}/{number}: {type(error).__name__}: {error}"
        tally += story.tally
    return tally, None
