"""Random sequences of verbs, run on the system and written down with what it answered.

A `Story` can be told again to any model (`first_difference`), without the database.
"""

import random
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from billing.models import BillingAccount, BillingUser, Plan
from billing.selectors.effective import billing_state, entitled_features
from billing.services import assignment_changes as changes
from billing.services.assignments import Identity, assign_plan, change_assignment
from billing.services.entitlements import Target, replace_entitlements
from billing.services.plans import change_plan_definition
from config.kernel.audit import Actor, AuditContext
from config.kernel.errors import DomainError
from config.kernel.windows import Window
from config.tenancy.history import auditing
from tests.billing.naive import ACCOUNT, Operation
from tests.catalog.make import make_feature

ORIGIN = datetime(2026, 1, 1, tzinfo=UTC)
AUTHOR = AuditContext(
    actor=Actor("job", "storyteller"),
    operator="storyteller",
    reason="a story",
    ticket_id="T-1",
    effective_at=ORIGIN,
    trace_id="0" * 32,
)
USERS = 2
FEATURE = "story"
WORDS = {None: None, "included in x": "allowed", "denied by x": "denied"}
KINDS = ("base", "base", "addon")
STATUSES = ("active",) * 7 + ("paused", "canceled", "expired")


def instant(number):
    return None if number is None else ORIGIN + timedelta(hours=number)


@dataclass
class Story:
    """What was done, what was answered, and what was read afterwards.

    `told` holds pairs of operation and (answer, key of the row it made); `read` pairs
    of (viewer, as of, known at, present) and answer, with how much had been told.
    """

    number: object
    plans: list
    told: list = field(default_factory=list)
    read: list = field(default_factory=list)


# Telling: random operations


def random_operation(dice, clock, rows):
    """Return an operation near the instant `clock`, on one of `rows` or a new one.

    `rows` are the identities and starts (subject, plan, ref, start) that exist.
    """
    at = clock - dice.choice([0, 0, 0, 0, 1, 2])
    effective = dice.choice([at, at, at, at - 1, at - 3, at - 6, at + 1])
    verb = dice.choice(
        ["assign"] * 8 + ["edit_plan", "edit_rules"] * 2 + ["change"] * 3 + ["upgrade", "downgrade"] * 3
        + ["pause", "pause", "resume", "cancel", "extend", "end"]
    )  # fmt: skip
    if not rows and verb not in {"edit_plan", "edit_rules"}:
        verb = "assign"
    op = Operation(verb, at, effective)
    if verb not in {"assign", "edit_plan", "edit_rules"}:
        op = replace(op, row=dice.randrange(len(rows)))
    op = _ARGUMENTS.get(verb, _nothing)(dice, op)
    if verb == "assign" and rows and dice.random() < 0.6:
        subject, plan, ref, start = dice.choice(rows)
        if dice.random() < 0.3:
            return replace(op, subject=subject, ref="twin", start=start, end=None)
        op = replace(op, subject=subject, plan=plan, ref=ref)
    return op


def _nothing(_dice, op):
    return op


def _window(dice):
    start = dice.choice([0, 2, 3, 4, 4, 4, 4, 6, 8, 11])
    end = dice.choice([None, None, None, *range(start, start + 7)])
    return start, end


def _assign(dice, op):
    start, end = _window(dice)
    return replace(
        op,
        subject=dice.choice([ACCOUNT, ACCOUNT, 0, 0, 1]),
        plan=dice.choice([0, 0, 1, 1, 2]),
        ref=dice.choice("ab"),
        start=start,
        end=end,
        status=dice.choice(STATUSES),
        tag=dice.choice([None, None, 1]),
    )


def _change(dice, op):
    start, end = _window(dice)
    names = dice.choice(
        [
            ("start",),
            ("end",),
            ("start", "end"),
            ("status",),
            ("status", "end"),
            ("tag",),
        ]
    )
    said = {
        "start": start,
        "end": end,
        "status": dice.choice(STATUSES),
        "tag": dice.choice([None, 2]),
    }
    return replace(op, given=names, **{name: said[name] for name in names})


def _end(dice, op):
    return replace(op, end=dice.randrange(14))


def _extend(dice, op):
    return replace(op, end=dice.choice([None, *range(14)]))


def _switch(dice, op):
    return replace(
        op,
        plan=dice.choice([0, 1, 1, 2]),
        ref=dice.choice("abcd"),
        start=dice.randrange(13),
    )


def _edit_plan(dice, op):
    names = dice.choice([("status",), ("tag",), ("status", "tag")])
    said = {
        "status": dice.choice(["active", "active", "off"]),
        "tag": dice.randrange(3),
    }
    return replace(
        op,
        plan=dice.randrange(len(KINDS)),
        given=names,
        **{name: said[name] for name in names},
    )


def _edit_rules(dice, op):
    plan = dice.choice([0, 0, 1, 2])
    return replace(op, plan=plan, status=dice.choice(["allow", "allow", "deny", None]))


_ARGUMENTS = {
    "assign": _assign,
    "change": _change,
    "end": _end,
    "extend": _extend,
    "upgrade": _switch,
    "downgrade": _switch,
    "edit_plan": _edit_plan,
    "edit_rules": _edit_rules,
}


# Doing: the system under test


class Stage:
    """One account with two users and three plans, on which a story is played."""

    def __init__(self, realm, number, plans):
        self.rows = []
        self.identities = []
        with auditing(AUTHOR, at=instant(0)):
            self.account = BillingAccount(
                realm=realm, billing_principal_id=f"story-{number}"
            )
            self.account.save(force_insert=True)
            self.users = BillingUser.objects.bulk_create(
                BillingUser(
                    realm=realm, account=self.account, business_user_id=f"u-{n}"
                )
                for n in range(USERS)
            )
            self.plans = Plan.objects.bulk_create(
                Plan(
                    realm=realm,
                    plan_code=f"story-{number}-{n}",
                    name="x",
                    kind=kind,
                    priority=priority,
                )
                for n, (kind, priority) in enumerate(plans)
            )

    def perform(self, op):
        """Do it; return the answer as the naive model words it, and the row's key."""
        by = replace(AUTHOR, effective_at=instant(op.effective))
        try:
            answer, row = getattr(self, f"_{op.verb}", self._named)(
                op, instant(op.at), by
            )
        except DomainError as refusal:
            return ("refused", refusal.code, refusal.field), None
        if answer == "created":
            holder = ACCOUNT if row.user_id is None else self.users.index(row.user)
            plan = [plan.pk for plan in self.plans].index(row.plan_id)
            self.rows.append(row)
            start = _number(row.window_start)
            self.identities.append((holder, plan, row.source_ref, start))
        return answer, row.pk

    def _assign(self, op, at, by):
        user = None if op.subject == ACCOUNT else self.users[op.subject]
        row, outcome = assign_plan(
            identity=Identity(
                self.account, user, self.plans[op.plan], "ops.manual", op.ref
            ),
            window=Window(instant(op.start), instant(op.end)),
            status=op.status,
            metadata=_tagged(op.tag),
            at=at,
            by=by,
        )
        return outcome, row

    def _change(self, op, at, by):
        said = {
            "start": ("window_start", instant(op.start)),
            "end": ("window_end", instant(op.end)),
            "status": ("status", op.status),
            "tag": ("metadata", _tagged(op.tag)),
        }
        named = dict(said[name] for name in op.given)
        return "done", change_assignment(
            assignment=self.rows[op.row], changes=named, at=at, by=by
        )

    def _edit_plan(self, op, at, by):
        said = {
            "status": ("active", op.status == "active"),
            "tag": ("priority", op.tag),
        }
        plan = change_plan_definition(
            plan=self.plans[op.plan],
            changes=dict(said[name] for name in op.given),
            at=at,
            by=by,
        )
        self.plans[op.plan] = plan
        return "done", plan

    def _edit_rules(self, op, at, by):
        targets = [Target(op.status, feature_code=FEATURE)] if op.status else []
        plan = self.plans[op.plan]
        replace_entitlements(plan=plan, targets=targets, at=at, by=by)
        return "done", plan

    def _named(self, op, at, by):
        call = {"assignment": self.rows[op.row], "at": at, "by": by}
        if op.verb in {"upgrade", "downgrade"}:
            made = getattr(changes, f"{op.verb}_plan")(
                plan=self.plans[op.plan],
                source_kind="ops.manual",
                source_ref=op.ref,
                switch_at=instant(op.start),
                **call,
            )
            return "created", made
        named = {"extend": "window_end", "end": "end_at"}
        if op.verb in named:
            call[named[op.verb]] = instant(op.end)
        return "done", getattr(changes, f"{op.verb}_assignment")(**call)

    def read(self, viewer, at, known, present):
        """Return what the selector and the policy say, as the naive model words it."""
        state = billing_state(
            account=self.account,
            user=None if viewer == ACCOUNT else self.users[viewer],
            as_of=instant(at),
            known_at=instant(known),
            at=instant(present),
        )
        number = {row.pk: place for place, row in enumerate(self.rows)}
        facts = {number[plan.assignment_id]: _facts(plan) for plan in state.assigned}
        order = [number[plan.assignment_id] for plan in state.effective]
        said = entitled_features(state).get(FEATURE)
        return facts, order, WORDS[said]


def _tagged(tag):
    return {} if tag is None else {"tag": tag}


def _number(when):
    return None if when is None else (when - ORIGIN) // timedelta(hours=1)


def _facts(plan):
    return (
        plan.status,
        (_number(plan.window_start), _number(plan.window_end)),
        plan.metadata.get("tag"),
        plan.plan_active,
        plan.priority,
    )


def offered(realm):
    """Make the one feature that the stories' plans speak about."""
    make_feature(
        realm,
        instant(-10),
        replace(AUTHOR, effective_at=instant(-10)),
        FEATURE,
        "stories",
        entitlement_required=True,
    )


def play(realm, number, *, seed, reads=12):
    """Play one random story on the system and return it."""
    dice = random.Random(f"{seed}:{number}")
    story = Story(number, [(kind, dice.randrange(2)) for kind in KINDS])
    stage = Stage(realm, number, story.plans)
    clock = 5
    for _ in range(dice.randint(3, 10)):
        clock += dice.choice([0, 0, 1, 1, 2])
        op = random_operation(dice, clock, stage.identities)
        story.told.append((op, stage.perform(op)))
        _read(story, stage, dice.choice([ACCOUNT, 0]), op.at, None, op.at)
    for _ in range(reads):
        known = dice.choice([None, *range(3, clock + 2)])
        _read(
            story,
            stage,
            dice.choice([ACCOUNT, 0, 0]),
            dice.randrange(-1, 16),
            known,
            clock,
        )
    return story


def _read(story, stage, *question):
    story.read.append((len(story.told), question, stage.read(*question)))


# Comparing


def first_difference(story, model):
    """Return the first thing that a model of the same story answers otherwise."""
    naive = model(story.plans)
    told = 0
    for until, question, answer in story.read:
        while told < until:
            op, (said, key) = story.told[told]
            expected = naive.perform(op, key)
            told += 1
            if expected != said:
                return f"{op}: expected {expected}, got {said}"
        expected = naive.read(*question)
        if expected != answer:
            return f"read {question} after {until}: expected {expected}, got {answer}"
    return None
