"""The gate once more, in memory, out of its specification alone.

What `gating.decide`, `gating.settle` and `gating.pricing` say, applied item by item to
dictionaries. The functions in the database must answer, and leave behind, the same.
"""

import hashlib
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from config.kernel.errors import Invalid
from config.kernel.windows import format_instant
from gating.decide import decide
from gating.facts import Ask, BudgetFact, least_limits
from gating.pricing import aggregate, price_meter, rate_identity
from gating.projection import counter_of, seats_window
from gating.rules import Rules, Seen, facts_of
from gating.settle import CommitFacts, HeldWindow, settle


@dataclass(frozen=True)
class Person:
    """A user as the functions are asked about them."""

    principal: str
    name: str
    account_id: UUID
    user_id: UUID
    active: bool


@dataclass
class TwinLease:
    """What is kept of an admission."""

    row: dict[str, Any]
    hash: str
    seen: Seen
    rules: Rules
    quotas: dict[UUID, tuple[int | None, bool]]


def counter_id(key, account_id, seconds):
    """Return the id of a counter: a hash of what it counts."""
    number = int(key.window_start.timestamp()) // seconds
    text = f"{account_id}|{key.scope}|{key.subject_id}|{key.feature_code}|{key.kind}|{seconds}|{number}|{key.key}"
    return UUID(hashlib.md5(text.encode()).hexdigest())


@dataclass
class Twin:
    """All that changes, and the two operations."""

    ttl: Any
    grace: Any
    strict: bool
    rules: dict[tuple[UUID, str], Rules]
    counters: dict[UUID, list[int]] = field(default_factory=dict)
    money: dict[UUID, list[int]] = field(default_factory=dict)
    budgets: dict[tuple[UUID, str], BudgetFact] = field(default_factory=dict)
    seats: dict[tuple, set[UUID]] = field(default_factory=lambda: defaultdict(set))
    inactive: set[UUID] = field(default_factory=set)
    leases: dict[tuple[UUID, str], TwinLease] = field(default_factory=dict)
    ratings: dict[tuple[UUID, str], tuple[str, dict]] = field(default_factory=dict)
    carried: dict[tuple[UUID, str], int] = field(default_factory=dict)
    stored: dict[str, dict] = field(default_factory=dict)

    # What is seen

    def available(self, user_id):
        granted, spent, reserved = self.money.get(user_id, (0, 0, 0))
        return granted - spent - reserved

    def overdue(self, account_id, at):
        return [
            lease
            for lease in self.leases.values()
            if lease.row["account_id"] == account_id
            and lease.row["state"] == "active"
            and lease.row["expires_at"] < at - self.grace
        ]

    def budget(self, person, ask, released=()):
        """The budget named, with what the released leases hold given back."""
        budget = self.budgets.get((person.user_id, ask.budget))
        if budget is None:
            return None
        back = sum(
            lease.row["reserved_xusd"]
            for lease in released
            if lease.row["budget_id"] == budget.budget_id
        )
        return replace(budget, reserved_xusd=budget.reserved_xusd - back)

    def moved(self, row, *, reserved=0, consumed=0):
        """Change what the budget of a lease holds and has consumed."""
        if row["budget_id"] is None:
            return
        name = (row["user_id"], row["budget"])
        budget = self.budgets[name]
        self.budgets[name] = replace(
            budget,
            reserved_xusd=budget.reserved_xusd + reserved,
            consumed_xusd=budget.consumed_xusd + consumed,
        )

    def seen(self, person, ask, rules, at, released=()):
        pairs = []
        for policy in rules.policies:
            if policy.kind == "seats":
                taken = self.seats.get(self.seats_key(person, policy, at), set())
                pairs.append((len(taken - self.inactive), int(person.user_id in taken)))
                continue
            used, reserved = self.counters.get(
                self.counter(person, rules, policy, at), (0, 0)
            )
            name = self.counter(person, rules, policy, at)
            back = sum(
                lease.row["reserved_minor"]
                for lease in released
                if name in lease.row["counter_ids"]
            )
            pairs.append((used, reserved - back))
        available = 0
        if rules.billing_mode == "prepaid" and not rules.zero_cost:
            available = self.available(person.user_id) + sum(
                lease.row["reserved_xusd"]
                for lease in released
                if lease.row["user_id"] == person.user_id
            )
        return Seen(tuple(pairs), available, self.budget(person, ask, released))

    def counter(self, person, rules, policy, at):
        key = counter_of(
            policy,
            feature_code=rules.feature.feature_code,
            account_id=person.account_id,
            user_id=person.user_id,
            at=at,
        )
        return counter_id(key, person.account_id, policy.window_seconds)

    def seats_key(self, person, policy, at):
        start, end = seats_window(policy, at)
        return (
            person.account_id,
            policy.feature_code,
            policy.counter_key,
            start,
            end,
        )

    # Authorize and preflight

    def preflight(self, person, ask, at):
        rules = self.rules[person.user_id, ask.feature_code]
        seen = self.seen(person, ask, rules, at, self.overdue(person.account_id, at))
        return self.told(person, ask, rules, seen, at)[0]

    def told(self, person, ask, rules, seen, at):
        facts = facts_of(
            rules, seen, account_id=person.account_id, user_id=person.user_id, at=at
        )
        verdict = decide(ask, facts)
        return {
            "o": "admitted" if verdict.allowed else "denied",
            "reason": verdict.denial.reason if verdict.denial else None,
            "account": str(person.account_id),
            "user": str(person.user_id),
            "first": [a for a, _ in seen.pairs],
            "second": [b for _, b in seen.pairs],
            "available": seen.available_xusd,
            "budget": seen.budget,
        }, (facts, verdict)

    def authorize(self, person, ask, item, at, swept):
        rules = self.rules[person.user_id, ask.feature_code]
        known = next(
            (
                lease
                for lease in self.leases.values()
                if lease.row["user_id"] == person.user_id
                and lease.row["idempotency_key"] == item["key"]
            ),
            None,
        )
        if known is not None:
            return self.again(known, item)
        if item["lease"] and (person.user_id, item["lease"]) in self.leases:
            return {"o": "lease_taken"}
        if person.account_id not in swept:
            swept.add(person.account_id)
            for lease in self.overdue(person.account_id, at):
                self.end(lease, "expired", at)
        seen = self.seen(person, ask, rules, at)
        answer, (facts, verdict) = self.told(person, ask, rules, seen, at)
        if verdict.allowed:
            self.take(person, ask, item, rules, seen, facts, verdict, at)
        return answer

    def again(self, known, item):
        if known.hash != item["hash"]:
            return {"o": "key_reused"}
        return {
            "o": "replayed",
            "lease": known.row["lease"],
            "first": [a for a, _ in known.seen.pairs],
            "second": [b for _, b in known.seen.pairs],
            "available": known.seen.available_xusd,
            "budget": known.seen.budget,
        }

    def take(self, person, ask, item, rules, seen, facts, verdict, at):
        ids = {
            window.counter: self.counter(person, rules, policy, at)
            for policy, window in zip(
                [p for p in rules.policies if p.kind != "seats"],
                [*facts.quotas, *facts.rates],
                strict=True,
            )
        }
        for name in ids.values():
            self.counters.setdefault(name, [0, 0])
        for hold in verdict.holds:
            self.counters[ids[hold.counter]][1] += hold.quantity_minor
        for hold in verdict.increments:
            self.counters[ids[hold.counter]][0] += hold.quantity_minor
        for seats in verdict.seats:
            self.seats[
                person.account_id,
                seats.scope_code,
                seats.key,
                seats.window_start,
                seats.window_end,
            ].add(person.user_id)
        if verdict.wallet_xusd:
            self.money[person.user_id][2] += verdict.wallet_xusd
        held = {hold.counter for hold in verdict.holds}
        reference = item["lease"] or f"lease.{item['id']}"
        row = {
            "id": item["id"],
            "account_id": person.account_id,
            "user_id": person.user_id,
            "lease": reference,
            "feature_code": ask.feature_code,
            "feature_family_code": rules.feature.feature_family_code,
            "state": "active",
            "billing_mode": rules.billing_mode,
            "policy_id": verdict.window.policy_id,
            "window_start": verdict.window.counter.window_start,
            "window_end": verdict.window.counter.window_end,
            "estimate_minor": ask.estimate_minor,
            "cap_minor": verdict.cap_minor,
            "counter_ids": {ids[key] for key in held},
            "reserved_minor": max(
                (hold.quantity_minor for hold in verdict.holds), default=0
            ),
            "reserved_xusd": verdict.wallet_xusd,
            "zero_cost": rules.zero_cost,
            "authorized_at": at,
            "expires_at": at + self.ttl,
            "ended_at": None,
            "idempotency_key": item["key"],
            "available_xusd": seen.available_xusd,
            "rating_id": None,
            "budget": ask.budget,
            "budget_id": seen.budget and seen.budget.budget_id,
        }
        self.moved(row, reserved=verdict.wallet_xusd)
        quotas = {
            ids[key]: (limit, key in held)
            for key, limit in least_limits(facts.quotas).items()
        }
        self.leases[person.user_id, reference] = TwinLease(
            row, item["hash"], seen, rules, quotas
        )

    def end(self, lease, state, at):
        lease.row |= {"state": state, "ended_at": at}
        for name in lease.row["counter_ids"]:
            self.counters[name][1] -= lease.row["reserved_minor"]
        if lease.row["reserved_xusd"]:
            self.money[lease.row["user_id"]][2] -= lease.row["reserved_xusd"]
            self.moved(lease.row, reserved=-lease.row["reserved_xusd"])

    # Commit

    def commit(self, person, item, at):
        rules = self.rules[person.user_id, item["feature"]]
        known = self.ratings.get((person.user_id, item["key"]))
        if known is not None:
            same = known[0] == item["hash"]
            return {"o": "replayed" if same else "key_reused"}
        lease = self.leases.get((person.user_id, item["lease"]))
        if lease is None:
            return {"o": "lease_unknown"}
        if lease.row["feature_code"] != item["feature"]:
            return {"o": "other_feature", "feature": lease.row["feature_code"]}
        overdue = at > lease.row["expires_at"] + self.grace
        if lease.row["state"] == "active" and overdue:
            self.end(lease, "expired", at)
        carried = dict(self.carried)
        try:
            lines = self.rated(person, item, rules, at, carried)
            total = aggregate(lines)
        except Invalid as refusal:
            return {"o": "overflow", "field": refusal.field}
        foreign = self.listed(item, lambda code: code not in rules.units)
        if self.strict and foreign:
            return {"o": "meter_not_allowed", "meters": foreign}
        unpriced = self.listed(
            item, lambda code: code in rules.units and code not in rules.rates
        )
        return self.settled(
            person, item, lease, lines, total, carried, foreign, unpriced, at
        )

    def listed(self, item, which):
        return list(
            dict.fromkeys(use["meter"] for use in item["uses"] if which(use["meter"]))
        )

    def rated(self, person, item, rules, at, carried):
        lines = []
        for use in item["uses"]:
            rate = rules.rates.get(use["meter"])
            keys = (
                [
                    (person.user_id, rate_identity(rate, side))
                    for side in ("revenue", "cost")
                ]
                if rate
                else []
            )
            line = price_meter(
                rate,
                use["quantity"],
                *([carried.get(key, 0) for key in keys] or [0, 0]),
                at,
                item["feature"],
                meter_code=use["meter"],
                unit=rules.units.get(use["meter"]) or use["unit"] or "unit",
            )
            for key, side in zip(keys, [line.revenue, line.cost], strict=False):
                carried[key] = side.next_remainder_numer
            lines.append(line)
        return lines

    def settled(
        self, person, item, lease, lines, total, carried, foreign, unpriced, at
    ):
        row, money = lease.row, self.money.get(person.user_id, [0, 0, 0])
        pays = row["state"] == "active" and (row["reserved_xusd"] or total.amount_xusd)
        facts = CommitFacts(
            at=at,
            feature_code=item["feature"],
            lease_state=row["state"],
            expires_at=row["expires_at"],
            grace=self.grace,
            windows=[
                HeldWindow(
                    name,
                    limit,
                    row["reserved_minor"] if held else 0,
                    *self.counters[name],
                )
                for name, (limit, held) in lease.quotas.items()
            ],
            billing_mode=row["billing_mode"],
            held_xusd=row["reserved_xusd"],
            available_xusd=self.available(person.user_id) if pays else 0,
            quantity_minor=item["quantity"],
            amount_xusd=total.amount_xusd,
            cost_xusd=total.cost_xusd,
            unpriced=unpriced,
            not_allowed=foreign,
            zero_cost=row["zero_cost"],
            budget=self.budgets.get((row["user_id"], row["budget"])),
        )
        settlement = settle(facts)
        funded = 0
        for take in settlement.takes:
            counter = self.counters[take.counter_id]
            counter[0] += take.quantity_minor
            counter[1] -= take.held_minor
        if pays:
            held = row["reserved_xusd"]
            funded = min(settlement.amount_xusd, self.available(person.user_id) + held)
            money[2] -= held
            money[1] += funded
        if row["state"] == "active":
            self.moved(
                row, reserved=-row["reserved_xusd"], consumed=settlement.budget_xusd
            )
            row |= {"state": "closed", "ended_at": at, "rating_id": item["id"]}
        reasons = list(settlement.reasons)
        if funded < settlement.amount_xusd:
            reasons.append("cash_funding_applied")
        if settlement.status != "quarantined":
            self.carried = {
                key: value
                for key, value in carried.items()
                if value or key in self.carried
            }
        answer = {
            "o": "committed",
            "feature": item["feature"],
            "mode": row["billing_mode"],
            "status": settlement.status,
            "reasons": reasons,
            "quantity": settlement.quantity_minor,
            "amount": settlement.amount_xusd,
            "cost": settlement.cost_xusd,
            "funded": funded,
            "numbers": [number for line in lines for number in numbers_of(line)],
            "evidence": evidence_of(facts),
        }
        self.ratings[person.user_id, item["key"]] = (item["hash"], answer)
        self.stored[item["id"]] = answer | {
            "lines": [(line.meter_code, line.unit, line.status) for line in lines],
            "late": settlement.late,
            "budget_id": row["budget_id"],
        }
        return answer


def numbers_of(line):
    revenue, cost = line.revenue, line.cost
    return [
        revenue.amount_xusd,
        cost.amount_xusd,
        revenue.previous_remainder_numer,
        revenue.next_remainder_numer,
        cost.previous_remainder_numer,
        cost.next_remainder_numer,
    ]


def evidence_of(facts):
    """Return a settlement's facts as the function keeps them."""
    named = ("limit_xusd", "consumed_xusd", "reserved_xusd")
    budget = facts.budget and {
        "budget_id": str(facts.budget.budget_id),
        **{name: getattr(facts.budget, name) for name in named},
    }
    return ({"budget": budget} if budget else {}) | {
        "state": facts.lease_state,
        "expires_at": format_instant(facts.expires_at),
        "grace_seconds": int(facts.grace.total_seconds()),
        "windows": sorted(
            [str(w.counter_id), w.limit, w.held_minor, w.used_minor, w.reserved_minor]
            for w in facts.windows
        ),
        "held_xusd": facts.held_xusd,
        "available_xusd": facts.available_xusd,
        "unpriced": list(facts.unpriced),
        "not_allowed": list(facts.not_allowed),
        "zero_cost": facts.zero_cost,
    }


def ask_of(item):
    return Ask(
        item["feature"],
        feature_family_code=item["family"],
        estimate_minor=item["estimate"],
        budget=item["budget"],
    )
