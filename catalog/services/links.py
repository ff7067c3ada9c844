"""Which meters a feature may be counted on."""

from datetime import datetime

from catalog.models import Feature, FeatureMeter, Meter
from catalog.services.rows import locked_or_inserted
from config.kernel.audit import AuditContext
from config.kernel.errors import Invalid
from config.tenancy.services.events import record_event


def link_meter(feature: Feature, meter: Meter) -> bool:
    """Link a meter to a feature; return whether it was not linked before.

    The meter that bears the feature's code becomes its primary one. Call inside
    `auditing`.
    """
    link = FeatureMeter(
        realm_id=feature.realm_id,
        feature=feature,
        meter=meter,
        is_primary=meter.meter_code == feature.feature_code,
    )
    same = FeatureMeter.objects.filter(
        realm=feature.realm_id, feature=feature, meter=meter
    )
    return locked_or_inserted(same, link)[1]


def unlink_meter(feature: Feature, meter_code: str, *, field: str) -> None:
    """Take a meter from a locked feature; the meter itself stays.

    Refuses (`Invalid` on `field`) a meter that is not linked, and the primary one.
    Call inside `auditing`.
    """
    if meter_code == feature.feature_code:
        raise Invalid(
            f"{meter_code} is the primary meter of the feature and stays with it.",
            field=field,
        )
    link = FeatureMeter.objects.filter(
        realm=feature.realm_id, feature=feature, meter__meter_code=meter_code
    )
    if not link.delete()[0]:
        raise Invalid(
            f"Feature {feature} has no meter {meter_code} to take away.", field=field
        )


def record_feature_event(
    what: str,
    feature: Feature,
    changed: list[str] | None = None,
    *,
    at: datetime,
    by: AuditContext,
) -> None:
    """Record `feature.<what>`, naming the changed fields."""
    payload: dict[str, object] = {"feature_code": feature.feature_code}
    if changed:
        payload["changed"] = changed
    record_event(
        realm=feature.realm,
        kind=f"feature.{what}",
        subject=feature,
        payload=payload,
        at=at,
        by=by,
    )
