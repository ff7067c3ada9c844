"""When a program issues: its periods, the days it accrues, the windows of its lots.

Pure: no query, no clock. Every instant is aware UTC, every window half-open. Periods
are computed from their anchor, never from the one before, so that nothing drifts. The
rules: docs/grants.md.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from billing.policies.periods import BillingPeriod
from config.kernel.errors import Invalid, Refused
from config.kernel.recurrence import (
    MONTHLY,
    QUARTERLY,
    YEARLY,
    CalendarUnit,
    Interval,
    calendar_period,
    period_containing,
)
from config.kernel.windows import Window, require_utc

CATCH_UP_DEFAULT = 120
CATCH_UP_MOST = 500
DAY = timedelta(days=1)

_DAYS: dict[str, CalendarUnit] = {"daily": "day", "weekly": "week"}
_MONTHS: dict[str, tuple[CalendarUnit, Interval]] = {
    "monthly": ("month", MONTHLY),
    "quarterly": ("quarter", QUARTERLY),
    "yearly": ("year", YEARLY),
}
_SHORTEST = timedelta(seconds=1)
_INSTANT = timedelta.resolution


class NoBillingPeriod(Refused):
    """The program counts from billing periods, and the account has none then (422)."""

    default_code = "GRANT.NO_BILLING_PERIOD"


class NeedsPeriodWindow(Refused):
    """A program issued per billing period has windows of that period (422)."""

    default_code = "GRANT.NEEDS_PERIOD_WINDOW"


PeriodReader = Callable[[datetime], BillingPeriod | None]
"""Returns the billing period that contains an instant, None where there is none."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """The terms that say when lots are issued, and how long they can be spent.

    Attributes:
        cadence: how often (`grants.models.Cadence`).
        issue_anchor: from where periods are counted (`grants.models.IssueAnchor`).
        window_kind: how long a lot can be spent (`grants.models.WindowKind`).
        relative_seconds: the length of a relative window; None: as long as the binding.
        accrues_daily: whether a period's amount is earned day by day.

    """

    cadence: str
    issue_anchor: str
    window_kind: str
    relative_seconds: int | None = None
    accrues_daily: bool = False


@dataclass(frozen=True, slots=True)
class Binding:
    """The window in which an assignment issues.

    `anchor` is from where its own periods are counted: its start, unless that moved.
    """

    window: Window
    anchor: datetime


@dataclass(frozen=True, slots=True)
class Slot:
    """One issuance: a period, or one day of it.

    Attributes:
        period: the period it is of.
        index: which part of the period's amount, from 0.
        count: in how many parts the amount is given; 1: all at once.
        span: the time it stands for: the period, or that day of it.

    """

    period: Window
    index: int
    count: int
    span: Window

    def part_of(self, amount_xusd: int) -> int:
        """Return this slot's part of a period's amount (10^-6 USD).

        The parts of all slots of a period sum to the amount.
        """
        before = amount_xusd * self.index // self.count
        return amount_xusd * (self.index + 1) // self.count - before


@dataclass(frozen=True, slots=True)
class Due:
    """The slots to issue, the oldest first, and from which instant to look next.

    `resume_at` is None where nothing is to come.
    """

    slots: tuple[Slot, ...]
    resume_at: datetime | None


def no_billing_period(_at: datetime) -> BillingPeriod | None:
    """Return None: for callers whose program does not count from billing periods."""
    return None


def slot_at(
    schedule: Schedule,
    binding: Binding,
    at: datetime,
    billing: PeriodReader = no_billing_period,
) -> Slot | None:
    """Return what is issued at the reference instant `at` (aware UTC).

    Before the binding's start it is the first slot; from its end on, None. `billing`
    answers for programs that count from billing periods. Refuses a program per billing
    period whose window is another (GRANT.NEEDS_PERIOD_WINDOW), an account without a
    billing period (GRANT.NO_BILLING_PERIOD) and an `at` that is not UTC (`Invalid`).
    """
    at = max(require_utc(at, "at"), binding.window.start)
    if not binding.window.contains(at):
        return None
    period = _period_at(schedule, binding, at, billing)
    if not schedule.accrues_daily or period.end is None:
        return Slot(period, 0, 1, period)
    return _day_of(period, period.end, at)


def _period_at(
    schedule: Schedule, binding: Binding, at: datetime, billing: PeriodReader
) -> Window:
    cadence, anchor = schedule.cadence, schedule.issue_anchor
    if cadence == "once":
        start = min(binding.anchor, binding.window.start)
        return Window(start, binding.window.end)
    if cadence in _DAYS:
        return calendar_period(_DAYS[cadence], at)
    if cadence == "billing_period":
        if schedule.window_kind != "period":
            raise NeedsPeriodWindow(
                "A program issued per billing period has windows of that period, not "
                f"{schedule.window_kind}.",
                field="window_kind",
            )
        return _billing_period(billing, at).window
    unit, interval = _months(cadence)
    if anchor == "calendar_start" or (anchor == "first_use" and cadence != "monthly"):
        return calendar_period(unit, at)
    if anchor == "billing_period_start":
        counted_from = _billing_period(billing, at).anchor
    else:
        # An assignment always has a start, so the first use is no other instant.
        counted_from = binding.anchor
    return period_containing(counted_from, interval, at)[1]


def _months(cadence: str) -> tuple[CalendarUnit, Interval]:
    if cadence not in _MONTHS:
        raise Invalid(f"There is no cadence {cadence!r}.", field="cadence")
    return _MONTHS[cadence]


def _billing_period(billing: PeriodReader, at: datetime) -> BillingPeriod:
    found = billing(at)
    if found is None:
        raise NoBillingPeriod(
            "The grant follows billing periods, and the account has none at that time."
        )
    return found


def _day_of(period: Window, end: datetime, at: datetime) -> Slot:
    """Return the day of a period that contains `at`: 24 hours, from the period's start.

    What is left over at the end of a period is a day of its own.
    """
    count = -(-(end - period.start) // DAY)
    index = (at - period.start) // DAY
    start = period.start + index * DAY
    return Slot(period, index, count, Window(start, min(start + DAY, end)))


def lot_window(schedule: Schedule, binding: Binding, slot: Slot) -> Window:
    """Return how long the lot of a slot can be spent.

    Never before the binding starts, never after it ends, and at least a second.
    """
    start = max(slot.span.start, binding.window.start)
    end = _lot_end(schedule, binding, slot, start)
    limit = binding.window.end
    if limit is not None and (end is None or end > limit):
        end = limit
    if end is not None and end <= start:
        end = start + _SHORTEST
    return Window(start, end)


def _lot_end(
    schedule: Schedule, binding: Binding, slot: Slot, start: datetime
) -> datetime | None:
    if schedule.window_kind == "period":
        return slot.period.end
    if schedule.window_kind == "relative_duration" and schedule.relative_seconds:
        # Counted from the period, so that a lot issued late ends no later.
        begins = slot.span.start if schedule.cadence != "once" else start
        return seconds_after(begins, schedule.relative_seconds)
    return None if schedule.window_kind == "forever" else binding.window.end


def seconds_after(start: datetime, seconds: int) -> datetime | None:
    """Return the instant so many seconds later; None after the year 9999."""
    try:
        return start + timedelta(seconds=seconds)
    except OverflowError:
        return None


def due_slots(
    schedule: Schedule,
    binding: Binding,
    *,
    since: datetime,
    until: datetime,
    limit: int = CATCH_UP_DEFAULT,
    billing: PeriodReader = no_billing_period,
) -> Due:
    """Return the slots that began by `until`, from the one that contains `since` on.

    At most `limit` of them (1 to 500); `resume_at` of the answer is the `since` with
    which the next call goes on. Time without a billing period has no slots: it is
    passed over a day at a time, each of which counts as a slot of `limit`; where there
    is none at `until` either, the next call looks again just after it. Refuses
    (`Invalid`) another limit, and what `slot_at` refuses but for that.
    """
    if not 1 <= limit <= CATCH_UP_MOST:
        raise Invalid(f"A limit is 1 to {CATCH_UP_MOST}.", field="limit")
    found: list[Slot] = []
    at: datetime | None = max(since, binding.window.start)
    for _ in range(limit):
        if at is None or at > until:
            break
        try:
            slot = slot_at(schedule, binding, at, billing)
        except NoBillingPeriod:
            at = min(at + DAY, until) if at < until else until + _INSTANT
            continue
        if slot is None:
            return Due(tuple(found), None)
        found.append(slot)
        at = None if schedule.cadence == "once" and slot.count == 1 else slot.span.end
    return Due(tuple(found), _within(binding, at))


def _within(binding: Binding, at: datetime | None) -> datetime | None:
    """Return `at`, None where the binding has ended by then."""
    return at if at is not None and binding.window.contains(at) else None
