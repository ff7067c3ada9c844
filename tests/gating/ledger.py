"""The gate as a bookkeeper would keep it: quotas, rates, seats, balances, leases.

A second, naive account of docs/gate.md for the stateful test. It knows nothing of the
product: it imports none of it, and takes no verdict, price or settlement from it.
"""

from copy import deepcopy
from datetime import timedelta

from tests.gating.standing import EPOCH, Standing
from tests.gating.tariff import GRACE, flaws, rated, unpriced
from tests.gating.terms import (
    DISABLED,
    ENDLESS,
    OTHER,
    REUSED,
    REUSED_BY_A_STORED_ANSWER,
    TAKEN,
    UNKNOWN,
    Lease,
    denied,
    money_short,
    room_left,
)

TTL, SECOND = timedelta(hours=12), timedelta(seconds=1)


class Ledger(Standing):
    """What is asked of the gate, done and answered."""

    def again(self, operation, user, key, body):
        first, answer = self.kept[operation, user, key]
        return answer | {"again": True} if first == body else REUSED

    # Authorize

    def authorize(self, user, ask, key, reference):
        """Answer as the gate must; what is admitted is held under `reference`."""
        if ("authorize", user, key) in self.kept and user not in self.disabled:
            return self.again("authorize", user, key, ask)
        if (user, ask.name) in self.leases and ask.feature in self.features:
            return TAKEN if user not in self.disabled else DISABLED
        refusal = self.refusal(user, ask)
        if refusal is not None:
            return refusal
        answer = self.admission(user, ask)
        self.take(user, ask, reference)
        self.kept["authorize", user, key] = ask, answer
        return answer

    def preflight(self, user, ask):
        """Answer as authorize would, and change nothing."""
        overdue = any(map(self.is_overdue, self.leases.values()))
        ledger = deepcopy(self) if overdue else self
        answer = ledger.refusal(user, ask) or ledger.admission(user, ask)
        return {name: answer[name] for name in answer if name != "expires"}

    def refusal(self, user, ask):
        """Return why the user may not, whatever the key; what is overdue expires first."""
        if user in self.disabled:
            return DISABLED
        if ask.feature not in self.features:
            return denied(422, "RESOURCE.NOT_FOUND", "feature_not_found")
        self.expire(self.people[user])
        return self.denial(user, ask)

    def denial(self, user, ask):
        feature, plan = ask.feature, self.plan_of(user)
        if feature not in self.open_to_all | set(plan.features if plan else ()):
            return denied(403, "ENTITLEMENT.REQUIRED", "entitlement_required")
        if not self.governing(user, feature):
            return denied(422, "RESOURCE.NOT_FOUND", "policy_not_found")
        if not self.governing(user, feature, "quota"):
            return denied(500, "SERVER.CONFIG", "quota_missing")
        return (
            self.no_seat(user, feature)
            or self.no_quota(user, ask)
            or self.no_rate(user, feature)
            or self.no_money(user, ask)
        )

    def no_seat(self, user, feature):
        for policy in self.governing(user, feature, "seats"):
            taken = self.sitting(policy, user)
            if user not in taken and len(taken - self.disabled) >= policy.most:
                return denied(403, "SEAT.CAPACITY_EXCEEDED", "seats_taken")
        return None

    def no_quota(self, user, ask):
        quotas = self.governing(user, ask.feature, "quota")
        rooms = {policy.name: self.room(policy, user, ask.feature) for policy in quotas}
        wants = {p.name: max(ask.quantity, 1) if p.reserves else 1 for p in quotas}
        if all(rooms[name] >= wants[name] for name in rooms):
            return None
        hint = room_left(min(rooms.values()))
        return denied(402, "QUOTA.EXHAUSTED", "quota_exhausted", hint)

    def no_rate(self, user, feature):
        for policy in self.governing(user, feature, "rate"):
            if self.room(policy, user, feature) < 1:
                hint = self.rate_hint(policy, 0)
                return denied(429, "LIMIT.RATE_EXCEEDED", "rate_exceeded", hint)
        return None

    def no_money(self, user, ask):
        if self.mode_of(user) != "prepaid" or self.is_free(ask.feature):
            return None
        needed = self.hold(user, ask)[1]
        if self.available(user) >= max(needed, 1):
            return None
        price = self.prices.get(ask.feature)
        unit = needed or (price.at_most(1) if price else 0)
        hint = money_short(max(unit, 1) - self.available(user))
        return denied(402, "FUNDING.EXHAUSTED", "funding_exhausted", hint)

    def rate_hint(self, policy, left):
        until = EPOCH + timedelta(seconds=self.window(policy.seconds)[1])
        seconds = -(-(until - self.now) // SECOND)
        told = {"seconds": seconds, "remaining": max(0, left), "until": until}
        return {"type": "rate.limit", **told}

    def admission(self, user, ask):
        hints = []
        for policy in self.governing(user, ask.feature, "rate"):
            left = self.room(policy, user, ask.feature) - 1
            hints += [self.rate_hint(policy, left)] if left <= 3 else []
        tightest = self.governing(user, ask.feature, "quota")[0]
        return {
            "o": "admitted",
            "again": False,
            "window": self.window(tightest.seconds),
            "expires": self.now + TTL,
            "hints": hints + (self.advice(user, ask) if ask.estimate else []),
        }

    def advice(self, user, ask):
        feature, price, hints = ask.feature, self.prices.get(ask.feature), []
        missing = [
            meter for meter in self.features[feature] if meter not in self.prices
        ]
        if missing:
            hints.append(unpriced(feature, missing))
        quotas = self.governing(user, feature, "quota")
        least = min(self.room(policy, user, feature) for policy in quotas)
        if self.mode_of(user) == "prepaid" and price and price.price:
            affordable = price.affordable(self.available(user))
            if affordable < ask.estimate:
                least = min(least, affordable)
                short = price.at_most(ask.estimate) - self.available(user)
                hints.append(money_short(short))
        return hints + ([room_left(least)] if least < ask.estimate else [])

    def hold(self, user, ask):
        """Return the quantity and the money that an admission holds."""
        if not any(p.reserves for p in self.governing(user, ask.feature, "quota")):
            return 0, 0
        price = self.prices.get(ask.feature)
        if self.mode_of(user) != "prepaid" or price is None:
            return ask.quantity, 0
        return ask.quantity, price.at_most(ask.quantity)

    def take(self, user, ask, reference):
        feature, quotas = ask.feature, {}
        held, held_xusd = self.hold(user, ask)
        for policy in self.governing(user, feature, "seats"):
            self.sitting(policy, user).add(user)
        rates = self.governing(user, feature, "rate")
        for key in {self.counter(policy, user, feature) for policy in rates}:
            self.counters[key][0] += 1
        for policy in self.governing(user, feature, "quota"):
            key = self.counter(policy, user, feature)
            most, holds = quotas.get(key, (ENDLESS, False))
            quotas[key] = min(most, policy.most), holds or policy.reserves
        for key, (_, holds) in quotas.items():
            self.counters[key][1] += held if holds else 0
        self.money[user][2] += held_xusd
        whose = self.mode_of(user), self.is_free(feature)
        self.leases[user, reference] = Lease(
            feature, self.now + TTL, held, held_xusd, quotas, *whose
        )

    # The ends of a lease

    def is_overdue(self, lease):
        return lease.state == "active" and self.now > lease.expires + GRACE

    def expire(self, account=None):
        """Give back what overdue leases hold, an account's or all; return how many."""
        overdue = [
            (user, lease)
            for (user, _), lease in self.leases.items()
            if account in {None, self.people[user]} and self.is_overdue(lease)
        ]
        for user, lease in overdue:
            self.end(user, lease, "expired")
        return len(overdue)

    def end(self, user, lease, state):
        lease.state = state
        for key, (_, holds) in lease.counters.items():
            self.counters[key][1] -= lease.held if holds else 0
        self.money[user][2] -= lease.held_xusd

    def cancel(self, user, reference, key, _):
        if ("cancel", user, key) in self.kept:
            again = self.again("cancel", user, key, reference)
            return again if again is not REUSED else REUSED_BY_A_STORED_ANSWER
        if user in self.disabled:
            return DISABLED
        lease = self.leases.get((user, reference))
        if lease is None:
            return UNKNOWN
        if self.is_overdue(lease):
            self.end(user, lease, "expired")
        ends = lease.state == "active"
        answer = {"o": "canceled", "again": False, "canceled": ends}
        answer["released"] = lease.held if ends else 0
        if ends:
            self.end(user, lease, "canceled")
        if key is not None:
            self.kept["cancel", user, key] = reference, answer
        return answer

    # Commit

    def commit(self, user, use, key, reference):
        """Answer as the gate must; what is rated stands under `reference`."""
        if user in self.disabled:
            return DISABLED
        if ("commit", user, key) in self.kept:
            return self.again("commit", user, key, use)
        lease = self.leases.get((user, use.lease))
        if lease is None:
            return UNKNOWN
        if lease.feature != use.feature:
            return OTHER
        if self.is_overdue(lease):
            self.end(user, lease, "expired")
        uses = use.meters or ((use.feature, use.quantity),)
        own, now = self.prices_of(use.feature), self.now
        lines, carried = rated(user, uses, own, self.carried)
        due, cost = sum(x.amount for x in lines), sum(x.cost for x in lines)
        meters = self.features[use.feature]
        reasons, hints, bad = flaws(lease, use.feature, meters, own, uses, now)
        if bad:
            status, fits, amount, funded, paid_cost = "quarantined", 0, 0, 0, 0
            if lease.state == "active":
                self.end(user, lease, "closed")
        else:
            self.carried, paid_cost = carried, cost
            fits, amount, funded = self.settle(user, lease, use.quantity, due)
            hints += [room_left(fits)] if fits < use.quantity else []
            hints += [money_short(due - amount)] if amount < due else []
            clipped = fits < use.quantity or amount < due
            status = "applied_clipped" if clipped else "applied"
            reasons += ["overshoot"] if clipped else []
            reasons += ["cash_funding_applied"] if funded < amount else []
        answer = {"o": "committed", "again": False, "status": status, "lines": lines}
        answer |= {"reasons": reasons, "hints": hints}
        answer |= {"amount": amount, "cost": paid_cost}
        whole = use.quantity, due, cost, status
        self.ratings[reference] = (*whole, fits, amount, paid_cost, funded)
        self.kept["commit", user, key] = use, answer
        return answer

    def settle(self, user, lease, quantity, due):
        """Count and pay; return the quantity that fits, what is owed, what was paid."""
        self.end(user, lease, "closed")
        fits = quantity
        for key, (most, holds) in lease.counters.items():
            own = lease.held if holds else 0
            room = own + max(0, most - sum(self.counters[key]) - own)
            self.counters[key][0] += min(quantity, room)
            fits = min(fits, room)
        amount = due
        if lease.mode == "prepaid":
            amount = min(due * fits // quantity, self.left(user))
        funded = min(amount, self.left(user))
        self.money[user][1] += funded
        self.owed[user] += amount - funded
        return fits, amount, funded
