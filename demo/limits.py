"""The demo's two policy bundles."""

from datetime import datetime
from typing import Any

from config.kernel.audit import AuditContext
from config.tenancy.models import Realm
from demo.catalog import PRO_BUNDLE, STARTER_BUNDLE
from gating.services.bundles import upsert_bundle
from gating.services.policies import create_policy

DAY = 86_400
MINUTE = 60

# feature, kind, scope, unit, window in seconds, limit
LIMITS: dict[str, tuple[tuple[str, str, str, str, int, int | None], ...]] = {
    STARTER_BUNDLE: (
        ("chat.completion", "quota", "account", "token", DAY, 200_000),
        ("chat.completion", "rate", "user", "request", MINUTE, 20),
        ("search.query", "quota", "user", "query", DAY, 100),
        ("*", "quota", "account", "unit", DAY, 1_000),
    ),
    PRO_BUNDLE: (
        ("chat.completion", "quota", "account", "token", DAY, 5_000_000),
        ("chat.completion", "rate", "user", "request", MINUTE, 120),
        ("chat.vision", "quota", "account", "image", DAY, 500),
        ("search.query", "quota", "account", "query", DAY, 10_000),
        ("*", "quota", "account", "unit", DAY, None),
    ),
}
NAMES = {STARTER_BUNDLE: "Starter limits", PRO_BUNDLE: "Pro and Business limits"}


def create_bundles(realm: Realm, *, at: datetime, by: AuditContext) -> None:
    """Create the bundles of `LIMITS` with their policies."""
    for key, limits in LIMITS.items():
        bundle, _created = upsert_bundle(
            realm=realm, bundle_key=key, name=NAMES[key], at=at, by=by
        )
        for feature, kind, scope, unit, window, limit in limits:
            field = "limit_count" if kind == "rate" else "limit_minor"
            bound: dict[str, Any] = {field: limit}
            what = "everything else" if feature == "*" else feature
            create_policy(
                bundle=bundle,
                name=f"{NAMES[key]}: {kind} of {what}",
                feature_code=feature,
                kind=kind,
                subject_scope=scope,
                unit=unit,
                window_sec=window,
                **bound,
                at=at,
                by=by,
            )
