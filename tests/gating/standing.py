"""What is in force, and what stands on the counters: the ledger's way to look things up."""

from collections import defaultdict
from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Standing:
    """All that changes. `people` maps users to accounts, `features` codes to meters."""

    def __init__(self, now, people, features, open_to_all):
        self.now, self.people = now, people
        self.features, self.open_to_all = features, open_to_all
        self.bundles, self.prices = {}, {}
        self.plans = {}  # account: (plan, until)
        self.paused, self.disabled = set(), set()
        self.counters = defaultdict(lambda: [0, 0])  # used, held
        self.money = {user: [0, 0, 0] for user in people}  # granted, spent, held
        self.owed = dict.fromkeys(people, 0)  # no job pays it from what is given later
        self.seats = defaultdict(set)
        self.leases, self.ratings = {}, {}
        self.carried = {}
        self.kept = {}  # (operation, user, key): (body, answer)

    def plan_of(self, user):
        account = self.people[user]
        plan, until = self.plans.get(account) or (None, None)
        over = until is not None and until <= self.now
        return None if over or account in self.paused else plan

    def mode_of(self, user):
        plan = self.plan_of(user)
        return plan.mode if plan else "prepaid"

    def governing(self, user, feature, kind=None):
        plan = self.plan_of(user)
        policies = self.bundles[plan.code if plan else "default"]
        named = {(p.kind, p.scope) for p in policies if p.feature == feature}
        found = [
            policy
            for policy in policies
            if policy.feature == feature
            or (policy.feature == "*" and (policy.kind, policy.scope) not in named)
        ]
        return sorted(
            (p for p in found if kind in {None, p.kind}), key=lambda p: p.rank
        )

    def window(self, seconds):
        number = (self.now - EPOCH) // timedelta(seconds=seconds)
        return number * seconds, (number + 1) * seconds

    def counter(self, policy, user, feature):
        whose = user if policy.scope == "user" else self.people[user]
        name = policy.kind, policy.scope, whose, feature, policy.key
        return (*name, *self.window(policy.seconds))

    def room(self, policy, user, feature):
        return policy.most - sum(self.counters[self.counter(policy, user, feature)])

    def sitting(self, policy, user):
        window = self.window(policy.seconds) if policy.seconds else (0, None)
        return self.seats[self.people[user], policy.feature, policy.key, *window]

    def prices_of(self, feature):
        own = self.features[feature]
        return {meter: self.prices[meter] for meter in own if meter in self.prices}

    def is_free(self, feature):
        prices = self.prices_of(feature).values()
        return not any(price.price or price.cost for price in prices)

    def left(self, user):
        granted, spent, held = self.money[user]
        return granted - spent - held

    def available(self, user):
        """What new work is admitted by: what is left beyond what is owed."""
        return max(0, self.left(user) - self.owed[user])
