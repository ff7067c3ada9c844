"""How long something lasts, in words. Pure."""

from datetime import timedelta

_LENGTHS = (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))
_SHOWN = 2


def duration_text(seconds: int) -> str:
    """Return a length of time, exactly: `1 day`, `1 hour 30 minutes`."""
    parts = []
    for name, length in _LENGTHS:
        count, seconds = divmod(seconds, length)
        if count:
            parts.append(f"{count:,} {name}{'' if count == 1 else 's'}")
    return " ".join(parts) or "0 seconds"


def age_text(age: timedelta) -> str:
    """Return about how long something lasted: the two largest units."""
    seconds = max(int(age.total_seconds()), 0)
    return " ".join(duration_text(seconds).split(" ")[: 2 * _SHOWN])
