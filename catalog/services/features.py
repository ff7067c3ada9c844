"""Verbs on features."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypedDict, Unpack
from uuid import UUID

from django.db import transaction

from catalog.models import BudgetStrategy, Feature, FeatureFamily, FeatureMeter
from catalog.services.entries import (
    Entries,
    MeterEntry,
    codes_to_unlink,
    entries_by_code,
    put_meters,
)
from catalog.services.families import FallbackFamilyProtected
from catalog.services.links import record_feature_event, unlink_meter
from catalog.services.rows import deleted, locked, locked_or_inserted, rewritten
from config.kernel.audit import AuditContext
from config.kernel.codes import normalize_code
from config.kernel.errors import Invalid, NotFound
from config.kernel.metadata import FeatureMetadata, check_metadata
from config.tenancy.history import auditing
from config.tenancy.models import Realm


class FeatureFields(TypedDict, total=False):
    """What may be said of a feature."""

    name: str
    description: str
    active: bool
    entitlement_required: bool | None
    default_budget_strategy: str
    unit: str
    metadata: dict[str, Any]


@transaction.atomic
def upsert_feature(
    *,
    realm: Realm,
    feature_code: str,
    feature_family_id: UUID | None = None,
    feature_family_code: str | None = None,
    meters: Sequence[MeterEntry] = (),
    at: datetime,
    by: AuditContext,
    **values: Unpack[FeatureFields],
) -> tuple[Feature, bool]:
    """Create the feature of that code or overwrite it; return it and whether it is new.

    Name the family by id or code, or by both if they agree. What is absent takes its
    default (a blank name: the code), except `active`, which stays as stored, and the
    meters: those listed are created or changed, and linked; the others stay. A new
    feature gets a primary meter of its own code. Refuses an unknown family
    (`NotFound`); a bad code or field, the fallback family, a meter listed twice
    (`Invalid`).
    """
    code = normalize_code(feature_code, "feature_code")
    family = _family(realm, feature_family_id, feature_family_code)
    entries = entries_by_code(code, meters)
    written: FeatureFields = {
        "description": "",
        "entitlement_required": None,
        "unit": "",
        "metadata": {},
        **_checked(values),
        "name": values.get("name", "").strip() or code,
    }
    with auditing(by, at=at):
        new = Feature(realm=realm, feature_code=code, feature_family=family, **written)
        feature, created = insert_feature(new, entries, at=at, by=by)
        if created or feature.feature_family_id != family.pk:
            _refuse_fallback(family)
        if not created:
            columns = {**written, "feature_family_id": family.pk}
            _rewrite(feature, columns, entries, (), at=at, by=by)
    return feature, created


def insert_feature(
    new: Feature, entries: Entries, *, at: datetime, by: AuditContext
) -> tuple[Feature, bool]:
    """Return the feature of that code, locked, and whether it is `new`, just inserted.

    A new one gets its meters: those of `entries`, and its primary one in any case.
    Call inside `auditing`.
    """
    same = Feature.objects.in_realm(new.realm).filter(feature_code=new.feature_code)
    feature, created = locked_or_inserted(same, new)
    if created:
        own = {feature.feature_code: ("meters", MeterEntry())}
        put_meters(feature, {**own, **entries}, at=at, by=by)
        record_feature_event("created", feature, at=at, by=by)
    return feature, created


@transaction.atomic
def change_feature(
    *,
    feature: Feature,
    feature_family_id: UUID | None = None,
    feature_family_code: str | None = None,
    meters: Sequence[MeterEntry] = (),
    delete_meters: Sequence[str] = (),
    at: datetime,
    by: AuditContext,
    **values: Unpack[FeatureFields],
) -> Feature:
    """Change the given fields of a feature, its family and its meters.

    `meters` are created or changed, and linked; `delete_meters` are unlinked by code.
    Refuses an unknown family (`NotFound`); a bad field, the fallback family, a meter
    listed twice, one to delete that is primary or not linked (`Invalid`).
    """
    if not values.get("name", "given").strip():
        raise Invalid("A feature needs a name.", field="name")
    columns: dict[str, object] = {**_checked(values)}
    entries = entries_by_code(feature.feature_code, meters)
    gone = codes_to_unlink(delete_meters, entries)
    feature = locked(Feature.objects.all(), feature)
    if feature_family_id is not None or feature_family_code is not None:
        family = _family(feature.realm, feature_family_id, feature_family_code)
        if feature.feature_family_id != family.pk:
            _refuse_fallback(family)
        columns["feature_family_id"] = family.pk
    with auditing(by, at=at):
        _rewrite(feature, columns, entries, gone, at=at, by=by)
    return feature


@transaction.atomic
def delete_feature(*, feature: Feature, at: datetime, by: AuditContext) -> bool:
    """Delete a feature that nothing refers to, else deactivate it.

    Its links to meters go with it, the meters stay. Returns whether the row is gone.
    """
    feature = locked(Feature.objects.all(), feature)
    links = FeatureMeter.objects.filter(realm=feature.realm_id, feature=feature)
    with auditing(by, at=at):
        gone = deleted(links, Feature.objects.filter(pk=feature.pk))
        if gone:
            record_feature_event("deleted", feature, at=at, by=by)
        else:
            _rewrite(feature, {"active": False}, {}, (), at=at, by=by)
    return gone


def _rewrite(
    feature: Feature,
    columns: dict[str, object],
    entries: Entries,
    gone: Sequence[str],
    *,
    at: datetime,
    by: AuditContext,
) -> None:
    changed = rewritten(feature, columns, at=at)
    for index, code in enumerate(gone):
        unlink_meter(feature, code, field=f"delete_meters.{index}")
    if put_meters(feature, entries, at=at, by=by) or gone:
        changed.append("meters")
    if changed:
        record_feature_event("changed", feature, changed, at=at, by=by)


def _family(
    realm: Realm, family_id: UUID | None, family_code: str | None
) -> FeatureFamily:
    """Return the family that id and code name. Both, if given, must agree."""
    families = FeatureFamily.objects.in_realm(realm)
    if family_id is not None:
        family = families.filter(pk=family_id).first()
        named, where = str(family_id), "feature_family_id"
    elif family_code is not None:
        named, where = family_code, "feature_family_code"
        code = normalize_code(family_code, where)
        family = families.filter(feature_family_code=code).first()
    else:
        raise Invalid(
            "Name the family by feature_family_id or feature_family_code.",
            field="feature_family_code",
        )
    if family is None:
        raise NotFound(f"There is no feature family {named}.", field=where)
    if family_code is not None:
        code = normalize_code(family_code, "feature_family_code")
        if family.feature_family_code != code:
            raise Invalid(
                f"feature_family_id names {family.feature_family_code} and "
                f"feature_family_code names {code}; they must agree.",
                field="feature_family_code",
            )
    return family


def _refuse_fallback(family: FeatureFamily) -> None:
    if family.is_fallback:
        raise FallbackFamilyProtected("feature_family_code")


def _checked(values: FeatureFields) -> FeatureFields:
    strategy = values.get("default_budget_strategy", BudgetStrategy.AUTO)
    if strategy not in BudgetStrategy.values:
        allowed = ", ".join(BudgetStrategy.values)
        raise Invalid(
            f"default_budget_strategy must be one of {allowed}.",
            field="default_budget_strategy",
        )
    if "metadata" in values:
        check_metadata(FeatureMetadata, values["metadata"])
    return values
