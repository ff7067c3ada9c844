"""Adding to the catalog by using it, where the deployment lets uses register."""

from collections.abc import Sequence
from datetime import datetime

from catalog.services.registration import register_feature, register_meters
from config.kernel.audit import AuditContext
from gating.options import options
from gating.services.subjects import Subject


def registers(subject: Subject) -> bool:
    """Return whether the subject's use of something unknown registers it."""
    return options().auto_register and subject.may_register


def registered_feature(
    subject: Subject,
    feature_code: str,
    feature_family_code: str | None = None,
    *,
    source: str,
    at: datetime,
    by: AuditContext,
) -> bool:
    """Register a feature that the realm does not have; return whether it has it now.

    Refuses (`RegistryFull`) one more than a realm takes.
    """
    if not registers(subject):
        return False
    register_feature(
        realm=subject.bind()[0].realm,
        feature_code=feature_code,
        feature_family_code=feature_family_code,
        source=source,
        at=at,
        by=by,
    )
    return True


def registered_meters(
    subject: Subject,
    feature_code: str,
    meter_codes: Sequence[str],
    *,
    source: str,
    at: datetime,
    by: AuditContext,
) -> list[str]:
    """Register meters that a feature does not have; return those that it has now.

    Refuses (`RegistryFull`) more than a realm takes.
    """
    if not registers(subject):
        return []
    return register_meters(
        realm=subject.bind()[0].realm,
        feature_code=feature_code,
        meter_codes=meter_codes,
        source=source,
        at=at,
        by=by,
    )
