"""A second opinion on plan assignments: recorded facts in a list, searched by hand.

Written from the rules, not from the code under test: nothing is indexed, cached or
updated in place. Instants are small integers. `Naive` is right; each of `MUTANTS` gets
one rule wrong, to prove that the comparison would notice.
"""

from dataclasses import dataclass, replace
from math import inf

ACCOUNT = "account"
MADE = 0
"""When the plans were made."""


@dataclass(frozen=True)
class Row:
    """An assignment's identity; `key` is what the system sorts ids by."""

    key: object
    subject: object
    plan: int
    ref: str


@dataclass(frozen=True)
class Fact:
    """Something said about a row (an index) or plan at `recorded`, for good.

    `kind` is window, status, tag or plan; only a status has an `effective` instant.
    """

    kind: str
    about: int
    recorded: float
    value: object
    effective: float = -inf


@dataclass(frozen=True)
class Operation:
    """One verb with its arguments; None where a verb has no such argument."""

    verb: str
    at: int
    effective: int
    row: int | None = None
    subject: object = None
    plan: int | None = None
    ref: str | None = None
    start: int | None = None
    end: int | None = None
    status: str | None = None
    tag: int | None = None
    given: tuple = ()


class Refusal(Exception):
    """The verb says no: a code and the field at fault."""


class Naive:
    """The rules of assignments, in the order in which a person would check them."""

    def __init__(self, plans):
        self.rows = []
        self.kinds = [kind for kind, _priority in plans]
        self.rules = [[] for _plan in plans]
        self.facts = [
            Fact("plan", number, 0, (True, priority))
            for number, (_kind, priority) in enumerate(plans)
        ]

    # What is said

    def perform(self, operation, key):
        """Apply an operation; return what it answers or ("refused", code, field)."""
        try:
            return getattr(self, operation.verb)(operation, key)
        except Refusal as refusal:
            return ("refused", *refusal.args)

    def assign(self, op, key):
        check_window(op.start, op.end)
        found = self.find(op.subject, op.plan, op.ref)
        if found is None:
            self.create(op, key, (op.start, op.end), op.status, op.tag)
            return "created"
        said = {
            "window": self.merge(self.now(found, "window"), (op.start, op.end)),
            "status": op.status,
            "tag": op.tag,
        }
        return "merged" if self.say(found, said, op) else "unchanged"

    def merge(self, old, new):
        start = min(old[0], new[0])
        if new[1] is None or old[1] is None:
            return start, old[1] if new[1] is None else new[1]
        return start, max(old[1], new[1])

    def change(self, op, key):
        start, end = self.now(op.row, "window")
        window = (
            op.start if "start" in op.given else start,
            op.end if "end" in op.given else end,
        )
        check_window(*window)
        said = {"window": window}
        if "status" in op.given:
            said["status"] = op.status
        if "tag" in op.given:
            said["tag"] = op.tag
        self.say(op.row, said, op)
        return "done"

    def extend(self, op, key):
        start, end = self.now(op.row, "window")
        if end is None or (op.end is not None and op.end <= end):
            raise Refusal("ASSIGNMENT.NOT_AN_EXTENSION", "window_end")
        self.say(op.row, {"window": (start, op.end)}, op)
        return "done"

    def end(self, op, key):
        start, end = self.now(op.row, "window")
        if op.end == end:
            raise Refusal("ASSIGNMENT.ALREADY_DONE", "end_at")
        if op.end <= start or (end is not None and op.end > end):
            raise Refusal("ASSIGNMENT.OUTSIDE_WINDOW", "end_at")
        self.say(op.row, {"window": (start, op.end)}, op)
        return "done"

    def pause(self, op, key):
        return self.move(op, "paused", {"active"})

    def resume(self, op, key):
        return self.move(op, "active", {"paused"})

    def cancel(self, op, key):
        return self.move(op, "canceled", {"active", "paused", "expired"})

    def move(self, op, status, allowed):
        if self.now(op.row, "status") not in allowed:
            raise Refusal("ASSIGNMENT.ALREADY_DONE", "status")
        self.say(op.row, {"status": status}, op)
        return "done"

    def upgrade(self, op, key):
        return self.switch(op, key, wrong=lambda old, new: new < old)

    def downgrade(self, op, key):
        return self.switch(op, key, wrong=lambda old, new: new > old)

    def switch(self, op, key, wrong):
        row = self.rows[op.row]
        active, priority = self.plan_now(op.plan)
        if self.now(op.row, "status") != "active":
            raise Refusal("ASSIGNMENT.NOT_ACTIVE", "status")
        if not active:
            raise Refusal("ASSIGNMENT.NOT_ACTIVE", "plan_id")
        if self.kinds[op.plan] != self.kinds[row.plan]:
            raise Refusal("ASSIGNMENT.OTHER_KIND", "plan_id")
        if op.plan == row.plan or wrong(self.plan_now(row.plan)[1], priority):
            raise Refusal("ASSIGNMENT.WRONG_DIRECTION", "plan_id")
        start, end = self.now(op.row, "window")
        if not (start < op.start and (end is None or op.start < end)):
            raise Refusal("ASSIGNMENT.OUTSIDE_WINDOW", "switch_at")
        if self.find(row.subject, op.plan, op.ref) is not None:
            raise Refusal("ASSIGNMENT.SOURCE_REF_TAKEN", "source_ref")
        self.say(op.row, {"window": (start, op.start)}, op)
        made = replace(op, subject=row.subject)
        self.create(made, key, (op.start, end), "active", None)
        return "created"

    def edit_plan(self, op, key):
        active, priority = self.plan_now(op.plan)
        said = (
            op.status == "active" if "status" in op.given else active,
            op.tag if "tag" in op.given else priority,
        )
        if op.effective > op.at:
            raise Refusal("AUDIT.EFFECTIVE_IN_FUTURE", "audit.effective_at")
        if said != (active, priority):
            recorded = self.moment(op.at, "plan", op.plan)
            self.facts.append(Fact("plan", op.plan, recorded, said))
        return "done"

    def edit_rules(self, op, key):
        """Let the plan's only rule on the one feature be this; None is no rule."""
        if op.effective > op.at:
            raise Refusal("AUDIT.EFFECTIVE_IN_FUTURE", "audit.effective_at")
        standing = [rule for rule in self.rules[op.plan] if rule[-1][1] is not None]
        if not standing:
            if op.status is not None:
                self.rules[op.plan].append([(op.at, op.status)])
        elif standing[0][-1][1] != op.status:
            recorded = max(op.at, standing[0][-1][0])
            standing[0].append((recorded, op.status))
        return "done"

    def create(self, op, key, window, status, tag):
        number = len(self.rows)
        self.rows.append(Row(key, op.subject, op.plan, op.ref))
        self.facts += [
            Fact("window", number, op.at, window),
            Fact("status", number, op.at, status, effective=window[0]),
            Fact("tag", number, op.at, tag),
        ]

    def say(self, number, said, op):
        """Record what differs from what was said last; return whether anything did."""
        changes = {k: v for k, v in said.items() if self.now(number, k) != v}
        if "status" in changes and op.effective > op.at:
            raise Refusal("ASSIGNMENT.STATUS_IN_FUTURE", "audit.effective_at")
        start = (said.get("window") or self.now(number, "window"))[0]
        if "tag" in changes and op.effective > max(op.at, start):
            raise Refusal("AUDIT.EFFECTIVE_IN_FUTURE", "audit.effective_at")
        recorded = self.moment(op.at, "row", number)
        for kind, value in changes.items():
            effective = op.effective if kind == "status" else -inf
            self.facts.append(Fact(kind, number, recorded, value, effective))
        return bool(changes)

    def moment(self, at, what, number):
        """Return when this is recorded: never before what was said of it earlier."""
        return max(
            at,
            *(
                fact.recorded
                for fact in self.facts
                if fact.about == number and (fact.kind == "plan") == (what == "plan")
            ),
        )

    # What is known

    def find(self, subject, plan, ref):
        same = [
            number
            for number, row in enumerate(self.rows)
            if (row.subject, row.plan, row.ref) == (subject, plan, ref)
        ]
        return same[0] if same else None

    def about(self, kind, number, known=inf):
        return [
            fact
            for fact in self.facts
            if (fact.kind, fact.about) == (kind, number) and fact.recorded <= known
        ]

    def now(self, number, kind):
        return self.about(kind, number)[-1].value

    def plan_now(self, plan):
        return self.about("plan", plan)[-1].value

    def status(self, number, at, known):
        given = self.about("status", number, known)
        effective = [fact for fact in given if fact.effective <= at]
        return (effective[-1] if effective else given[0]).value

    def plan_at(self, plan, at, known):
        known_then = self.about("plan", plan, min(at, known))
        return (known_then or self.about("plan", plan)[:1])[-1].value

    def horizon(self, at, known, present):
        """Return up to when records count: all of them for the present and future."""
        if at >= present and (known is None or known >= present):
            return inf
        return present if known is None else known

    def read(self, viewer, at, known, present):
        """Return every governing row with its facts, and the order of the effective."""
        limit = self.horizon(at, known, present)
        facts = {}
        for number, row in enumerate(self.rows):
            if row.subject not in (ACCOUNT, viewer) or not self.about(
                "window", number, limit
            ):
                continue
            window = self.about("window", number, limit)[-1].value
            active, priority = self.plan_at(
                row.plan, inf if limit == inf else at, limit
            )
            facts[number] = (
                self.status(number, at, limit),
                window,
                self.about("tag", number, limit)[-1].value,
                active,
                priority,
            )
        order = self.order(facts, at)
        return facts, order, self.access(facts, order, at, limit)

    def access(self, facts, order, at, limit):
        """Return what the plans in effect say about the one feature."""
        said = [
            (facts[number][4], self.effects(self.rows[number].plan, at, limit))
            for number in order
        ]
        said = [(priority, effects) for priority, effects in said if effects]
        if not said:
            return None
        top = max(priority for priority, _effects in said)
        strongest = [effects for priority, effects in said if priority == top]
        denied = any("deny" in effects for effects in strongest)
        return "denied" if denied else "allowed"

    def effects(self, plan, at, limit):
        """Return the effects of the plan's rules that count."""
        known = inf if limit == inf else self.rules_known(plan, min(at, limit))
        last = [
            [effect for recorded, effect in rule if recorded <= known][-1:]
            for rule in self.rules[plan]
        ]
        return {effect for found in last for effect in found if effect is not None}

    def rules_known(self, plan, known):
        """Return by when rules count: before the plan was made, its first ones do."""
        return known if known >= MADE else self.first_rules(plan)

    def first_rules(self, plan):
        return min((rule[0][0] for rule in self.rules[plan]), default=inf)

    def order(self, facts, at):
        left = [
            number
            for number, (status, window, _tag, active, _priority) in facts.items()
            if status == "active" and active and self.covers(window, at)
        ]
        found = []
        while left:
            best = next(
                one
                for one in left
                if all(one == other or self.beats(one, other, facts) for other in left)
            )
            left.remove(best)
            found.append(best)
        return found

    def covers(self, window, at):
        start, end = window
        return start <= at and (end is None or at < end)

    def beats(self, one, other, facts):
        mine, its = self.rows[one], self.rows[other]
        if facts[one][4] != facts[other][4]:
            return facts[one][4] > facts[other][4]
        if (mine.subject == ACCOUNT) != (its.subject == ACCOUNT):
            return its.subject == ACCOUNT
        if facts[one][1][0] != facts[other][1][0]:
            return facts[one][1][0] > facts[other][1][0]
        return mine.key > its.key


def check_window(start, end):
    if end is not None and end <= start:
        raise Refusal("VALIDATION.INVALID_INPUT", "window_end")
