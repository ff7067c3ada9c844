"""What the catalog and a realm's defaults said by an instant, from their history.

What was not yet recorded by then counts as it was first recorded, as for plans.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection

from catalog.models import Feature
from config.tenancy.models import Realm

_AS_OF_THEN = """
    ORDER BY h.history_date <= %(known_by)s DESC,
        CASE WHEN h.history_date <= %(known_by)s
            THEN -h.history_id ELSE h.history_id END
"""

_DEFAULTS = f"""
SELECT h.metadata FROM realms_history h
WHERE h.realm_id = %(realm_id)s {_AS_OF_THEN} LIMIT 1
"""  # noqa: S608 - constant text.

_FEATURES = f"""
SELECT f.id, f.feature_code, f.feature_family_id,
    coalesce(f.entitlement_required, family.entitlement_required)
FROM (SELECT DISTINCT h.id FROM features_history h WHERE h.realm_id = %(realm_id)s) each
JOIN LATERAL (
    SELECT h.* FROM features_history h WHERE h.id = each.id {_AS_OF_THEN} LIMIT 1
) f ON f.active AND f.history_type <> '-'
JOIN LATERAL (
    SELECT h.entitlement_required FROM feature_families_history h
    WHERE h.id = f.feature_family_id {_AS_OF_THEN} LIMIT 1
) family ON true
ORDER BY f.feature_code
"""  # noqa: S608 - constant text.

_FEATURE = f"""
SELECT f.active, f.feature_family_id, family.feature_family_code,
    coalesce(f.entitlement_required, family.entitlement_required)
FROM (
    SELECT h.* FROM features_history h WHERE h.id = %(feature_id)s {_AS_OF_THEN} LIMIT 1
) f
JOIN LATERAL (
    SELECT h.* FROM feature_families_history h
    WHERE h.id = f.feature_family_id {_AS_OF_THEN} LIMIT 1
) family ON true
"""  # noqa: S608 - constant text.


@dataclass(frozen=True, slots=True)
class OfferedFeature:
    """A feature that was switched on: where it stood, and whether a plan was needed."""

    feature_id: UUID
    feature_code: str
    family_id: UUID
    needs_entitlement: bool


def realm_defaults(realm: Realm, known_by: datetime | None) -> dict[str, Any]:
    """Return the realm's metadata: today's, or as recorded by an instant."""
    present: dict[str, Any] = realm.metadata
    if known_by is None:
        return present
    with connection.cursor() as cursor:
        cursor.execute(_DEFAULTS, {"realm_id": realm.pk, "known_by": known_by})
        row = cursor.fetchone()
    return _document(row[0]) if row else present


def _document(value: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(value) if isinstance(value, str) else value
    return found


def offered_features(realm_id: str, known_by: datetime | None) -> list[OfferedFeature]:
    """Return the active features by code: today's, or as recorded by an instant."""
    if known_by is not None:
        with connection.cursor() as cursor:
            cursor.execute(_FEATURES, {"realm_id": realm_id, "known_by": known_by})
            return [OfferedFeature(*row) for row in cursor.fetchall()]
    features = (
        Feature.objects.in_realm(realm_id)
        .filter(active=True)
        .select_related("feature_family")
        .order_by("feature_code")
    )
    return [
        OfferedFeature(
            feature.pk,
            feature.feature_code,
            feature.feature_family_id,
            feature.needs_entitlement,
        )
        for feature in features
    ]


@dataclass(frozen=True, slots=True)
class FeatureThen:
    """Where a feature stood: on or off, its family, and whether a plan was needed."""

    active: bool
    family_id: UUID
    feature_family_code: str
    needs_entitlement: bool


def feature_then(feature: Feature, known_by: datetime) -> FeatureThen:
    """Return where a feature stood, as recorded by an instant (aware UTC)."""
    with connection.cursor() as cursor:
        arguments: dict[str, Any] = {"feature_id": feature.pk, "known_by": known_by}
        cursor.execute(_FEATURE, arguments)
        return FeatureThen(*cursor.fetchone())
