"""What a deployment may set about the gate, from the environment."""

import os
from dataclasses import dataclass
from datetime import timedelta
from functools import cache

from django.core.exceptions import ImproperlyConfigured

MAX_SECONDS = 30 * 86_400
DEFAULT_TTL = timedelta(hours=12)
DEFAULT_GRACE = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Options:
    """The gate's options.

    Attributes:
        lease_ttl: how long an authorization may be committed on time.
        lease_grace: how long after that a late commit still counts.
        strict_meters: refuse (422) a commit on a meter that the feature does not have,
            instead of keeping it as quarantined usage.

    """

    lease_ttl: timedelta
    lease_grace: timedelta
    strict_meters: bool


@cache
def options() -> Options:
    """Return the options of this process.

    Read from PLANGATE_LEASE_TTL_SECONDS (1 second to 30 days, else 12 hours),
    PLANGATE_LEASE_GRACE_SECONDS (0 to 30 days, else 60 seconds) and
    PLANGATE_STRICT_METERS (1 or, else, 0). Refuses anything else
    (`ImproperlyConfigured`), at the start of the process.
    """
    return Options(
        lease_ttl=_seconds("PLANGATE_LEASE_TTL_SECONDS", DEFAULT_TTL, least=1),
        lease_grace=_seconds("PLANGATE_LEASE_GRACE_SECONDS", DEFAULT_GRACE, least=0),
        strict_meters=_flag("PLANGATE_STRICT_METERS"),
    )


def _seconds(name: str, default: timedelta, *, least: int) -> timedelta:
    text = os.environ.get(name)
    if not text:
        return default
    if not (text.isascii() and text.isdigit()) or not (
        least <= int(text[:9]) <= MAX_SECONDS
    ):
        raise ImproperlyConfigured(
            f"{name} must be a whole number of seconds, {least} to {MAX_SECONDS}; it "
            f"is {text[:32]!r}."
        )
    return timedelta(seconds=int(text))


def _flag(name: str) -> bool:
    text = os.environ.get(name, "0")
    if text not in {"0", "1"}:
        raise ImproperlyConfigured(f"{name} must be 0 or 1; it is {text[:32]!r}.")
    return text == "1"
