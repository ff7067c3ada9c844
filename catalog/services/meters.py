"""Verbs on meters."""

from datetime import datetime
from typing import Any, TypedDict, Unpack

from django.db import transaction

from catalog.models import DisplayRounding, Feature, Meter, SemanticKind
from catalog.models.meters import MAX_SCALE
from catalog.services.links import link_meter, record_feature_event
from catalog.services.prices import PriceTerms, set_meter_price
from catalog.services.rows import locked, locked_or_inserted, rewritten, under
from config.kernel.audit import AuditContext
from config.kernel.codes import normalize_code
from config.kernel.errors import Invalid, NotFound
from config.kernel.metadata import MeterMetadata, check_metadata
from config.tenancy.history import auditing
from config.tenancy.models import Realm
from config.tenancy.services.events import record_event


class MeterFields(TypedDict, total=False):
    """What may be said of a meter; an absent key is left as it is."""

    unit: str
    scale: int
    rounding: str
    semantic_kind: str
    active: bool
    metadata: dict[str, Any]


@transaction.atomic
def upsert_meter(
    *,
    realm: Realm,
    meter_code: str,
    feature_code: str | None = None,
    price: PriceTerms | None = None,
    default_unit: str = "unit",
    at: datetime,
    by: AuditContext,
    **values: Unpack[MeterFields],
) -> tuple[Meter, bool]:
    """Create the meter of that code or change it; return it and whether it is new.

    Absent fields keep what is stored; in a new meter they are: `default_unit`, scale
    0, rounding round, kind activity, active. `feature_code` links the meter to that
    feature; `price` supersedes the price in force. Refuses a bad code or field
    (`Invalid`), an unknown feature (`NotFound`), and what `set_meter_price` refuses.
    """
    code = normalize_code(meter_code, "meter_code")
    values = _checked(values)
    feature = None if feature_code is None else _feature(realm, feature_code)
    new = Meter(realm=realm, meter_code=code, **{"unit": default_unit, **values})
    same = Meter.objects.in_realm(realm).filter(meter_code=code)
    with auditing(by, at=at):
        meter, created = locked_or_inserted(same, new)
        if created:
            _record("created", meter, at=at, by=by)
        _settle(meter, values, feature, price, at=at, by=by)
    return meter, created


@transaction.atomic
def change_meter(
    *,
    meter: Meter,
    meter_code: str | None = None,
    feature_code: str | None = None,
    price: PriceTerms | None = None,
    at: datetime,
    by: AuditContext,
    **values: Unpack[MeterFields],
) -> Meter:
    """Change the given fields of a meter and leave the others.

    `feature_code` links it to that feature as well; `price` supersedes the price in
    force. Refuses what `upsert_meter` refuses, and another `meter_code`.
    """
    if meter_code is not None:
        code = normalize_code(meter_code, "meter_code")
        if code != meter.meter_code:
            raise Invalid(
                f"The code of meter {meter} cannot be changed, to {code} or another.",
                field="meter_code",
            )
    values = _checked(values)
    feature = None if feature_code is None else _feature(meter.realm, feature_code)
    meter = locked(Meter.objects.all(), meter)
    with auditing(by, at=at):
        _settle(meter, values, feature, price, at=at, by=by)
    return meter


def _settle(
    meter: Meter,
    values: MeterFields,
    feature: Feature | None,
    price: PriceTerms | None,
    *,
    at: datetime,
    by: AuditContext,
) -> None:
    """Bring a locked meter, its link and its price to what was asked for."""
    changed = rewritten(meter, dict(values), at=at)
    if changed:
        _record("changed", meter, changed, at=at, by=by)
    if feature is not None and link_meter(feature, meter):
        record_feature_event("changed", feature, ["meters"], at=at, by=by)
    if price is not None:
        with under("meter_prices"):
            set_meter_price(meter=meter, terms=price, at=at, by=by)


def _feature(realm: Realm, feature_code: str) -> Feature:
    code = normalize_code(feature_code, "feature_code")
    feature = Feature.objects.in_realm(realm).filter(feature_code=code).first()
    if feature is None:
        raise NotFound(f"There is no feature {code}.", field="feature_code")
    return feature


def _checked(values: MeterFields) -> MeterFields:
    scale = values.get("scale", 0)
    if not 0 <= scale <= MAX_SCALE:
        raise Invalid(
            f"The scale is 0 to {MAX_SCALE} digits, not {scale}.", field="scale"
        )
    if not values.get("unit", "unit").strip():
        raise Invalid("A meter needs a unit.", field="unit")
    if values.get("rounding", "round") not in DisplayRounding.values:
        raise _unknown("rounding", DisplayRounding.values)
    if values.get("semantic_kind", "activity") not in SemanticKind.values:
        raise _unknown("semantic_kind", SemanticKind.values)
    if "metadata" in values:
        check_metadata(MeterMetadata, values["metadata"])
    return values


def _unknown(field: str, choices: list[str]) -> Invalid:
    return Invalid(f"{field} must be one of {', '.join(choices)}.", field=field)


def _record(
    what: str,
    meter: Meter,
    changed: list[str] | None = None,
    *,
    at: datetime,
    by: AuditContext,
) -> None:
    payload: dict[str, object] = {"meter_code": meter.meter_code}
    if changed:
        payload["changed"] = changed
    record_event(
        realm=meter.realm,
        kind=f"meter.{what}",
        subject=meter,
        payload=payload,
        at=at,
        by=by,
    )
