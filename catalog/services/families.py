"""Verbs on feature families."""

from datetime import datetime
from typing import Any, TypedDict, Unpack

from django.db import transaction

from catalog.models import FALLBACK_FAMILY_CODE, FeatureFamily
from catalog.services.rows import deleted, locked, locked_or_inserted, rewritten
from config.kernel.audit import AuditContext
from config.kernel.codes import normalize_code
from config.kernel.errors import Invalid
from config.kernel.metadata import FeatureFamilyMetadata, check_metadata
from config.tenancy.history import auditing
from config.tenancy.models import Realm
from config.tenancy.services.events import record_event


class FallbackFamilyProtected(Invalid):
    """The fallback family is the system's: nobody edits it or assigns to it (422)."""

    def __init__(self, field: str) -> None:
        super().__init__(
            f"{FALLBACK_FAMILY_CODE} is the fallback family, kept by the system; "
            "choose another family.",
            field=field,
        )


class FeatureFamilyFields(TypedDict, total=False):
    """What may be said of a feature family."""

    name: str
    description: str
    active: bool
    entitlement_required: bool
    metadata: dict[str, Any]


@transaction.atomic
def upsert_feature_family(
    *,
    realm: Realm,
    feature_family_code: str,
    at: datetime,
    by: AuditContext,
    **values: Unpack[FeatureFamilyFields],
) -> tuple[FeatureFamily, bool]:
    """Create the family of that code or overwrite it; return it and whether it is new.

    What is absent takes its default (a blank name: the code; entitlement required),
    except `active`, which stays as stored. Refuses a bad code or field and the fallback
    family's code (`Invalid`).
    """
    code = normalize_code(feature_family_code, "feature_family_code")
    if code == FALLBACK_FAMILY_CODE:
        raise FallbackFamilyProtected("feature_family_code")
    written: FeatureFamilyFields = {
        "description": "",
        "entitlement_required": True,
        "metadata": {},
        **_checked(values),
        "name": values.get("name", "").strip() or code,
    }
    new = FeatureFamily(realm=realm, feature_family_code=code, **written)
    same = FeatureFamily.objects.in_realm(realm).filter(feature_family_code=code)
    with auditing(by, at=at):
        family, created = locked_or_inserted(same, new)
        if created:
            _record("created", family, at=at, by=by)
        else:
            _rewrite(family, written, at=at, by=by)
    return family, created


@transaction.atomic
def change_feature_family(
    *,
    family: FeatureFamily,
    at: datetime,
    by: AuditContext,
    **changes: Unpack[FeatureFamilyFields],
) -> FeatureFamily:
    """Change the given fields of a family and leave the others.

    Refuses the fallback family, a blank name and bad metadata (`Invalid`).
    """
    if family.is_fallback:
        raise FallbackFamilyProtected("feature_family_id")
    if not changes.get("name", "given").strip():
        raise Invalid("A feature family needs a name.", field="name")
    values = _checked(changes)
    family = locked(FeatureFamily.objects.all(), family)
    with auditing(by, at=at):
        _rewrite(family, values, at=at, by=by)
    return family


@transaction.atomic
def delete_feature_family(
    *, family: FeatureFamily, at: datetime, by: AuditContext
) -> bool:
    """Delete a family that nothing refers to, else deactivate it.

    Returns whether the row is gone. Refuses the fallback family (`Invalid`).
    """
    if family.is_fallback:
        raise FallbackFamilyProtected("feature_family_id")
    family = locked(FeatureFamily.objects.all(), family)
    with auditing(by, at=at):
        gone = deleted(FeatureFamily.objects.filter(pk=family.pk))
        if gone:
            _record("deleted", family, at=at, by=by)
        else:
            _rewrite(family, {"active": False}, at=at, by=by)
    return gone


@transaction.atomic
def ensure_fallback_family(
    *, realm: Realm, at: datetime, by: AuditContext
) -> FeatureFamily:
    """Return the realm's fallback family, creating it on first use."""
    same = FeatureFamily.objects.in_realm(realm).filter(is_fallback=True)
    found = same.first()
    if found is not None:
        return found
    new = FeatureFamily(
        realm=realm,
        feature_family_code=FALLBACK_FAMILY_CODE,
        name=FALLBACK_FAMILY_CODE,
        is_fallback=True,
        metadata={"auto_registry": {"fallback": True}},
    )
    with auditing(by, at=at):
        family, created = locked_or_inserted(same, new)
        if created:
            _record("created", family, at=at, by=by)
    return family


def _checked(values: FeatureFamilyFields) -> FeatureFamilyFields:
    if "metadata" in values:
        check_metadata(FeatureFamilyMetadata, values["metadata"])
    return values


def _rewrite(
    family: FeatureFamily,
    values: FeatureFamilyFields,
    *,
    at: datetime,
    by: AuditContext,
) -> None:
    changed = rewritten(family, dict(values), at=at)
    if changed:
        _record("changed", family, changed, at=at, by=by)


def _record(
    what: str,
    family: FeatureFamily,
    changed: list[str] | None = None,
    *,
    at: datetime,
    by: AuditContext,
) -> None:
    payload: dict[str, Any] = {"feature_family_code": family.feature_family_code}
    if changed:
        payload["changed"] = changed
    record_event(
        realm=family.realm,
        kind=f"feature_family.{what}",
        subject=family,
        payload=payload,
        at=at,
        by=by,
    )
