"""Verbs on realms."""

import re
from datetime import datetime
from typing import Any

from django.db import transaction

from config.kernel.audit import AuditContext
from config.kernel.errors import Conflict, Invalid
from config.kernel.metadata import RealmMetadata, check_metadata
from config.tenancy.history import auditing
from config.tenancy.models import Realm, RealmStatus
from config.tenancy.models.realms import REALM_ID_PATTERN, REALM_ID_RULE
from config.tenancy.services.events import record_event


@transaction.atomic
def create_realm(
    *,
    realm_id: str,
    name: str = "",
    metadata: dict[str, Any] | None = None,
    at: datetime,
    by: AuditContext,
) -> Realm:
    """Create a realm and provision what every realm starts with.

    Apps above add their defaults through the event `realm.created`: the default plan,
    the default policy bundle. Refuses a taken id (`Conflict`), one that is not plain
    and bad metadata (`Invalid`).
    """
    if re.fullmatch(REALM_ID_PATTERN, realm_id) is None:
        raise Invalid(REALM_ID_RULE, field="realm_id")
    if Realm.objects.filter(pk=realm_id).exists():
        raise Conflict(f"Realm {realm_id} already exists.", field="realm_id")
    check_metadata(RealmMetadata, metadata or {})
    realm = Realm(realm_id=realm_id, name=name or realm_id, metadata=metadata or {})
    with auditing(by, at=at):
        realm.save(force_insert=True)
        record_event(realm=realm, kind="realm.created", subject=realm, at=at, by=by)
    return realm


@transaction.atomic
def change_realm(
    *,
    realm: Realm,
    name: str,
    metadata: dict[str, Any],
    at: datetime,
    by: AuditContext,
) -> Realm:
    """Rename a realm or replace its metadata. Refuses bad metadata (`Invalid`)."""
    check_metadata(RealmMetadata, metadata)
    realm.name = name
    realm.metadata = metadata
    realm.updated_at = at
    with auditing(by, at=at):
        realm.save(update_fields=["name", "metadata", "updated_at"])
        record_event(realm=realm, kind="realm.changed", subject=realm, at=at, by=by)
    return realm


@transaction.atomic
def set_realm_status(
    *, realm: Realm, status: str, at: datetime, by: AuditContext
) -> Realm:
    """Activate, suspend or delete a realm; its callers feel it at their next request.

    Refuses an unknown status (`Invalid` on `status`).
    """
    if status not in RealmStatus.values:
        raise Invalid(f"Unknown realm status {status!r}.", field="status")
    realm.status = status
    realm.updated_at = at
    with auditing(by, at=at):
        realm.save(update_fields=["status", "updated_at"])
        record_event(realm=realm, kind="realm.changed", subject=realm, at=at, by=by)
    return realm
