"""Features that come into being by being used."""

from datetime import datetime

from django.db import transaction

from catalog.models import FALLBACK_FAMILY_CODE, Feature, FeatureFamily
from catalog.services.entries import MeterEntry
from catalog.services.families import ensure_fallback_family, upsert_feature_family
from catalog.services.features import insert_feature
from config.kernel.audit import AuditContext
from config.kernel.codes import normalize_code
from config.tenancy.history import auditing
from config.tenancy.models import Realm


@transaction.atomic
def register_feature(
    *,
    realm: Realm,
    feature_code: str,
    feature_family_code: str | None = None,
    semantic_kind: str = "activity",
    source: str,
    at: datetime,
    by: AuditContext,
) -> Feature:
    """Return the feature of that code, creating it for a use nobody prepared.

    A new one needs no entitlement, counts on a primary meter of its own code and of
    `semantic_kind`, and lands in the family named (created if missing) or else in the
    realm's fallback family. `source` says which path met it. Refuses a bad code
    (`Invalid`).
    """
    code = normalize_code(feature_code, "feature_code")
    found = Feature.objects.in_realm(realm).filter(feature_code=code).first()
    if found is not None:
        return found
    family = _family(realm, feature_family_code, at=at, by=by)
    mark = {"auto_registry": {"auto": True, "source": source}}
    new = Feature(
        realm=realm,
        feature_code=code,
        feature_family=family,
        name=code,
        entitlement_required=False,
        metadata=mark,
    )
    primary = MeterEntry(values={"semantic_kind": semantic_kind, "metadata": mark})
    with auditing(by, at=at):
        return insert_feature(new, {code: ("meters.0", primary)}, at=at, by=by)[0]


def _family(
    realm: Realm, feature_family_code: str | None, *, at: datetime, by: AuditContext
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
    return upsert_feature_family(realm=realm, feature_family_code=code, at=at, by=by)[0]
