"""Features and meters that come into being by being used.

What is made here is marked in its metadata (`auto_registry`). How much of it may wait
for a price is bounded in each realm, so that a flood of invented codes ends.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db import transaction

from catalog.models import (
    FALLBACK_FAMILY_CODE,
    Feature,
    FeatureFamily,
    Meter,
    SemanticKind,
)
from catalog.selectors.registration import is_registered, waiting_for_price
from catalog.services.entries import MeterEntry, put_meters
from catalog.services.families import ensure_fallback_family, upsert_feature_family
from catalog.services.features import insert_feature
from catalog.services.links import record_feature_event
from catalog.services.rows import locked
from config.kernel.audit import AuditContext
from config.kernel.codes import normalize_code
from config.kernel.errors import Refused
from config.tenancy.history import auditing
from config.tenancy.models import Realm

MOST_WAITING = 1000
"""Meters of a realm that were registered by use and have no price yet."""


class RegistryFull(Refused):
    """So much waits for a price that no more is registered by use (422)."""

    default_code = "CATALOG.REGISTRY_FULL"

    def __init__(self, code: str) -> None:
        super().__init__(
            f"{code} was not registered: {MOST_WAITING:,} meters that were registered "
            "by use have no price yet, the most in one realm. Price them, or switch "
            "their features off.",
        )


@transaction.atomic
def register_feature(
    *,
    realm: Realm,
    feature_code: str,
    feature_family_code: str | None = None,
    semantic_kind: str = SemanticKind.ACTIVITY,
    source: str,
    at: datetime,
    by: AuditContext,
) -> Feature:
    """Return the feature of that code, creating it for a use nobody prepared.

    A new one needs no entitlement, counts on a primary meter of its own code, and
    lands in the family named (created if missing) or else in the realm's fallback
    family. The meter is made, of `semantic_kind`, unless the realm has one of that
    code. `source` says which path met it. Refuses a bad code (`Invalid`) and one more
    than a realm takes (`RegistryFull`).
    """
    code = normalize_code(feature_code, "feature_code")
    features = Feature.objects.in_realm(realm).filter(feature_code=code)
    if (found := features.first()) is not None:
        return found
    _take_turn(realm, code, at=at)
    if (found := features.first()) is not None:
        return found
    mark = _mark(source)
    new = Feature(
        realm=realm,
        feature_code=code,
        feature_family=_family(realm, feature_family_code, mark, at=at, by=by),
        name=code,
        entitlement_required=False,
        metadata=mark,
    )
    entries = _entries(realm, [code], semantic_kind, mark)
    with auditing(by, at=at):
        return insert_feature(new, entries, at=at, by=by)[0]


@transaction.atomic
def register_meters(
    *,
    realm: Realm,
    feature_code: str,
    meter_codes: Sequence[str],
    semantic_kind: str = SemanticKind.ACTIVITY,
    source: str,
    at: datetime,
    by: AuditContext,
) -> list[str]:
    """Link meters to a feature for a use nobody prepared; return those linked now.

    A code that the realm does not have becomes a meter of `semantic_kind`; one that
    was registered by use is linked, too. A meter that somebody made is linked by
    somebody, and left out here. Refuses as `register_feature`.
    """
    codes = [normalize_code(code, "meter_code") for code in meter_codes]
    known = {
        meter.meter_code: meter
        for meter in Meter.objects.in_realm(realm).filter(meter_code__in=codes)
    }
    wanted = [
        code for code in codes if code not in known or _fits(known[code], semantic_kind)
    ]
    if not wanted:
        return []
    _take_turn(realm, wanted[0], at=at, more=len(wanted))
    entries = _entries(realm, wanted, semantic_kind, _mark(source))
    features = Feature.objects.in_realm(realm).select_for_update(no_key=True)
    feature = features.get(feature_code=feature_code)
    with auditing(by, at=at):
        if put_meters(feature, entries, at=at, by=by):
            record_feature_event("changed", feature, ["meters"], at=at, by=by)
    return wanted


def _fits(meter: Meter, semantic_kind: str) -> bool:
    return (
        is_registered(meter) and meter.active and meter.semantic_kind == semantic_kind
    )


def _take_turn(realm: Realm, code: str, *, at: datetime, more: int = 1) -> None:
    """Be the only one to register in the realm; refuse (`RegistryFull`) too much.

    Counted twice: a flood is refused without waiting for anybody, and nobody passes
    the bound beside another.
    """
    if waiting_for_price(realm, at=at) + more > MOST_WAITING:
        raise RegistryFull(code)
    locked(Realm.objects.all(), realm)
    if waiting_for_price(realm, at=at) + more > MOST_WAITING:
        raise RegistryFull(code)


def _mark(source: str) -> dict[str, Any]:
    return {"auto_registry": {"auto": True, "source": source}}


def _entries(
    realm: Realm, codes: Sequence[str], semantic_kind: str, mark: dict[str, Any]
) -> dict[str, tuple[str, MeterEntry]]:
    """Return the meters to put: what somebody has made is linked as it is."""
    kept = set(
        Meter.objects.in_realm(realm)
        .filter(meter_code__in=codes)
        .values_list("meter_code", flat=True)
    )
    new = MeterEntry(
        values={"unit": "unit", "semantic_kind": semantic_kind, "metadata": mark}
    )
    return {
        code: ("meters", MeterEntry(meter_code=code) if code in kept else new)
        for code in codes
    }


def _family(
    realm: Realm,
    feature_family_code: str | None,
    mark: dict[str, Any],
    *,
    at: datetime,
    by: AuditContext,
) -> FeatureFamily:
    if feature_family_code is None:
        return ensure_fallback_family(realm=realm, at=at, by=by)
    code = normalize_code(feature_family_code, "feature_family_code")
    if code == FALLBACK_FAMILY_CODE:
        return ensure_fallback_family(realm=realm, at=at, by=by)
    families = FeatureFamily.objects.in_realm(realm)
    found = families.filter(feature_family_code=code).first()
    if found is not None:
        return found
    return upsert_feature_family(
        realm=realm, feature_family_code=code, metadata=mark, at=at, by=by
    )[0]
