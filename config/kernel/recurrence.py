"""Recurring periods: the n-th boundary is anchor + n x interval, never chained.

Months and years clamp to the month's last day from the original anchor, so that the
31st of January is followed by the 28th (or 29th) of February and the 31st of March.
"""

from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal, get_args

from config.kernel.errors import Invalid
from config.kernel.windows import Window, require_utc

Unit = Literal["day", "week", "month", "year"]
CalendarUnit = Literal["day", "week", "month", "quarter", "year"]

_DAYS = {"day": 1, "week": 7}
_MONTHS = {"month": 1, "year": 12}
_MONTHS_PER_YEAR = 12
# A Monday, and the first day of a month, a quarter and a year.
_CALENDAR_ANCHOR = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Interval:
    """A length of calendar time, such as 1 month; a quarter is 3 months.

    Attributes:
        unit: day, week, month or year.
        count: how many of them, at least 1.

    Refuses another unit or count with Invalid on `interval`.

    """

    unit: Unit
    count: int = 1

    def __post_init__(self) -> None:
        if self.unit not in get_args(Unit):
            units = ", ".join(get_args(Unit))
            raise Invalid(
                f"interval unit must be one of {units}; it is {self.unit!r}.",
                field="interval",
            )
        if type(self.count) is not int or self.count < 1:
            raise Invalid(
                f"interval count must be a whole number of at least 1; it is "
                f"{self.count!r}.",
                field="interval",
            )

    @property
    def days(self) -> int:
        """The length in days, or 0 when it is counted in months."""
        return _DAYS.get(self.unit, 0) * self.count

    @property
    def months(self) -> int:
        """The length in months, or 0 when it is counted in days."""
        return _MONTHS.get(self.unit, 0) * self.count


DAILY = Interval("day")
WEEKLY = Interval("week")
MONTHLY = Interval("month")
QUARTERLY = Interval("month", 3)
YEARLY = Interval("year")

_CALENDAR_INTERVALS: dict[CalendarUnit, Interval] = {
    "day": DAILY,
    "week": WEEKLY,
    "month": MONTHLY,
    "quarter": QUARTERLY,
    "year": YEARLY,
}


def boundary(anchor: datetime, interval: Interval, n: int) -> datetime:
    """Return the n-th boundary, anchor + n x interval, as aware UTC.

    `n` may be negative; boundary 0 is the anchor. Months and years clamp the
    anchor's day to the last day of the month they reach; the time of day stays.
    Refuses, with Invalid, an anchor that is not aware UTC (on `anchor`), an `n`
    that is not an integer, and a boundary outside the years 1 to 9999 (on `n`).
    """
    anchor = require_utc(anchor, "anchor")
    if type(n) is not int:
        raise Invalid(f"n must be a whole number; it is {n!r}.", field="n")
    reached = _boundary_or_none(anchor, interval, n)
    if reached is None:
        raise Invalid(
            f"boundary {n} of {interval.count} {interval.unit}(s) from "
            f"{anchor.isoformat()} lies outside the years 1 to 9999.",
            field="n",
        )
    return reached


def _boundary_or_none(anchor: datetime, interval: Interval, n: int) -> datetime | None:
    if interval.days:
        ordinal = anchor.toordinal() + n * interval.days
        if not 1 <= ordinal <= date.max.toordinal():
            return None
        return datetime.combine(date.fromordinal(ordinal), anchor.timetz())
    year, month = divmod(_month_index(anchor) + n * interval.months, _MONTHS_PER_YEAR)
    if not date.min.year <= year <= date.max.year:
        return None
    last_day = monthrange(year, month + 1)[1]
    return anchor.replace(year=year, month=month + 1, day=min(anchor.day, last_day))


def _month_index(instant: datetime) -> int:
    return instant.year * _MONTHS_PER_YEAR + instant.month - 1


def period_containing(
    anchor: datetime, interval: Interval, at: datetime
) -> tuple[int, Window]:
    """Return (n, window): the period [boundary n, boundary n + 1) that contains `at`.

    Computed directly, at a cost that does not grow with the distance from the
    anchor; `n` is negative before the anchor. A period that would end after year
    9999 is open. Refuses, with Invalid, an `anchor` or `at` that is not aware UTC,
    and a period that would begin before year 1 (on `at`).
    """
    anchor, at = require_utc(anchor, "anchor"), require_utc(at, "at")
    if interval.days:
        n = (at - anchor) // timedelta(days=1) // interval.days
    else:
        n = (_month_index(at) - _month_index(anchor)) // interval.months
        # Boundary n + 1 is in a later month than `at`; boundary n may be ahead too.
        start = _boundary_or_none(anchor, interval, n)
        if start is not None and start > at:
            n -= 1
    start = _boundary_or_none(anchor, interval, n)
    if start is None:
        raise Invalid(
            f"the period that contains {at.isoformat()} begins before year 1.",
            field="at",
        )
    return n, Window(start, _boundary_or_none(anchor, interval, n + 1))


def calendar_period(unit: CalendarUnit, at: datetime) -> Window:
    """Return the UTC calendar day, Monday week, month, quarter or year of `at`.

    A period that would end after year 9999 is open. Refuses, with Invalid, another
    unit (on `unit`) and an `at` that is not aware UTC (on `at`).
    """
    interval = _CALENDAR_INTERVALS.get(unit)
    if interval is None:
        units = ", ".join(_CALENDAR_INTERVALS)
        raise Invalid(f"unit must be one of {units}; it is {unit!r}.", field="unit")
    return period_containing(_CALENDAR_ANCHOR, interval, at)[1]
