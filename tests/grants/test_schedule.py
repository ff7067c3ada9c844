"""When a program issues: tables of cases, and what holds for all of them."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.policies.periods import BillingPeriod
from config.kernel.errors import Invalid
from config.kernel.recurrence import MONTHLY, calendar_period, period_containing
from config.kernel.windows import Window, tiles
from grants.schedule import (
    CATCH_UP_MOST,
    Binding,
    NeedsPeriodWindow,
    NoBillingPeriod,
    Schedule,
    due_slots,
    lot_window,
    slot_at,
)

CADENCES = ("daily", "weekly", "monthly", "quarterly", "yearly", "billing_period")
ANCHORS = ("calendar_start", "binding_start", "first_use", "billing_period_start")
KINDS = ("period", "fixed", "forever", "relative_duration")
SECOND = timedelta(seconds=1)


def day(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def bound(start, end=None, anchor=None):
    window = Window(day(start), day(end) if end else None)
    return Binding(window, day(anchor) if anchor else window.start)


def window(start, end=None):
    return Window(day(start), day(end) if end else None)


def months_from(anchor):
    """Return a reader of monthly billing periods counted from an anchor."""
    return lambda at: BillingPeriod(anchor, period_containing(anchor, MONTHLY, at)[1])


@pytest.mark.parametrize(
    ("cadence", "anchor", "binding", "at", "expected"),
    [
        ("once", "calendar_start", bound("2026-01-31"), "2026-05-01", window("2026-01-31")),
        ("once", "calendar_start", bound("2026-01-31", "2027-01-01"), "2026-05-01", window("2026-01-31", "2027-01-01")),
        ("daily", "calendar_start", bound("2026-01-31T10:00"), "2026-02-28T23:59:59", window("2026-02-28", "2026-03-01")),
        ("daily", "calendar_start", bound("2026-05-05T10:00"), "2026-02-28", window("2026-05-05", "2026-05-06")),
        ("weekly", "binding_start", bound("2026-01-31"), "2026-03-11", window("2026-03-09", "2026-03-16")),
        ("monthly", "calendar_start", bound("2026-01-31"), "2026-02-10", window("2026-02-01", "2026-03-01")),
        ("monthly", "binding_start", bound("2026-01-31"), "2026-02-10", window("2026-01-31", "2026-02-28")),
        ("monthly", "binding_start", bound("2026-01-31"), "2026-02-28", window("2026-02-28", "2026-03-31")),
        ("monthly", "binding_start", bound("2028-01-31"), "2028-02-28", window("2028-01-31", "2028-02-29")),
        ("monthly", "binding_start", bound("2026-06-15"), "2026-02-28", window("2026-06-15", "2026-07-15")),
        ("monthly", "first_use", bound("2026-01-31"), "2026-03-30", window("2026-02-28", "2026-03-31")),
        ("quarterly", "binding_start", bound("2025-11-30"), "2026-02-28", window("2026-02-28", "2026-05-30")),
        ("quarterly", "first_use", bound("2025-11-30"), "2026-02-28", window("2026-01-01", "2026-04-01")),
        ("yearly", "binding_start", bound("2024-02-29"), "2027-03-01", window("2027-02-28", "2028-02-29")),
        ("yearly", "calendar_start", bound("2024-02-29"), "2027-03-01", window("2027-01-01", "2028-01-01")),
        # The start was moved after lots were issued: the periods stay where they were.
        ("monthly", "binding_start", bound("2026-01-10", anchor="2026-01-31"), "2026-02-10", window("2026-01-31", "2026-02-28")),
        ("monthly", "binding_start", bound("2026-01-10", anchor="2026-01-31"), "2026-01-10", window("2025-12-31", "2026-01-31")),
    ],
)  # fmt: skip
def test_period_of_an_instant(cadence, anchor, binding, at, expected):
    slot = slot_at(Schedule(cadence, anchor, "period"), binding, day(at))

    assert (slot.period, slot.span, slot.index, slot.count) == (
        expected,
        expected,
        0,
        1,
    )


def test_period_that_follows_billing_periods():
    billing = months_from(day("2026-01-31T08:00"))
    own = Schedule("billing_period", "calendar_start", "period")
    quarterly = Schedule("quarterly", "billing_period_start", "period")
    at = day("2026-03-05")

    assert slot_at(own, bound("2026-01-01"), at, billing).period == window(
        "2026-02-28T08:00", "2026-03-31T08:00"
    )
    assert slot_at(quarterly, bound("2026-01-01"), at, billing).period == window(
        "2026-01-31T08:00", "2026-04-30T08:00"
    )


@pytest.mark.parametrize(
    ("schedule", "refusal"),
    [
        (Schedule("billing_period", "calendar_start", "period"), NoBillingPeriod),
        (Schedule("monthly", "billing_period_start", "period"), NoBillingPeriod),
        (Schedule("billing_period", "calendar_start", "forever"), NeedsPeriodWindow),
        (Schedule("hourly", "calendar_start", "period"), Invalid),
    ],
)
def test_period_that_cannot_be_told_is_refused(schedule, refusal):
    with pytest.raises(refusal):
        slot_at(schedule, bound("2026-01-01"), day("2026-02-01"))


def test_nothing_is_issued_from_the_end_of_the_binding_on():
    schedule = Schedule("daily", "calendar_start", "period")
    binding = bound("2026-01-01", "2026-01-10T12:00")

    assert slot_at(schedule, binding, day("2026-01-10T11:59")) is not None
    assert slot_at(schedule, binding, day("2026-01-10T12:00")) is None


@pytest.mark.parametrize(
    ("kind", "seconds", "binding", "expected"),
    [
        ("period", None, bound("2026-01-15"), window("2026-03-01", "2026-04-01")),
        ("fixed", None, bound("2026-01-15"), window("2026-03-01")),
        ("fixed", None, bound("2026-01-15", "2026-06-01"), window("2026-03-01", "2026-06-01")),
        ("forever", None, bound("2026-01-15"), window("2026-03-01")),
        ("forever", None, bound("2026-01-15", "2026-06-01"), window("2026-03-01", "2026-06-01")),
        ("relative_duration", 86_400, bound("2026-01-15"), window("2026-03-01", "2026-03-02")),
        ("relative_duration", 86_400 * 400, bound("2026-01-15", "2026-06-01"), window("2026-03-01", "2026-06-01")),
        ("relative_duration", None, bound("2026-01-15", "2026-06-01"), window("2026-03-01", "2026-06-01")),
        ("relative_duration", None, bound("2026-01-15"), window("2026-03-01")),
        ("relative_duration", 86_400 * 36_525 * 100, bound("2026-01-15"), window("2026-03-01")),
        # Clamped to the binding; what would end before it starts lasts a second.
        ("period", None, bound("2026-03-10"), window("2026-03-10", "2026-04-01")),
        ("period", None, bound("2026-01-15", "2026-03-20"), window("2026-03-01", "2026-03-20")),
        ("relative_duration", 60, bound("2026-03-10"), window("2026-03-10", "2026-03-10T00:00:01")),
    ],
)  # fmt: skip
def test_window_of_a_lot(kind, seconds, binding, expected):
    schedule = Schedule("monthly", "calendar_start", kind, seconds)

    slot = slot_at(schedule, binding, day("2026-03-12"))

    assert lot_window(schedule, binding, slot) == expected


@pytest.mark.parametrize("amount", [0, 1, 30, 31, 100, 999_999_999_999, 2**63 - 1])
@pytest.mark.parametrize("start", ["2026-01-31T07:00", "2028-02-01", "2026-02-28"])
def test_daily_parts_sum_to_the_amount(amount, start):
    schedule = Schedule("monthly", "binding_start", "period", accrues_daily=True)
    binding = bound(start)
    month = slot_at(schedule, binding, binding.window.start).period

    slots = due_slots(
        schedule, binding, since=month.start, until=month.end - SECOND
    ).slots
    parts = [slot.part_of(amount) for slot in slots]

    assert sum(parts) == amount
    assert max(parts) - min(parts) <= 1
    assert [slot.index for slot in slots] == list(range(slots[0].count))
    assert tiles(slot.span for slot in slots)
    assert {lot_window(schedule, binding, slot).end for slot in slots} == {month.end}


def test_days_outside_the_binding_are_not_earned():
    schedule = Schedule("monthly", "calendar_start", "period", accrues_daily=True)
    binding = bound("2026-03-10T06:00", "2026-03-12T06:00")

    slots = due_slots(
        schedule, binding, since=binding.window.start, until=day("2026-04-10")
    ).slots

    assert [slot.index for slot in slots] == [9, 10, 11]
    assert lot_window(schedule, binding, slots[0]) == window(
        "2026-03-10T06:00", "2026-03-12T06:00"
    )


def test_open_period_is_not_split():
    schedule = Schedule("once", "calendar_start", "forever", accrues_daily=True)

    slot = slot_at(schedule, bound("2026-01-01"), day("2026-02-01"))

    assert (slot.index, slot.count) == (0, 1)


def test_catch_up_stops_at_its_limit_and_resumes_there():
    schedule = Schedule("daily", "calendar_start", "period")
    binding = bound("2020-01-01", "2021-01-01")
    since, runs = binding.window.start, []

    while since is not None:
        due = due_slots(schedule, binding, since=since, until=day("2026-01-01"))
        runs.append(due.slots)
        since = due.resume_at

    assert [len(run) for run in runs] == [120, 120, 120, 6]
    assert tiles(slot.period for run in runs for slot in run)


def test_catch_up_names_the_instant_of_the_next_period():
    schedule = Schedule("monthly", "calendar_start", "period")
    at = day("2026-03-10")

    due = due_slots(schedule, bound("2026-02-05"), since=day("2026-02-05"), until=at)

    assert len(due.slots) == 2
    assert due.resume_at == day("2026-04-01")
    assert due_slots(schedule, bound("2026-02-05"), since=due.resume_at, until=at) == (
        type(due)((), due.resume_at)
    )


def test_catch_up_of_what_is_given_once_ends():
    schedule = Schedule("once", "calendar_start", "forever")

    due = due_slots(
        schedule, bound("2026-02-05"), since=day("2026-02-05"), until=day("2026-03-01")
    )

    assert (len(due.slots), due.resume_at) == (1, None)


@pytest.mark.parametrize("limit", [0, -1, CATCH_UP_MOST + 1])
def test_catch_up_limit_is_bounded(limit):
    schedule = Schedule("daily", "calendar_start", "period")

    with pytest.raises(Invalid):
        due_slots(
            schedule,
            bound("2026-01-01"),
            since=day("2026-01-01"),
            until=day("2026-02-01"),
            limit=limit,
        )


STARTS = st.one_of(
    st.datetimes(
        min_value=datetime.fromisoformat("2019-01-01"),
        max_value=datetime.fromisoformat("2031-01-01"),
        timezones=st.just(UTC),
    ),
    # The days that months and years do not all have.
    st.sampled_from(["2024-02-29T13:07:09", "2023-01-31", "2023-12-31T23:59:59.999999"]).map(day),
)  # fmt: skip


def every_period(schedule, binding, billing, until):
    """Return all slots of a binding until an instant, by catch-up."""
    since, found = binding.window.start, []
    while since is not None and since <= until:
        due = due_slots(
            schedule, binding, since=since, until=until, limit=500, billing=billing
        )
        found += due.slots
        since = due.resume_at
    return found


@given(
    start=STARTS,
    cadence=st.sampled_from(CADENCES),
    anchor=st.sampled_from(ANCHORS),
    kind=st.sampled_from(KINDS),
    accrues=st.booleans(),
    chance=st.randoms(use_true_random=False),
)
def test_ten_years_tile_and_each_period_comes_once(
    start, cadence, anchor, kind, accrues, chance
):
    kind = "period" if cadence == "billing_period" else kind
    schedule = Schedule(cadence, anchor, kind, 3_600, accrues)
    binding = Binding(Window(start), start)
    billing = months_from(start - timedelta(days=40, hours=5))
    until = start + timedelta(days=3_653)

    slots = every_period(schedule, binding, billing, until)

    # No gap, no overlap, from the start to the end of the ten years.
    assert tiles(slot.span for slot in slots)
    assert slots[0].span.contains(start)
    assert slots[-1].span.contains(until)
    assert len({(slot.period, slot.index) for slot in slots}) == len(slots)
    periods = list(dict.fromkeys(slot.period for slot in slots))
    assert all(one.end == after.start for one, after in pairwise(periods))
    # Whatever the instants at which somebody looks, each finds the slot of its time.
    at = start
    for _ in range(60):
        at += timedelta(seconds=chance.randrange(1, 10_000_000))
        if at > until:
            break
        assert slot_at(schedule, binding, at, billing) in slots
    # A lot is never spent before its time, and never lasts less than nothing.
    for slot in slots[:: max(1, len(slots) // 50)]:
        lot = lot_window(schedule, binding, slot)
        assert lot.start == max(slot.span.start, start)
        assert lot.end is None or lot.end > lot.start


@given(start=STARTS, cadence=st.sampled_from(["monthly", "quarterly", "yearly"]))
def test_day_of_the_month_never_drifts(start, cadence):
    schedule = Schedule(cadence, "binding_start", "period")
    binding = Binding(Window(start), start)

    slots = every_period(schedule, binding, None, start + timedelta(days=3_653))

    for slot in slots:
        last = calendar_period("month", slot.period.start).end - timedelta(days=1)
        assert slot.period.start.day == min(start.day, last.day)
        assert slot.period.start.timetz() == start.timetz()
