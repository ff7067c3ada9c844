"""What a deployment may set about the gate, from the environment."""

import os
from dataclasses import dataclass
from datetime import timedelta
from functools import cache

from django.core.exceptions import ImproperlyConfigured

MAX_SECONDS = 30 * 86_400
DEFAULT_TTL = timedelta(hours=12)
DEFAULT_GRACE = timedelta(seconds=60)
DEFAULT_LEASES_KEPT = 90
LEASES_KEPT_DAYS = (7, 365)
RATINGS_KEPT_MONTHS = (12, 1_200)
"""Longer than any lease is kept: what a rating says outlives what it was held by."""
DENIALS_KEPT_MONTHS = (1, 1_200)
DEFAULT_INGEST_AGE = 90
INGEST_AGE_DAYS = (1, 365)
"""No longer than ratings are kept at least: what is taken stays."""


@dataclass(frozen=True, slots=True)
class Options:
    """The gate's options.

    Attributes:
        lease_ttl: how long an authorization may be committed on time.
        lease_grace: how long after that a late commit still counts.
        strict_meters: refuse (422) a commit on a meter that the feature does not have,
            instead of keeping it as quarantined usage.
        leases_kept: how long a lease that ended is kept.
        ratings_kept_months: how many whole months of ratings are kept beside the
            present one; None: all.
        denials_kept_months: the same of denials.
        auto_register: let the first use of a feature or meter that the realm does not
            have register it.
        ingest_age: how long ago usage that is reported without a lease may have
            occurred.

    """

    lease_ttl: timedelta
    lease_grace: timedelta
    strict_meters: bool
    leases_kept: timedelta
    ratings_kept_months: int | None
    denials_kept_months: int | None
    auto_register: bool
    ingest_age: timedelta


@cache
def options() -> Options:
    """Return the options of this process.

    Read from PLANGATE_LEASE_TTL_SECONDS (1 second to 30 days, else 12 hours),
    PLANGATE_LEASE_GRACE_SECONDS (0 to 30 days, else 60 seconds),
    PLANGATE_STRICT_METERS and PLANGATE_AUTO_REGISTER (1 or, else, 0),
    PLANGATE_LEASES_KEPT_DAYS (7 to 365, else 90), PLANGATE_RATINGS_KEPT_MONTHS (12 to
    1200, else all), PLANGATE_DENIALS_KEPT_MONTHS (1 to 1200, else all) and
    PLANGATE_INGEST_AGE_DAYS (1 to 365, else 90). Refuses anything else
    (`ImproperlyConfigured`), at the start of the process.
    """
    return Options(
        lease_ttl=_seconds("PLANGATE_LEASE_TTL_SECONDS", DEFAULT_TTL, least=1),
        lease_grace=_seconds("PLANGATE_LEASE_GRACE_SECONDS", DEFAULT_GRACE, least=0),
        strict_meters=_flag("PLANGATE_STRICT_METERS"),
        leases_kept=timedelta(
            days=_whole("PLANGATE_LEASES_KEPT_DAYS", LEASES_KEPT_DAYS, "days")
            or DEFAULT_LEASES_KEPT
        ),
        ratings_kept_months=_whole(
            "PLANGATE_RATINGS_KEPT_MONTHS", RATINGS_KEPT_MONTHS, "months"
        ),
        denials_kept_months=_whole(
            "PLANGATE_DENIALS_KEPT_MONTHS", DENIALS_KEPT_MONTHS, "months"
        ),
        auto_register=_flag("PLANGATE_AUTO_REGISTER"),
        ingest_age=timedelta(
            days=_whole("PLANGATE_INGEST_AGE_DAYS", INGEST_AGE_DAYS, "days")
            or DEFAULT_INGEST_AGE
        ),
    )


def _seconds(name: str, default: timedelta, *, least: int) -> timedelta:
    seconds = _whole(name, (least, MAX_SECONDS), "seconds")
    return default if seconds is None else timedelta(seconds=seconds)


def _whole(name: str, bounds: tuple[int, int], unit: str) -> int | None:
    """Return the whole number that a variable says, None where it says nothing."""
    text = os.environ.get(name)
    if not text:
        return None
    least, most = bounds
    digits = text.isascii() and text.isdigit() and len(text) <= len(str(most))
    if not digits or not least <= int(text) <= most:
        raise ImproperlyConfigured(
            f"{name} must be a whole number of {unit}, {least} to {most}; it is "
            f"{text[:32]!r}."
        )
    return int(text)


def _flag(name: str) -> bool:
    text = os.environ.get(name, "0")
    if text not in {"0", "1"}:
        raise ImproperlyConfigured(f"{name} must be 0 or 1; it is {text[:32]!r}.")
    return text == "1"
