from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from config.kernel.errors import Invalid
from config.kernel.recurrence import (
    DAILY,
    MONTHLY,
    QUARTERLY,
    WEEKLY,
    YEARLY,
    Interval,
    boundary,
    calendar_period,
    period_containing,
)
from config.kernel.windows import Window, tiles


def utc(*parts):
    return datetime(*parts, tzinfo=UTC)


def text(instant):
    return None if instant is None else instant.strftime("%Y-%m-%d")


MICROSECOND = timedelta(microseconds=1)
LAST = datetime.max.replace(tzinfo=UTC)
FIRST = datetime.min.replace(tzinfo=UTC)

intervals = st.builds(
    Interval, st.sampled_from(["day", "week", "month", "year"]), st.integers(1, 5)
)
# Ends of months in a leap year and around it: where clamping happens.
anchors = st.datetimes(
    utc(2023, 12, 27).replace(tzinfo=None),
    utc(2024, 3, 2).replace(tzinfo=None),
    timezones=st.just(UTC),
)
instants = st.datetimes(timezones=st.just(UTC))


@pytest.mark.parametrize(
    ("anchor", "interval", "expected"),
    [
        (
            utc(2026, 1, 31),
            MONTHLY,
            ["2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30", "2026-05-31"],
        ),
        (utc(2024, 1, 31), MONTHLY, ["2024-01-31", "2024-02-29", "2024-03-31"]),
        (utc(2026, 1, 30), MONTHLY, ["2026-01-30", "2026-02-28", "2026-03-30"]),
        (utc(2026, 11, 30), QUARTERLY, ["2026-11-30", "2027-02-28", "2027-05-30"]),
        (
            utc(2024, 2, 29),
            YEARLY,
            ["2024-02-29", "2025-02-28", "2026-02-28", "2027-02-28", "2028-02-29"],
        ),
        (utc(2024, 2, 29), MONTHLY, ["2024-02-29", "2024-03-29"]),
        (utc(2026, 12, 31), WEEKLY, ["2026-12-31", "2027-01-07"]),
        (utc(2024, 2, 28), DAILY, ["2024-02-28", "2024-02-29", "2024-03-01"]),
        (
            utc(2026, 1, 31),
            Interval("month", 13),
            ["2026-01-31", "2027-02-28", "2028-03-31"],
        ),
    ],
)
def test_boundaries_clamp_to_the_month_from_the_original_anchor(
    anchor, interval, expected
):
    assert [
        text(boundary(anchor, interval, n)) for n in range(len(expected))
    ] == expected


@pytest.mark.parametrize(
    ("n", "expected"),
    [(-1, "2025-12-31"), (-2, "2025-11-30"), (-11, "2025-02-28"), (-12, "2025-01-31")],
)
def test_boundaries_reach_back_before_the_anchor(n, expected):
    assert text(boundary(utc(2026, 1, 31), MONTHLY, n)) == expected


def test_boundaries_keep_the_time_of_day():
    assert boundary(utc(2026, 1, 31, 12, 34, 56, 789), MONTHLY, 1) == utc(
        2026, 2, 28, 12, 34, 56, 789
    )


@pytest.mark.parametrize(
    ("anchor", "interval", "at", "n", "bounds"),
    [
        (utc(2026, 1, 31), MONTHLY, utc(2026, 1, 31), 0, ("2026-01-31", "2026-02-28")),
        (
            utc(2026, 1, 31),
            MONTHLY,
            utc(2026, 2, 28) - MICROSECOND,
            0,
            ("2026-01-31", "2026-02-28"),
        ),
        (utc(2026, 1, 31), MONTHLY, utc(2026, 2, 28), 1, ("2026-02-28", "2026-03-31")),
        (utc(2026, 1, 31), MONTHLY, utc(2026, 3, 30), 1, ("2026-02-28", "2026-03-31")),
        (utc(2026, 1, 31), MONTHLY, utc(2026, 1, 30), -1, ("2025-12-31", "2026-01-31")),
        (
            utc(2024, 2, 29),
            YEARLY,
            utc(2028, 2, 28, 23),
            3,
            ("2027-02-28", "2028-02-29"),
        ),
        (utc(2024, 2, 29), YEARLY, utc(2028, 2, 29), 4, ("2028-02-29", "2029-02-28")),
        (
            utc(2026, 1, 1),
            Interval("day", 10),
            utc(2026, 1, 10, 23),
            0,
            ("2026-01-01", "2026-01-11"),
        ),
        (
            utc(2026, 1, 1),
            Interval("day", 10),
            utc(2025, 12, 31),
            -1,
            ("2025-12-22", "2026-01-01"),
        ),
        (
            utc(2026, 1, 1),
            Interval("month", 240_000),
            utc(2026, 6, 1),
            0,
            ("2026-01-01", None),
        ),
    ],
)
def test_period_containing_finds_the_period(anchor, interval, at, n, bounds):
    found, period = period_containing(anchor, interval, at)

    assert (found, text(period.start), text(period.end)) == (n, *bounds)


def test_an_annual_anchor_steps_by_months_at_its_time_of_day():
    anchor = utc(2025, 1, 15, 12, 34, 56)

    _, period = period_containing(anchor, MONTHLY, utc(2025, 3, 20))

    assert period == Window(utc(2025, 3, 15, 12, 34, 56), utc(2025, 4, 15, 12, 34, 56))


@given(anchors, intervals, st.integers(-30, 30))
def test_periods_tile_without_gap_overlap_or_drift(anchor, interval, first):
    bounds = [boundary(anchor, interval, n) for n in range(first, first + 6)]

    periods = [period_containing(anchor, interval, start) for start in bounds]

    assert [n for n, _ in periods] == list(range(first, first + 6))
    assert [period.start for _, period in periods] == bounds
    assert tiles([period for _, period in periods])
    assert all(one < other for one, other in pairwise(bounds))
    assert [
        period_containing(anchor, interval, end - MICROSECOND)[0] for end in bounds
    ] == list(range(first - 1, first + 5))


@given(instants, intervals, instants)
@example(LAST, Interval("day"), FIRST)
@example(FIRST, Interval("month"), LAST)
@example(LAST, Interval("year", 5), FIRST)
def test_the_period_of_any_instant_contains_it_or_begins_before_year_1(
    anchor, interval, at
):
    try:
        n, period = period_containing(anchor, interval, at)
    except Invalid as refusal:
        assert refusal.field == "at"
        with pytest.raises(Invalid):
            boundary(anchor, interval, -20_000_000)
    else:
        assert period.contains(at)
        assert boundary(anchor, interval, n) == period.start
        assert period.end is None or boundary(anchor, interval, n + 1) == period.end


@pytest.mark.parametrize(
    ("anchor", "interval", "n"),
    [
        (utc(9999, 12, 1), MONTHLY, 1),
        (utc(9999, 12, 31), DAILY, 1),
        (utc(9999, 1, 1), YEARLY, 1),
        (utc(1, 1, 31), MONTHLY, -1),
        (utc(1, 1, 1), WEEKLY, -1),
        (utc(2026, 1, 1), DAILY, 10**30),
        (utc(2026, 1, 1), MONTHLY, -(10**30)),
        (utc(2026, 1, 1), MONTHLY, True),
        (utc(2026, 1, 1), MONTHLY, 1.0),
    ],
)
def test_boundary_refuses_years_without_a_name(anchor, interval, n):
    with pytest.raises(Invalid) as refusal:
        boundary(anchor, interval, n)

    assert refusal.value.field == "n"


@pytest.mark.parametrize(
    ("anchor", "interval", "n", "expected"),
    [
        (utc(1, 1, 2), DAILY, -1, utc(1, 1, 1)),
        (utc(1, 2, 1), MONTHLY, -1, utc(1, 1, 1)),
        (utc(9999, 12, 30), DAILY, 1, utc(9999, 12, 31)),
        (utc(9999, 11, 30), MONTHLY, 1, utc(9999, 12, 30)),
    ],
)
def test_boundary_reaches_the_first_and_the_last_day(anchor, interval, n, expected):
    assert boundary(anchor, interval, n) == expected


def test_the_last_period_of_time_is_open():
    _, period = period_containing(utc(9999, 12, 15), MONTHLY, LAST)

    assert period == Window(utc(9999, 12, 15), None)


@pytest.mark.parametrize(
    ("unit", "count"),
    [
        ("hour", 1),
        ("quarter", 1),
        ("month", 0),
        ("month", -1),
        ("month", True),
        ("month", 1.5),
    ],
)
def test_interval_refuses(unit, count):
    with pytest.raises(Invalid) as refusal:
        Interval(unit, count)

    assert refusal.value.field == "interval"


@pytest.mark.parametrize("naive", [utc(2026, 1, 1).replace(tzinfo=None), "2026-01-01"])
def test_recurrence_refuses_naive_instants(naive):
    for call in (
        lambda: boundary(naive, MONTHLY, 0),
        lambda: period_containing(naive, MONTHLY, utc(2026, 1, 1)),
        lambda: period_containing(utc(2026, 1, 1), MONTHLY, naive),
        lambda: calendar_period("month", naive),
    ):
        with pytest.raises(Invalid):
            call()


@pytest.mark.parametrize(
    ("unit", "at", "bounds"),
    [
        ("day", utc(2024, 2, 29, 23, 59, 59), ("2024-02-29", "2024-03-01")),
        ("week", utc(2026, 1, 4, 23), ("2025-12-29", "2026-01-05")),
        ("week", utc(2026, 1, 5), ("2026-01-05", "2026-01-12")),
        ("month", utc(2026, 2, 28), ("2026-02-01", "2026-03-01")),
        ("quarter", utc(2026, 3, 31), ("2026-01-01", "2026-04-01")),
        ("quarter", utc(2026, 4, 1), ("2026-04-01", "2026-07-01")),
        ("year", utc(2026, 12, 31), ("2026-01-01", "2027-01-01")),
        ("day", LAST, ("9999-12-31", None)),
        ("week", LAST, ("9999-12-27", None)),
        ("quarter", LAST, ("9999-10-01", None)),
        ("year", LAST, ("9999-01-01", None)),
    ],
)
def test_calendar_period_is_the_utc_calendar(unit, at, bounds):
    period = calendar_period(unit, at)

    assert (text(period.start), text(period.end)) == bounds


@given(st.sampled_from(["day", "week", "month", "quarter", "year"]), instants)
def test_calendar_periods_contain_their_instant_and_start_a_unit(unit, at):
    period = calendar_period(unit, at)

    assert period.contains(at)
    assert period.start.time() == datetime.min.time()
    assert {
        "day": True,
        "week": period.start.weekday() == 0,
        "month": period.start.day == 1,
        "quarter": (period.start.day, period.start.month % 3) == (1, 1),
        "year": (period.start.day, period.start.month) == (1, 1),
    }[unit]
    if period.end is not None:
        assert tiles([period, calendar_period(unit, period.end)])


def test_calendar_period_refuses_another_unit():
    with pytest.raises(Invalid) as refusal:
        calendar_period("decade", utc(2026, 1, 1))

    assert refusal.value.field == "unit"
