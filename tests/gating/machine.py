"""The gate beside a naive ledger, step by step, in whatever order Hypothesis thinks of.

Each rule does one thing to the product and the same to the ledger, and the answers must
agree; after each step so must all that is stored.
"""

from collections import Counter as Tally
from datetime import UTC, datetime, timedelta

from django.db import transaction
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from config.kernel.clock import now
from tests.gating import draws
from tests.gating.books import expected, stored
from tests.gating.drivers import Api, Verbs
from tests.gating.ledger import EPOCH, Ledger
from tests.gating.racing import abandon
from tests.gating.stage import FEATURES, OPEN_TO_ALL, PEOPLE, PLANS, Stage
from tests.gating.tariff import GRACE
from tests.gating.terms import Ask, Policy, Use
from tests.tools.context import BY

START = datetime(2026, 3, 10, 23, 59, 30, tzinfo=UTC)
INSTANT = timedelta(microseconds=1)
FOREVER = 2**31 - 1
"""The longest window: it began in 1970, and what runs in real time is always in it."""


class Divergence(AssertionError):
    """The product and the ledger do not agree."""


def same(model, found):
    """Return whether two answers agree in all that both of them tell."""
    if isinstance(model, dict) and isinstance(found, dict):
        return all(same(model[name], found[name]) for name in model.keys() & found)
    if isinstance(model, list) and isinstance(found, list):
        return len(model) == len(found) and all(map(same, model, found))
    return model == found


class Machine(RuleBasedStateMachine):
    """By the verbs, at instants of the test's own."""

    driver = Verbs
    tally: Tally = Tally()

    # The beginning

    def __init__(self):
        super().__init__()
        self.ledger, self.number = None, 0
        self.sent, self.first = [], {}

    @initialize(
        by_plan=st.fixed_dictionaries(dict.fromkeys(sorted(PLANS), draws.bundles)),
        prices=draws.prices,
        blocks=st.sampled_from([None, None, "prepaid", "postpaid"]),
        plans=st.tuples(*[st.sampled_from(sorted(PLANS))] * 2),
        purses=st.tuples(*[draws.amounts] * len(PEOPLE)),
    )
    @transaction.atomic
    def begin(self, by_plan, prices, blocks, plans, purses):
        at = START if self.driver.in_time else now()
        self.ledger = Ledger(at, PEOPLE, FEATURES, OPEN_TO_ALL)
        self.stage = Stage(at, BY, blocks=blocks)
        self.gate = self.driver(self.stage.realm, PEOPLE, BY)
        self.ledger.bundles["default"] = self.stage.default_policies()
        for code, drawn in by_plan.items():
            self.ledger.bundles[code] = [
                self.policy(code, n, *given) for n, given in enumerate(drawn)
            ]
        for meter, terms in prices.items():
            self.ledger.prices[meter] = self.stage.price(meter, terms, at)
        for account, plan in zip(sorted(set(PEOPLE.values())), plans, strict=True):
            self.assign(account, plan, None)
        for user, amount in zip(sorted(PEOPLE), purses, strict=True):
            self.give(user, amount)
        self.tally["machines"] += 1

    def policy(self, bundle, number, template, limit, reserves):
        kind, scope, feature, key, seconds = draws.TEMPLATES[template]
        if not self.driver.in_time:
            seconds = FOREVER if kind != "seats" else 0
        if kind == "rate":
            limit = max(8, limit or 0)
        elif kind == "seats" and limit is not None:
            limit = 1 + limit % 2
        name = f"{bundle} {number} {template}"
        made = Policy(name, kind, scope, feature, key, seconds, limit, reserves)
        self.stage.make_policy(bundle, made, self.ledger.now)
        return made

    # What is asked of the gate

    def key(self):
        self.number += 1
        return f"k-{self.number}"

    def now(self):
        if not self.driver.in_time:
            self.ledger.now = now()
        return self.ledger.now

    def agree(self, what, model, told):
        self.tally.update({"operations": 1, f"{what}: {self.word(model)}": 1})
        if not same(model, told.outcome) or model["o"] != told.outcome["o"]:
            raise Divergence(f"{what}\n  ledger {model}\n  gate   {told.outcome}")

    @staticmethod
    def word(model):
        return model.get("reason") or model.get("status") or model["o"]

    def keep(self, operation, user, key, body, told):
        """Remember a success; a repeat of one must be the same to the byte."""
        if not told.raw:
            return
        first = self.first.setdefault((operation, user, key), told)
        if first is told:
            self.sent.append((operation, user, key, body))
        same_wire = not (first.wire and told.wire) or first.wire == told.wire
        if first.raw != told.raw or not same_wire:
            raise Divergence(f"another answer again: {first.raw} and {told.raw}")

    def ask(self, operation, user, body, key):
        """Authorize, commit or cancel once, of both; return what the gate told."""
        told = getattr(self.gate, operation)(user, body, key, self.now())
        return self.check(operation, user, body, key, told)

    def check(self, operation, user, body, key, told):
        model = getattr(self.ledger, operation)(user, body, key, told.reference)
        self.agree(operation, model, told)
        self.keep(operation, user, key, body, told)
        return told

    def ask_batch(self, operation, user, items):
        named = {body.feature for body, _ in items}
        for feature in sorted(named) if len(named) > 1 else ():
            # Asked for just now, so that none of them is decided after the others.
            self.preflight(user, feature, None)
        told = getattr(self.gate, f"{operation}_batch")(user, items, self.now())
        for (body, key), each in zip(items, told, strict=True):
            self.check(operation, user, body, key, each)

    @rule(
        user=draws.users,
        feature=draws.features,
        estimate=draws.estimates,
        name=draws.names,
    )
    def authorize(self, user, feature, estimate, name):
        self.ask("authorize", user, Ask(feature, estimate, name), self.key())

    @rule(user=draws.users, feature=draws.features, estimate=draws.estimates)
    def preflight(self, user, feature, estimate):
        ask = Ask(feature, estimate)
        told = self.gate.preflight(user, ask, self.now())
        self.agree("preflight", self.ledger.preflight(user, ask), told)

    @rule(user=draws.users, data=st.data())
    def authorize_batch(self, user, data):
        asks = st.builds(Ask, draws.features, draws.estimates, draws.names)
        drawn = data.draw(st.lists(st.tuples(asks, st.booleans()), min_size=1, max_size=5))  # fmt: skip
        items = [(ask, self.key()) for ask, _ in drawn]
        items += [item for item, (_, twice) in zip(items, drawn, strict=True) if twice]
        self.ask_batch("authorize", user, items)

    def lease(self, place):
        """Return one of the latest leases, as (user, reference, feature)."""
        found = list(self.ledger.leases.items())[-12:]
        (user, reference), lease = found[place % len(found)]
        return user, reference, lease.feature

    has_leases = precondition(lambda self: self.ledger and self.ledger.leases)

    @has_leases
    @rule(place=draws.places, quantity=draws.quantities, meters=draws.meters)
    def commit(self, place, quantity, meters):
        user, reference, feature = self.lease(place)
        self.ask("commit", user, Use(reference, feature, quantity, meters), self.key())

    @rule(
        user=draws.users,
        feature=draws.features,
        estimate=draws.estimates,
        quantity=draws.quantities,
    )
    def use(self, user, feature, estimate, quantity):
        told = self.ask("authorize", user, Ask(feature, estimate), self.key())
        if told.reference:
            use = Use(told.reference, feature, quantity)
            self.ask("commit", user, use, self.key())

    @has_leases
    @rule(
        drawn=st.lists(
            st.tuples(draws.places, draws.quantities, draws.meters),
            min_size=1,
            max_size=4,
        )
    )
    def commit_batch(self, drawn):
        user, _, _ = self.lease(drawn[0][0])
        found = [(self.lease(place), *used) for place, *used in drawn]
        uses = [Use(lease, of, *used) for (whose, lease, of), *used in found if whose == user]  # fmt: skip
        self.ask_batch("commit", user, [(use, self.key()) for use in uses])

    @has_leases
    @rule(place=draws.places)
    def cancel(self, place):
        user, reference, _ = self.lease(place)
        self.ask("cancel", user, reference, None if self.driver.in_time else self.key())

    @has_leases
    @rule(place=draws.places, user=draws.users, feature=draws.features)
    def confuse(self, place, user, feature):
        """Commit somebody's lease, perhaps another's, perhaps as another feature's."""
        _, reference, _ = self.lease(place)
        self.ask("commit", user, Use(reference, feature, 1), self.key())

    # Keys again

    has_sent = precondition(lambda self: self.sent)

    @has_sent
    @rule(place=draws.places)
    def again(self, place):
        operation, user, key, body = self.sent[place % len(self.sent)]
        self.ask(operation, user, body, key)

    @has_sent
    @rule(place=draws.places)
    def again_otherwise(self, place):
        operation, user, key, body = self.sent[place % len(self.sent)]
        if operation == "authorize":
            body = Ask(body.feature, (body.estimate or 0) + 1, body.name)
        elif operation == "commit":
            body = Use(body.lease, body.feature, body.quantity + 1, body.meters)
        else:
            body = f"{body}-"
        self.ask(operation, user, body, key)

    @has_sent
    @rule(drawn=st.lists(draws.places, min_size=1, max_size=3))
    def again_in_a_batch(self, drawn):
        sent = [self.sent[place % len(self.sent)] for place in drawn]
        operation, user, _, _ = sent[0]
        items = [(body, key) for what, whose, key, body in sent if (what, whose) == (operation, user)]  # fmt: skip
        if operation != "cancel":
            self.ask_batch(operation, user, items)

    # Time

    in_time = precondition(lambda self: self.driver.in_time)

    @in_time
    @rule(seconds=st.sampled_from([1, 9, 59, 3600, 86_400]))
    def wait(self, seconds):
        self.tally["operations"] += 1
        self.ledger.now += timedelta(seconds=seconds)

    @in_time
    @rule(place=draws.places, late=st.sampled_from([timedelta(0), INSTANT, GRACE, GRACE + INSTANT]))  # fmt: skip
    def wait_for_an_expiry(self, place, late):
        ends = [
            lease.expires + late
            for lease in self.ledger.leases.values()
            if lease.state == "active" and lease.expires + late > self.ledger.now
        ]
        if ends:
            self.tally["operations"] += 1
            self.ledger.now = ends[place % len(ends)]

    @in_time
    @rule(seconds=st.sampled_from([10, 60, 3600, 86_400]), early=st.booleans())
    def wait_for_a_window(self, seconds, early):
        self.tally["operations"] += 1
        end = EPOCH + timedelta(seconds=self.ledger.window(seconds)[1])
        self.ledger.now = max(self.ledger.now, end - INSTANT if early else end)

    @in_time
    @rule()
    def expire(self):
        self.tally["operations"] += 1
        found, model = self.gate.expire(self.now()), self.ledger.expire()
        self.tally["expired by the job"] += model
        if found != model:
            raise Divergence(f"{found} leases expired, not {model}")

    # What governs

    def change(self):
        """Return an instant after all before: two versions never begin at one."""
        self.tally["operations"] += 1
        if self.driver.in_time:
            self.ledger.now += INSTANT
        return self.now()

    @rule(user=draws.users, amount=draws.amounts)
    def give(self, user, amount):
        self.stage.credit(user, amount, self.change())
        self.ledger.money[user][0] += amount

    def assign(self, account, plan, until):
        at = self.change()
        until = until and at + until
        self.stage.assign(account, plan, at, until=until)
        held = self.ledger.plans.get(account)
        self.ledger.plans[account] = PLANS[plan], held[1] if held else until

    @rule(
        account=draws.accounts,
        plan=st.sampled_from(sorted(PLANS)),
        until=st.sampled_from([None, timedelta(hours=1), timedelta(days=2)]),
        what=st.sampled_from(["assign", "assign", "pause", "end", "status", "price", "limit", "limit"]),
        place=draws.places,
        terms=draws.terms,
        limit=draws.limits,
    )  # fmt: skip
    def redefine(self, what, account, plan, until, place, terms, limit):
        self.tally[what] += 1
        if what in {"assign", "pause", "end"}:
            self.reassign(what, account, plan, until)
        elif what == "status":
            self.toggle(sorted(PEOPLE)[place % len(PEOPLE)])
        elif what == "price":
            meter = sorted(self.stage.meters)[place % len(self.stage.meters)]
            self.ledger.prices[meter] = self.stage.price(meter, terms, self.change())
        else:
            self.limit(place, limit)

    def reassign(self, what, account, plan, until):
        held, ends = self.ledger.plans.get(account) or (None, None)
        over = held is None or (ends is not None and ends <= self.ledger.now + INSTANT)
        paused = account in self.ledger.paused
        if over:
            self.stage.assignments.pop(account, None)
            self.ledger.paused.discard(account)
            self.ledger.plans[account] = None
            self.assign(account, plan, until)
        elif paused:
            self.stage.resume(account, self.change())
            self.ledger.paused.remove(account)
        elif what == "pause":
            self.stage.pause(account, self.change())
            self.ledger.paused.add(account)
        elif what == "end":
            self.stage.end(account, self.change())
            self.ledger.plans[account] = None
        elif plan != held.code:
            self.assign(account, plan, None)

    def toggle(self, user):
        was_out = user in self.ledger.disabled
        status = "active" if was_out else "disabled"
        self.stage.set_status(user, status, self.change())
        self.ledger.disabled ^= {user}

    def limit(self, place, limit):
        found = [p for code in sorted(PLANS) for p in self.ledger.bundles[code]]
        policy = found[place % len(found)]
        policy.limit = 5 if policy.kind == "rate" and limit is None else limit
        self.stage.limit(policy, self.change())

    # What must hold

    @invariant()
    def books_agree(self):
        if self.ledger is None:
            return
        model, found = expected(self.ledger), stored(self.stage)
        for what in model:
            if model[what] != found[what]:
                raise Divergence(f"{what}\n  ledger {model[what]}\n  stored {found[what]}")  # fmt: skip

    def teardown(self):
        """Leave no lease for the expiry of the next machine to find."""
        if self.ledger is not None:
            abandon(self.stage.realm, self.ledger.now)


class ApiMachine(Machine):
    """By the API, through the whole stack, at the real time."""

    driver = Api
