"""Two worlds: the recorded one, and the one in which a draft decided. Pure.

A decision's evidence tells what its counters stood at in the recorded world. What they
would stand at in the other is that number and the difference between what the two
worlds took since the simulation began. So a draft that changes nothing is judged on
exactly the numbers that were seen, whatever else happened to them meanwhile.

A counter that the recorded world did not have, such as that of a longer window, stands
at what the drafted world took itself.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID

from gating.facts import BudgetFact, CounterKey

Pair = tuple[int, int]
"""Used and reserved."""

SeatsKey = tuple[UUID, str, str, datetime]
"""Account, feature or `*`, counter key, and start of the window."""

_NOTHING: Pair = (0, 0)


def plus(one: Pair, other: Pair) -> Pair:
    """Return the sum of two pairs."""
    return one[0] + other[0], one[1] + other[1]


def _minus(one: Pair, other: Pair) -> Pair:
    return one[0] - other[0], one[1] - other[1]


@dataclass(slots=True)
class Count:
    """What each world took from a counter since the beginning.

    `base` is what it stood at beside what the recorded world took; None as long as
    no evidence told.
    """

    base: Pair | None = None
    recorded: Pair = _NOTHING
    drafted: Pair = _NOTHING


@dataclass(slots=True)
class Seats:
    """Who took a seat since the beginning, in each world."""

    recorded: set[UUID] = field(default_factory=set)
    drafted: set[UUID] = field(default_factory=set)

    def pair(self, seen: Pair, user_id: UUID) -> Pair:
        """Return seats taken, and 1 where the user holds one, in the drafted world."""
        lost = self.recorded - self.drafted
        won = self.drafted - self.recorded
        holds = user_id in self.drafted or (seen[1] > 0 and user_id not in lost)
        return max(0, seen[0] - len(lost) + len(won)), int(holds)


@dataclass(slots=True)
class Worlds:
    """The difference between the two: counters, seats, balances and budgets.

    `money` is what the drafted world took more of each user's balance, `budgets` what
    it consumed and reserves more of each budget (10^-6 USD).
    """

    counts: dict[CounterKey, Count] = field(default_factory=dict)
    seats: dict[SeatsKey, Seats] = field(default_factory=dict)
    money: dict[UUID, int] = field(default_factory=dict)
    budgets: dict[UUID, Pair] = field(default_factory=dict)

    def tell(self, key: CounterKey, seen: Pair) -> None:
        """Note what a counter stands at in the recorded world just now."""
        count = self.counts.setdefault(key, Count())
        count.base = _minus(seen, count.recorded)

    def knows(self, key: CounterKey) -> bool:
        """Return whether evidence told what the counter began with."""
        count = self.counts.get(key)
        return count is not None and count.base is not None

    def drafted(self, key: CounterKey) -> Pair:
        """Return what a counter stands at in the drafted world, 0 or more."""
        count = self.counts.get(key) or Count()
        used, reserved = plus(count.base or _NOTHING, count.drafted)
        return max(0, used), max(0, reserved)

    def take(
        self, key: CounterKey, *, recorded: Pair = _NOTHING, drafted: Pair = _NOTHING
    ) -> None:
        """Add what each world took from a counter; below 0 is given back."""
        count = self.counts.setdefault(key, Count())
        count.recorded = plus(count.recorded, recorded)
        count.drafted = plus(count.drafted, drafted)

    def pay(self, user_id: UUID, *, recorded: int = 0, drafted: int = 0) -> None:
        """Add what each world took from a user's balance."""
        self.money[user_id] = self.owed(user_id) + drafted - recorded

    def owed(self, user_id: UUID) -> int:
        """Return how much more the drafted world took of a user's balance."""
        return self.money.get(user_id, 0)

    def spend(
        self,
        budget: BudgetFact | None,
        *,
        recorded: Pair = _NOTHING,
        drafted: Pair = _NOTHING,
    ) -> None:
        """Add what each world consumed and reserved of a budget, where one is named."""
        if budget is not None:
            known = self.budgets.get(budget.budget_id, _NOTHING)
            more = _minus(drafted, recorded)
            self.budgets[budget.budget_id] = plus(known, more)

    def budget(self, budget: BudgetFact | None) -> BudgetFact | None:
        """Return a budget of the recorded world as it stands in the drafted one."""
        if budget is None:
            return None
        consumed, reserved = self.budgets.get(budget.budget_id, _NOTHING)
        return replace(
            budget,
            consumed_xusd=max(0, budget.consumed_xusd + consumed),
            reserved_xusd=max(0, budget.reserved_xusd + reserved),
        )

    def seats_of(self, key: SeatsKey) -> Seats:
        """Return who took seats under a key."""
        return self.seats.setdefault(key, Seats())

    def forget(self, before: datetime) -> None:
        """Drop counters whose window is over: no decision reads them any more."""
        for key in [key for key in self.counts if key.window_end <= before]:
            del self.counts[key]
