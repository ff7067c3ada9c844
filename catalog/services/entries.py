"""The meters of a feature, as a caller lists them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from catalog.models import Feature
from catalog.services.links import link_meter
from catalog.services.meters import MeterFields, upsert_meter
from catalog.services.prices import PriceTerms
from catalog.services.rows import under
from config.kernel.audit import AuditContext
from config.kernel.codes import normalize_code
from config.kernel.errors import Invalid


@dataclass(frozen=True, slots=True)
class MeterEntry:
    """One element of a feature's `meters`: a meter to create or change, and to link.

    Attributes:
        meter_code: None means the feature's own code, its primary meter.
        feature_code: may repeat the feature's code, and name no other.
        values: what to write; absent fields keep what is stored.
        price: supersedes the meter's price; None leaves it.

    """

    meter_code: str | None = None
    feature_code: str | None = None
    values: MeterFields = field(default_factory=MeterFields)
    price: PriceTerms | None = None


Entries = Mapping[str, tuple[str, MeterEntry]]
"""Entries by meter code, each with its path in the input."""


def entries_by_code(feature_code: str, meters: Sequence[MeterEntry]) -> Entries:
    """Return the entries of a feature by meter code.

    Refuses (`Invalid`) a bad code, another feature's code, a meter listed twice.
    """
    entries: dict[str, tuple[str, MeterEntry]] = {}
    for index, entry in enumerate(meters):
        path = f"meters.{index}"
        owner = entry.feature_code
        if owner is not None and (
            normalize_code(owner, f"{path}.feature_code") != feature_code
        ):
            raise Invalid(
                f"This is feature {feature_code}; its meters cannot name another.",
                field=f"{path}.feature_code",
            )
        given = feature_code if entry.meter_code is None else entry.meter_code
        code = normalize_code(given, f"{path}.meter_code")
        if code in entries:
            raise Invalid(f"Meter {code} is listed twice.", field=f"{path}.meter_code")
        entries[code] = (path, entry)
    return entries


def codes_to_unlink(codes: Sequence[str], kept: Entries) -> list[str]:
    """Return the codes in `delete_meters`.

    Refuses (`Invalid`) a bad code, one listed twice, and one that is in `kept` too.
    """
    gone: list[str] = []
    for index, given in enumerate(codes):
        path = f"delete_meters.{index}"
        code = normalize_code(given, path)
        if code in kept:
            raise Invalid(
                f"Meter {code} is both in meters and in delete_meters.", field=path
            )
        if code in gone:
            raise Invalid(f"Meter {code} is listed twice.", field=path)
        gone.append(code)
    return gone


def put_meters(
    feature: Feature, entries: Entries, *, at: datetime, by: AuditContext
) -> bool:
    """Create or change, and link, the meters of a locked feature.

    Returns whether a link is new. Call inside `auditing`. The meters are taken in
    order of code, so that two writers of the same ones wait for each other instead
    of deadlocking.
    """
    linked = False
    for code, (path, entry) in sorted(entries.items()):
        with under(path):
            meter, _ = upsert_meter(
                realm=feature.realm,
                meter_code=code,
                price=entry.price,
                default_unit=feature.unit or "unit",
                at=at,
                by=by,
                **entry.values,
            )
        linked = link_meter(feature, meter) or linked
    return linked
