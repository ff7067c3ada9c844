"""What the gate gives every new realm."""

from datetime import datetime
from typing import Any

from config.kernel.audit import AuditContext
from config.tenancy.history import auditing
from config.tenancy.models import Realm
from gating.models import (
    DEFAULT_BUNDLE_KEY,
    UNLIMITED_POLICY_NAME,
    GatePolicy,
    GatePolicyBundle,
    PolicyKind,
    PolicyStatus,
)
from gating.projection import WILDCARD

DAY_SECONDS = 86_400


def create_default_bundle(
    *, subject: Realm, at: datetime, by: AuditContext, **_: Any
) -> None:
    """Give a new realm its default bundle, which limits nothing (`realm.created`)."""
    bundle = GatePolicyBundle(
        realm=subject, bundle_key=DEFAULT_BUNDLE_KEY, name="Default bundle"
    )
    with auditing(by, at=at):
        bundle.save(force_insert=True)
        GatePolicy(
            realm=subject,
            bundle=bundle,
            name=UNLIMITED_POLICY_NAME,
            description="Governs every feature that no other policy names.",
            feature_code=WILDCARD,
            kind=PolicyKind.QUOTA,
            unit="unit",
            window_sec=DAY_SECONDS,
            status=PolicyStatus.DEFAULT,
            updated_at=at,
        ).save(force_insert=True)
