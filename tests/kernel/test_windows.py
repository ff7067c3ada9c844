from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.kernel.errors import Invalid
from config.kernel.windows import (
    EPOCH,
    Window,
    fixed_window,
    format_instant,
    merge_windows,
    parse_instant,
    tiles,
)

MICROSECOND = timedelta(microseconds=1)


def utc(*parts):
    return datetime(*parts, tzinfo=UTC)


NAIVE = utc(2026, 1, 1).replace(tzinfo=None)


def hour(n):
    return utc(2026, 1, 1) + timedelta(hours=n)


def window(start, end):
    return Window(hour(start), None if end is None else hour(end))


@st.composite
def tiny_windows(draw):
    start = draw(st.integers(0, 5))
    return window(start, draw(st.none() | st.integers(start + 1, 6)))


def instants(given_window):
    """The half-hours of the tiny domain that lie in a window."""
    return {
        n
        for n in range(20)
        if given_window.contains(hour(0) + n * timedelta(minutes=30))
    }


@pytest.mark.parametrize(
    ("start", "end", "field"),
    [
        (NAIVE, None, "window_start"),
        (utc(2025, 1, 1), NAIVE, "window_end"),
        (
            datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=2))),
            None,
            "window_start",
        ),
        (
            utc(2026, 1, 1),
            datetime(2026, 1, 2, tzinfo=ZoneInfo("Europe/London")),
            "window_end",
        ),
        ("2026-01-01T00:00:00Z", None, "window_start"),
        (utc(2026, 1, 1), utc(2026, 1, 1), "window_end"),
        (utc(2026, 1, 2), utc(2026, 1, 1), "window_end"),
    ],
)
def test_window_refuses_what_is_not_a_utc_window(start, end, field):
    with pytest.raises(Invalid) as refusal:
        Window(start, end)

    assert (refusal.value.field, refusal.value.code) == (
        field,
        "VALIDATION.INVALID_INPUT",
    )


@pytest.mark.parametrize("zone", [ZoneInfo("UTC"), timezone(timedelta(0))])
def test_window_takes_every_spelling_of_utc_as_the_same(zone):
    assert Window(datetime(2026, 1, 1, tzinfo=zone)).start.tzinfo is UTC


def test_contains_includes_the_start_and_excludes_the_end():
    half_open = window(1, 2)

    answers = [
        half_open.contains(at)
        for at in (hour(1) - MICROSECOND, hour(1), hour(2) - MICROSECOND, hour(2))
    ]

    assert answers == [False, True, True, False]


def test_contains_refuses_a_naive_instant():
    with pytest.raises(
        Invalid, match=r"^at must be an instant in UTC; it has no time zone\."
    ):
        window(1, 2).contains(NAIVE)


@given(tiny_windows(), tiny_windows())
def test_overlap_and_intersection_are_those_of_the_instants(one, other):
    common = instants(one) & instants(other)

    met = one.intersection(other)

    assert one.overlaps(other) is other.overlaps(one) is bool(common)
    assert (set() if met is None else instants(met)) == common


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ([], True),
        ([(0, 1)], True),
        ([(0, None)], True),
        ([(0, 1), (1, 2), (2, None)], True),
        ([(1, 2), (0, 1)], True),
        ([(0, 1), (2, 3)], False),
        ([(0, 2), (1, 3)], False),
        ([(0, 2), (0, 2)], False),
        ([(0, None), (1, 2)], False),
    ],
)
def test_tiles_finds_gaps_and_overlaps(bounds, expected):
    assert tiles([window(*bound) for bound in bounds]) is expected


@pytest.mark.parametrize(
    ("at", "seconds", "start", "end"),
    [
        (
            utc(2026, 1, 10, 23, 59, 59, 999999),
            86_400,
            utc(2026, 1, 10),
            utc(2026, 1, 11),
        ),
        (utc(2026, 1, 11), 86_400, utc(2026, 1, 11), utc(2026, 1, 12)),
        (EPOCH, 60, EPOCH, utc(1970, 1, 1, 0, 1)),
        # A 30-day window is no calendar month: it counts from the epoch.
        (utc(1970, 2, 15), 30 * 86_400, utc(1970, 1, 31), utc(1970, 3, 2)),
        (
            utc(2026, 1, 1, 0, 0, 9, 1),
            7,
            utc(2026, 1, 1, 0, 0, 7),
            utc(2026, 1, 1, 0, 0, 14),
        ),
        (utc(9999, 12, 31, 23, 59, 59, 999999), 1, utc(9999, 12, 31, 23, 59, 59), None),
        (utc(9999, 12, 31, 12), 86_400, utc(9999, 12, 31), None),
        (utc(2026, 1, 1), 2**62, EPOCH, None),
    ],
)
def test_fixed_window_is_aligned_to_the_epoch(at, seconds, start, end):
    assert fixed_window(at, seconds) == Window(start, end)


@pytest.mark.parametrize(
    ("at", "seconds", "field"),
    [
        (EPOCH - MICROSECOND, 60, "at"),
        (NAIVE, 60, "at"),
        (EPOCH, 0, "window_seconds"),
        (EPOCH, -60, "window_seconds"),
        (EPOCH, True, "window_seconds"),
        (EPOCH, 60.0, "window_seconds"),
    ],
)
def test_fixed_window_refuses(at, seconds, field):
    with pytest.raises(Invalid) as refusal:
        fixed_window(at, seconds)

    assert refusal.value.field == field


@given(
    st.datetimes(EPOCH.replace(tzinfo=None), timezones=st.just(UTC)),
    st.integers(1, 10**7) | st.integers(1, 2**63),
)
def test_fixed_windows_contain_their_instant_and_follow_one_another(at, seconds):
    found = fixed_window(at, seconds)

    assert found.contains(at)
    assert (found.start - EPOCH) // timedelta(seconds=1) % seconds == 0
    assert found.start.microsecond == 0
    assert fixed_window(found.start, seconds) == found
    if found.end is not None:
        assert found.end - found.start == timedelta(seconds=seconds)
        assert fixed_window(found.end, seconds).start == found.end


@pytest.mark.parametrize(
    ("existing", "incoming", "merged"),
    [
        ((2, 4), (1, 3), (1, 4)),
        ((1, 3), (2, 4), (1, 4)),
        ((2, 4), (1, None), (1, 4)),
        ((2, None), (1, 3), (1, 3)),
        ((2, None), (1, None), (1, None)),
        ((5, None), (1, 3), (1, 3)),
        ((1, 2), (4, 5), (1, 5)),
    ],
)
def test_merge_keeps_the_earliest_start_and_the_farther_end(existing, incoming, merged):
    assert merge_windows(window(*existing), window(*incoming)) == window(*merged)


@given(tiny_windows(), tiny_windows())
def test_merging_the_same_again_changes_nothing(existing, incoming):
    merged = merge_windows(existing, incoming)

    assert merge_windows(merged, incoming) == merged
    assert existing.end is None or (
        merged.end is not None and merged.end >= existing.end
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-10T00:00:00Z", utc(2026, 1, 10)),
        ("2026-01-10t00:00:00z", utc(2026, 1, 10)),
        ("2026-01-10T00:00:00.5Z", utc(2026, 1, 10, 0, 0, 0, 500_000)),
        ("2026-01-10T00:00:00.000001Z", utc(2026, 1, 10, 0, 0, 0, 1)),
        ("2026-01-10T01:30:00+01:30", utc(2026, 1, 10)),
        ("2026-01-09T19:00:00-05:00", utc(2026, 1, 10)),
        ("2026-01-10T00:00:00-00:00", utc(2026, 1, 10)),
        ("2024-02-29T23:59:59Z", utc(2024, 2, 29, 23, 59, 59)),
        ("0001-01-01T00:00:00Z", utc(1, 1, 1)),
        ("9999-12-31T23:59:59.999999Z", datetime.max.replace(tzinfo=UTC)),
    ],
)
def test_parse_instant_reads_rfc_3339(text, expected):
    parsed = parse_instant(text)

    assert (parsed, parsed.tzinfo) == (expected, UTC)


@pytest.mark.parametrize(
    "text",
    [
        None, 1_767_225_600, "", "   ", "2026-01-10", "2026-01-10T00:00:00", "2026-01-10T00:00Z",
        "2026-01-10 00:00:00Z", " 2026-01-10T00:00:00Z", "2026-01-10T00:00:00Z\n",
        "2026-01-10T00:00:60Z", "2016-12-31T23:59:60Z", "2026-01-10T24:00:00Z", "2026-01-10T00:60:00Z",
        "2026-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z", "0000-01-01T00:00:00Z",
        "10000-01-01T00:00:00Z", "+2026-01-10T00:00:00Z", "-2026-01-10T00:00:00Z",
        "9999-12-31T23:59:59-01:00", "0001-01-01T00:00:00+01:00", "2026-01-10T00:00:00+24:00",
        "2026-01-10T00:00:00+0100", "2026-01-10T00:00:00+01", "2026-01-10T00:00:00+01:60",
        "2026-01-10T00:00:00.Z", "2026-01-10T00:00:00.1234567Z", "2026-01-10T00:00:00,5Z",
        "\uff12026-01-10T00:00:00Z", "202\u0666-01-10T00:00:00Z", "2026-W02-6T00:00:00Z", "20260110T000000Z",
        "2026-01-10T00:00:00Z" + "0" * 100_000,
    ],
)  # fmt: skip
def test_parse_instant_refuses(text):
    with pytest.raises(Invalid) as refusal:
        parse_instant(text, "effective_at")

    assert refusal.value.field == "effective_at"
    assert refusal.value.message.startswith("effective_at ")
    assert refusal.value.message.endswith(".")


def test_parse_instant_names_the_leap_second():
    with pytest.raises(Invalid, match="names a leap second"):
        parse_instant("2016-12-31T23:59:60Z")


@pytest.mark.parametrize(
    ("instant", "text"),
    [
        (utc(2026, 1, 10), "2026-01-10T00:00:00.000000Z"),
        (utc(7, 1, 2, 3, 4, 5, 6), "0007-01-02T03:04:05.000006Z"),
    ],
)
def test_format_instant_has_always_microseconds(instant, text):
    assert format_instant(instant) == text


@pytest.mark.parametrize(
    "instant", [NAIVE, datetime(2026, 1, 1, tzinfo=ZoneInfo("Asia/Tokyo"))]
)
def test_format_instant_refuses_what_is_not_utc(instant):
    with pytest.raises(Invalid):
        format_instant(instant)


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_formatted_instant_reads_back_as_itself(instant):
    text = format_instant(instant)

    assert parse_instant(text) == instant
    assert len(text) == 27
