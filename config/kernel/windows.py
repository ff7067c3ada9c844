"""Half-open windows of time `[start, end)` in aware UTC, and instants as text."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

from config.kernel.errors import Invalid

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_MICROSECOND = timedelta(microseconds=1)
_MICROSECONDS_PER_SECOND = 1_000_000
_LAST_MICROSECOND = (datetime.max.replace(tzinfo=UTC) - EPOCH) // _MICROSECOND
_LEAP_SECOND = 60
_INSTANT = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]"
    r"([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,6}))?"
    r"(?:[Zz]|([+-])([01][0-9]|2[0-3]):([0-5][0-9]))"
)


def require_utc(instant: object, field: str) -> datetime:
    """Return `instant` with the standard library's own UTC.

    Refuses, with Invalid on `field`, what is not a datetime, a naive datetime, and
    one in another zone: a zone that happens to be at offset zero is still another.
    """
    if not isinstance(instant, datetime):
        raise Invalid(f"{field} must be an instant.", field=field)
    if instant.tzinfo is UTC:
        return instant
    if str(instant.tzinfo) != "UTC":
        zone = instant.tzinfo or "no time zone"
        raise Invalid(f"{field} must be an instant in UTC; it has {zone}.", field=field)
    return instant.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Window:
    """The instants from `start` up to, and not including, `end`.

    Attributes:
        start: aware UTC instant, included.
        end: aware UTC instant, excluded; None means open: it never ends.

    Refuses, with Invalid, an instant that is not aware UTC (on `window_start` or
    `window_end`) and an empty or reversed window (on `window_end`).

    """

    start: datetime
    end: datetime | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "start", require_utc(self.start, "window_start"))
        if self.end is None:
            return
        object.__setattr__(self, "end", require_utc(self.end, "window_end"))
        if self.end <= self.start:
            raise Invalid(
                f"window_end {format_instant(self.end)} must be later than "
                f"window_start {format_instant(self.start)}.",
                field="window_end",
            )

    def contains(self, at: datetime) -> bool:
        """Return whether the aware UTC instant `at` lies in the window.

        Refuses another instant with Invalid on `at`.
        """
        at = require_utc(at, "at")
        return self.start <= at and (self.end is None or at < self.end)

    def overlaps(self, other: "Window") -> bool:
        """Return whether some instant lies in both windows."""
        return _begins_before_end(self, other) and _begins_before_end(other, self)

    def intersection(self, other: "Window") -> "Window | None":
        """Return the window of the instants in both, or None when there are none."""
        if not self.overlaps(other):
            return None
        ends = [end for end in (self.end, other.end) if end is not None]
        return Window(max(self.start, other.start), min(ends, default=None))


def _begins_before_end(one: Window, other: Window) -> bool:
    return other.end is None or one.start < other.end


def tiles(windows: Iterable[Window]) -> bool:
    """Return whether the windows, in order of start, leave no gap and no overlap.

    Each must end at the instant at which the next begins; only the last may be
    open. No window, and a single one, tile.
    """
    ordered = sorted(windows, key=lambda window: window.start)
    return all(one.end == following.start for one, following in pairwise(ordered))


def fixed_window(at: datetime, window_seconds: int) -> Window:
    """Return the epoch-aligned window of `window_seconds` that contains `at`.

    start = floor(at / window_seconds) * window_seconds, counted from the Unix epoch
    in whole microseconds, so that 86400 is the UTC day; end = start +
    window_seconds. An end after year 9999 has no name: the window is then open.
    Refuses, with Invalid, an `at` that is not aware UTC or precedes 1970 (on `at`),
    and seconds that are not a positive integer (on `window_seconds`).
    """
    at = require_utc(at, "at")
    if at < EPOCH:
        raise Invalid("at must not precede 1970-01-01, the Unix epoch.", field="at")
    if type(window_seconds) is not int or window_seconds < 1:
        raise Invalid(
            f"window_seconds must be a whole number of at least 1; it is "
            f"{window_seconds!r}.",
            field="window_seconds",
        )
    length = window_seconds * _MICROSECONDS_PER_SECOND
    elapsed = (at - EPOCH) // _MICROSECOND
    start = elapsed - elapsed % length
    end = start + length
    if end > _LAST_MICROSECOND:
        return Window(_from_epoch(start), None)
    return Window(_from_epoch(start), _from_epoch(end))


def _from_epoch(microseconds: int) -> datetime:
    return EPOCH + timedelta(microseconds=microseconds)


def merge_windows(existing: Window, incoming: Window) -> Window:
    """Return the window that a repeated commercial identity holds afterwards.

    The earliest start holds. An open `incoming` keeps the existing end, an open
    `existing` takes the incoming end, and of two ends the later one holds: so a
    repeat never reopens a bounded window and never shortens one.
    """
    start = min(existing.start, incoming.start)
    if incoming.end is None:
        return Window(start, existing.end)
    if existing.end is None:
        return Window(start, incoming.end)
    return Window(start, max(existing.end, incoming.end))


def parse_instant(text: object, field: str = "instant") -> datetime:
    """Return the aware UTC instant that RFC 3339 `text` names.

    The offset is required (`Z` or `+hh:mm`), as are the seconds; a fraction has at
    most six digits. Refuses, with Invalid on `field`: what is not a string, blanks,
    naive times, digits outside ASCII, leap seconds, dates that no calendar has, and
    instants outside the years 1 to 9999 in UTC.
    """
    if not isinstance(text, str):
        raise Invalid(f"{field} must be an instant written as a string.", field=field)
    if not text.strip():
        raise Invalid(f"{field} must not be blank.", field=field)
    match = _INSTANT.fullmatch(text)
    if match is None:
        raise Invalid(
            f"{field} must be an RFC 3339 instant with an offset, of the years 0001 "
            "to 9999 and at most microseconds, such as 2026-01-10T00:00:00Z.",
            field=field,
        )
    year, month, day, hour, minute, second = map(int, match.groups()[:6])
    if second == _LEAP_SECOND:
        raise Invalid(
            f"{field} names a leap second, which cannot be kept; use second 59 or the "
            "following minute.",
            field=field,
        )
    microsecond = int((match[7] or "").ljust(6, "0"))
    try:
        local = datetime(
            *(year, month, day, hour, minute, second, microsecond),
            tzinfo=_offset(match[8], match[9], match[10]),
        )
        return local.astimezone(UTC)
    except (ValueError, OverflowError) as refusal:
        raise Invalid(
            f"{field} names no instant of the years 0001 to 9999 in UTC.", field=field
        ) from refusal


def _offset(sign: str | None, hours: str | None, minutes: str | None) -> timezone:
    if sign is None:
        return UTC
    distance = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
    return timezone(-distance if sign == "-" else distance)


def format_instant(instant: datetime) -> str:
    """Return an aware UTC instant as `2026-01-10T00:00:00.000000Z`.

    The text has always 27 characters and sorts as the instants do. Refuses what is
    not aware UTC with Invalid on `instant`.
    """
    utc = require_utc(instant, "instant").replace(tzinfo=None)
    return f"{utc.isoformat(timespec='microseconds')}Z"
