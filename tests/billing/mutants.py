"""`Naive` with one rule wrong each: bugs that the comparison must notice."""

from math import inf

from tests.billing.naive import ACCOUNT, Naive


class ClosedEnd(Naive):
    """A window still holds at its end."""

    def covers(self, window, at):
        start, end = window
        return start <= at and (end is None or at <= end)


class OpenStart(Naive):
    """A window does not hold yet at its start."""

    def covers(self, window, at):
        start, end = window
        return start < at and (end is None or at < end)


class StatusWithoutTime(Naive):
    """The last status holds for all time, whatever its effective time."""

    def status(self, number, at, known):
        return self.about("status", number, known)[-1].value


class StatusByEffectiveTime(Naive):
    """Of two statuses the later in effect wins, not the one given last."""

    def status(self, number, at, known):
        given = self.about("status", number, known)
        effective = [fact for fact in given if fact.effective <= at]
        return max(effective or given[:1], key=lambda fact: fact.effective).value


class StatusIgnoresKnownAt(Naive):
    """A status given later is seen from the beginning."""

    def status(self, number, at, known):
        return super().status(number, at, inf)


class WeakTieBreak(Naive):
    """Of equal plans the smaller id wins."""

    def beats(self, one, other, facts):
        if self.rows[one].subject == self.rows[other].subject and all(
            facts[one][place] == facts[other][place] for place in (1, 4)
        ):
            return self.rows[one].key < self.rows[other].key
        return super().beats(one, other, facts)


class EarlierStartWins(Naive):
    """Of two windows the older one wins."""

    def beats(self, one, other, facts):
        mine, its = facts[one], facts[other]
        same = self.rows[one].subject == self.rows[other].subject and mine[4] == its[4]
        if same and mine[1][0] != its[1][0]:
            return mine[1][0] < its[1][0]
        return super().beats(one, other, facts)


class AccountOverUser(Naive):
    """At equal priority the account's plan wins over the user's."""

    def beats(self, one, other, facts):
        mine, its = self.rows[one].subject, self.rows[other].subject
        if facts[one][4] == facts[other][4] and (mine == ACCOUNT) != (its == ACCOUNT):
            return mine == ACCOUNT
        return super().beats(one, other, facts)


class KnownAtIgnored(Naive):
    """What was recorded since is known already."""

    def horizon(self, at, known, present):
        return inf


class PlanAsItIsNow(Naive):
    """A plan always had the priority and activity that it has now."""

    def plan_at(self, plan, at, known):
        return self.plan_now(plan)


class PlanAsKnown(Naive):
    """A plan's change counts for instants before it too."""

    def plan_at(self, plan, at, known):
        return super().plan_at(plan, known, known)


class MergeReopens(Naive):
    """Sending an identity again without an end opens its window."""

    def merge(self, old, new):
        start, end = super().merge(old, new)
        return start, None if new[1] is None else end


class MergeShortens(Naive):
    """Sending an identity again with an earlier end shortens its window."""

    def merge(self, old, new):
        start, end = super().merge(old, new)
        return start, end if new[1] is None else new[1]


class MergeKeepsStart(Naive):
    """Sending an identity again with an earlier start does not move the start."""

    def merge(self, old, new):
        return old[0], super().merge(old, new)[1]


class ClockRunsBackwards(Naive):
    """A record of a slower clock is known before the one it follows."""

    def moment(self, at, what, number):
        plan = what == "plan"
        about = [
            f for f in self.facts if f.about == number and (f.kind == "plan") == plan
        ]
        return max(at, about[0].recorded)


class StatusFromNow(Naive):
    """A status takes effect when it is recorded, not when it was said to."""

    def about(self, kind, number, known=inf):
        found = super().about(kind, number, known)
        if kind != "status":
            return found
        return [found[0], *(_recorded(fact) for fact in found[1:])] if found else []


def _recorded(fact):
    return type(fact)(fact.kind, fact.about, fact.recorded, fact.value, fact.recorded)


class LooseSwitch(Naive):
    """A plan change may happen at the very start of the window."""

    def switch(self, op, key, wrong):
        start, _end = self.now(op.row, "window")
        if op.start == start and self.now(op.row, "status") == "active":
            return "created"
        return super().switch(op, key, wrong)


class RulesAsTheyAreNow(Naive):
    """A plan always had the rules that it has now."""

    def rules_known(self, plan, known):
        return inf


class FirstRuleFromTheBeginning(Naive):
    """The first rule of a plan governs before it was given, too."""

    def rules_known(self, plan, known):
        return max(known, self.first_rules(plan))


MUTANTS = [
    RulesAsTheyAreNow,
    FirstRuleFromTheBeginning,
    ClosedEnd,
    OpenStart,
    StatusWithoutTime,
    StatusByEffectiveTime,
    StatusIgnoresKnownAt,
    StatusFromNow,
    WeakTieBreak,
    EarlierStartWins,
    AccountOverUser,
    KnownAtIgnored,
    PlanAsItIsNow,
    PlanAsKnown,
    MergeReopens,
    MergeShortens,
    MergeKeepsStart,
    ClockRunsBackwards,
    LooseSwitch,
]
