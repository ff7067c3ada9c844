"""Simulations of random stories: nothing changes by itself, and what does is right."""

import random
from collections import Counter as Tally
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
from django.db import transaction

from gating.answers import Committed, commit_facts
from gating.decide import decide
from gating.facts import Ask, BudgetFact, FeatureFact, UnitPrice
from gating.pricing import MeterRate
from gating.projection import PolicyFact
from gating.rules import MeterRule, Rules, Seen, ranked
from gating.selectors.recorded import Span, recorded_decisions
from gating.services.admissions import Decision
from gating.services.denials import record_denial
from gating.simulation import Ended, Recorded, Results, Simulation
from gating.simulation.results import flip_of
from gating.simulation.worlds import Worlds
from tests.gating.differ import START, Story, people
from tests.gating.twin import Person, Twin, ask_of
from tests.tools.verification import note

FOREVER = timedelta(days=400)


# --- told to the database, read back, made again ------------------------------


class ToldStory(Story):
    """A story whose denials are recorded as the services record them."""

    previewing = False

    def previews(self):
        self.previewing = True
        super().previews()
        self.previewing = False

    def check(self, expected, answer, person, item):
        super().check(expected, answer, person, item)
        if answer["o"] != "denied" or self.previewing:
            return
        told, ask = Decision.told(answer), ask_of(item)
        facts = told.facts(self.now)
        record_denial(
            self.realm.pk, person.account_id, person.user_id,
            ask=ask, facts=facts, verdict=decide(ask, facts), trace_id="0" * 32, at=self.now,
        )  # fmt: skip


@pytest.fixture
def everyone(realm, at, by):
    return people(realm, at, by)


def limited(rules, limit):
    """The rules with another limit on every policy."""
    if rules is None:
        return None
    policies = ranked([replace(policy, limit=limit) for policy in rules.policies])
    return replace(rules, policies=policies)


def made_again(realm, draft, mode="replay"):
    results, judged = Results(), []
    simulation = Simulation(START - FOREVER, mode)
    span = Span(realm.pk, START - FOREVER, START + FOREVER)
    for page in recorded_decisions(span, at_once=7):
        for recorded in page:
            judged.append(simulation.judge(recorded, draft(recorded.rules)))
            results.add(judged[-1])
        simulation.forget(page[-1].at)
    return results, judged


@pytest.mark.parametrize("stories", [20, pytest.param(900, marks=pytest.mark.soak)])
def test_recorded_stories_come_out_as_recorded(realm, everyone, stories):
    seed, tally = random.SystemRandom().randrange(10**9), Tally()
    for number in range(stories):
        with transaction.atomic():
            story = ToldStory(realm, everyone, f"{seed}/{number}")
            story.tell(16)
            for mode in ("replay", "independent"):
                results, judged = made_again(realm, lambda rules: rules, mode)
                assert results.total.flips == results.total.denied_otherwise == 0, story
                assert all(each.would[0] == each.was[0] for each in judged), seed
                assert set(results.not_judged) <= {"counted_only"}
                assert results.total.judged == len(judged)
            tally += Tally(each.recorded.reason or "admitted" for each in judged)
            free, _ = made_again(realm, lambda r: limited(r, None), "independent")
            none, _ = made_again(realm, lambda r: limited(r, 0))
            assert free.total.admitted_to_denied == 0
            assert none.total.admitted_to_denied == sum(
                each.recorded.admitted for each in judged
            )
            assert none.total.denied_to_admitted == 0
            transaction.set_rollback(True)

    note(
        "recorded stories made again",
        f"seed {seed}, {tally.total()} decisions in {stories} stories, flips 0",
    )
    assert {"admitted", "quota_exhausted"} <= set(tally)


# --- beside the gate itself, under the draft from the beginning ---------------


ACCOUNTS = UUID(int=1), UUID(int=2)
CHAT = FeatureFact("chat", "ai", active=True)


class Tale:
    """A random story told to a gate, and to another one under a draft of its rules."""

    def __init__(self, seed):
        self.chance = random.Random(seed)
        chance, choice = self.chance, self.chance.choice
        self.now, self.number, self.entries = START, 0, []
        self.people = [
            Person("p", f"u{n}", choice(ACCOUNTS), UUID(int=100 + n), True)
            for n in range(4)
        ]
        kinds = [
            "quota",
            *chance.choices(["quota", "rate", "seats"], k=choice([1, 2, 3])),
        ]
        before = self.rules([self.policy(n, kind) for n, kind in enumerate(kinds)])
        self.before, self.after = before, self.drafted(before)
        options = {"ttl": timedelta(hours=1), "grace": timedelta(0), "strict": False}
        self.was, self.would = (
            Twin(rules={(p.user_id, "chat"): rules for p in self.people}, **options)
            for rules in (self.before, self.after)
        )
        for person in self.people:
            granted = choice([50, 400, 10**6])
            budget = BudgetFact(
                UUID(int=200 + len(self.was.money)), 0, 0, choice([None, 20, 90])
            )
            for world in (self.was, self.would):
                world.money[person.user_id] = [granted, 0, 0]
                world.budgets[person.user_id, "b"] = budget

    def rules(self, policies):
        price = self.chance.choice([1, 3])
        rate = MeterRate("chat", "chats", price, price, 0, 1, 0, 1, START)
        return Rules(
            feature=CHAT, entitlement="allowed", plan_code="pro", bundle_missing=False,
            policies=ranked(policies), billing_mode=self.chance.choice(["prepaid", "postpaid"]),
            price=UnitPrice(price, 1), zero_cost=False, unpriced=(),
            meters=(MeterRule("chat", "chats", rate),),
        )  # fmt: skip

    def policy(self, number, kind):
        choice = self.chance.choice
        return PolicyFact(
            policy_id=UUID(int=number + 1), name=f"p{number}", kind=kind, scope=choice(["user", "account"]),
            feature_code="chat", counter_key=choice(["one", f"policy:{number}"]), unit="call",
            window_seconds=choice([0, 86_400]) if kind == "seats" else choice([60, 3600, 86_400]),
            limit=choice([1, 2]) if kind == "seats" else choice([5, 12, 40, 200]),
            enforcement=choice(["reserve", "reserve", "optimistic"]), version=START,
        )  # fmt: skip

    def drafted(self, rules):
        """Other limits, enforcement and windows, and a policy more."""
        choice = self.chance.choice
        policies = [
            replace(
                policy,
                limit=choice([policy.limit, policy.limit, 0, 3, 30, 1000]),
                enforcement=choice([policy.enforcement, "reserve", "optimistic"]),
                window_seconds=policy.window_seconds
                if policy.kind == "seats"
                else choice([policy.window_seconds] * 3 + [60, 86_400]),
            )
            for policy in rules.policies
        ]
        if self.chance.random() < 0.3:
            policies.append(self.policy(9, "quota"))
        return replace(rules, policies=ranked(policies))

    def tell(self, steps):
        for _ in range(steps):
            self.now += timedelta(seconds=self.chance.choice([1, 1, 20, 600]))
            self.chance.choice([self.asks, self.asks, self.commits])()

    def asks(self):
        choice = self.chance.choice
        person, estimate = choice(self.people), choice([None, 0, 1, 4, 9, 30])
        ask = Ask(
            "chat",
            estimate_minor=estimate,
            budget=choice([None, None, "b", "b", "none"]),
        )
        self.number += 1
        item = {"key": f"k{self.number}", "lease": f"l{self.number}", "id": str(UUID(int=self.number)), "hash": "00"}  # fmt: skip
        was = self.was.authorize(person, ask, item, self.now, set())
        would = self.would.authorize(person, ask, item, self.now, set())
        asked_minor = 1 if ask.estimate_minor is None else ask.estimate_minor
        if would["o"] == "admitted" and was["o"] == "denied" and asked_minor:
            # What only the draft admits is used as it was asked for, at once.
            self.would.commit(person, self.usage(item["lease"], asked_minor), self.now)
        self.entries.append((person, ask, item, self.now, was, would))

    def commits(self):
        live = [
            lease
            for lease in self.was.leases.values()
            if lease.row["state"] == "active"
        ]
        if not live:
            return
        lease = self.chance.choice(live)
        person = next(p for p in self.people if p.user_id == lease.row["user_id"])
        item = self.usage(lease.row["lease"], self.chance.choice([1, 3, 8, 50]))
        self.was.commit(person, item, self.now)
        self.would.commit(person, item, self.now)

    def usage(self, lease, quantity):
        self.number += 1
        return {
            "key": f"k{self.number}", "hash": "00", "id": str(UUID(int=self.number)), "feature": "chat",
            "lease": lease, "quantity": quantity, "uses": [{"meter": "chat", "quantity": quantity, "unit": None}],
        }  # fmt: skip

    def recorded(self, entry):
        person, ask, item, at, was, _ = entry
        pairs = tuple(zip(was["first"], was["second"], strict=True))
        seen = Seen(pairs, was["available"], was["budget"])
        kept = Recorded(
            UUID(item["id"]), person.account_id, person.user_id, at, ask, self.before, seen
        )  # fmt: skip
        denial = decide(ask, kept.facts(self.before, seen)).denial
        if denial is not None:
            return replace(kept, reason=denial.reason, sentence=denial.sentence)
        lease = self.was.leases[person.user_id, item["lease"]]
        row = lease.row
        return replace(
            kept, held_minor=row["reserved_minor"], held_xusd=row["reserved_xusd"],
            ended=row["ended_at"] and Ended(row["ended_at"], self.commit_of(lease)),
        )  # fmt: skip

    def commit_of(self, lease):
        stored = self.was.stored.get(lease.row["rating_id"])
        if stored is None:
            return None
        order = [str(name) for name in lease.quotas]
        windows = sorted(stored["evidence"]["windows"], key=lambda w: order.index(w[0]))
        committed = Committed(
            rating_id=UUID(lease.row["rating_id"]), at=lease.row["ended_at"], billing_mode=stored["mode"],
            quantity_minor=stored["numbers"][0] // self.before.price.price_xusd, status=stored["status"],
            reasons=stored["reasons"], applied_minor=stored["quantity"], applied_xusd=stored["amount"],
            cost_xusd=stored["cost"], lines=(), evidence=stored["evidence"] | {"windows": windows},
        )  # fmt: skip
        facts = commit_facts(self.before, committed)
        return replace(facts, amount_xusd=stored["numbers"][0])


def differences(seed, tales, worlds=Worlds):
    """Decide tales again; return how verdicts flip, and where one is not the gate's."""
    flips, wrong = Tally(), []
    for number in range(tales):
        tale = Tale(f"{seed}/{number}")
        tale.tell(60)
        simulation = Simulation(START, worlds=worlds())
        for entry in tale.entries:
            judged = simulation.judge(tale.recorded(entry), tale.after)
            flips[flip_of(judged) or "same"] += 1
            if told(judged) != specified(entry[-1]):
                wrong.append((f"{seed}/{number}", entry[3], told(judged)))
    return flips, wrong


def told(judged):
    """The reason of a drafted verdict, and the numbers it was decided on."""
    assert judged.not_judged is None
    facts, verdict = judged.would
    pairs = [(w.used_minor, w.reserved_minor) for w in (*facts.quotas, *facts.rates)]
    pairs += [(seats.taken, int(seats.holds)) for seats in facts.seats]
    reason = verdict.denial.reason if verdict.denial else None
    return reason, pairs, facts.funding.available_xusd, facts.budget


def specified(answer):
    pairs = list(zip(answer["first"], answer["second"], strict=True))
    return answer["reason"], pairs, answer["available"], answer["budget"]


@pytest.mark.parametrize("tales", [90, pytest.param(6000, marks=pytest.mark.soak)])
def test_a_replay_decides_as_the_gate_would_have(tales):
    seed = random.SystemRandom().randrange(10**9)

    flips, wrong = differences(seed, tales)

    note(
        "decisions simulated beside a gate under the draft",
        f"seed {seed}, {flips.total()} decisions in {tales} tales, {flips.total() - flips['same']} flips, differences {len(wrong)}",
    )
    assert wrong == []
    assert {"admitted_to_denied", "denied_to_admitted", "same"} == set(flips)


class Forgetful(Worlds):
    """Carries nothing on."""

    def take(self, key, **worlds):
        pass


def test_what_carries_nothing_on_would_be_found():
    _, wrong = differences("control", 10, Forgetful)

    assert wrong
