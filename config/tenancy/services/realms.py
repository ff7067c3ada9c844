"""Verbs on realms."""

import json
import re
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction

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
    check_metadata(RealmMetadata, metadata or {})
    realm = Realm(realm_id=realm_id, name=name or realm_id, metadata=metadata or {})
    with auditing(by, at=at):
        try:
            with transaction.atomic():
                realm.save(force_insert=True)
        except IntegrityError as error:
            # The key decides, also between two that create it at once.
            if not Realm.objects.filter(pk=realm_id).exists():
                raise
            raise Conflict(
                f"Realm {realm_id} already exists.", field="realm_id"
            ) from error
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
    """Rename a realm or replace its metadata; the same again changes nothing.

    Refuses a realm without a name, bad metadata and, by an app above, a default plan
    that is not there (`Invalid`).
    """
    check_metadata(RealmMetadata, metadata)
    if not name.strip():
        raise Invalid("A realm needs a name.", field="name")
    return _rewritten(realm, {"name": name, "metadata": metadata}, at=at, by=by)


@transaction.atomic
def set_realm_status(
    *, realm: Realm, status: str, at: datetime, by: AuditContext
) -> Realm:
    """Activate, suspend or delete a realm; its callers feel it at their next request.

    Refuses an unknown status (`Invalid` on `status`).
    """
    if status not in RealmStatus.values:
        raise Invalid(f"Unknown realm status {status!r}.", field="status")
    return _rewritten(realm, {"status": status}, at=at, by=by)


def _rewritten(
    realm: Realm, values: dict[str, Any], *, at: datetime, by: AuditContext
) -> Realm:
    """Give the realm `values`, and return it as it now is; write what differs."""
    realm = Realm.objects.select_for_update(no_key=True).get(pk=realm.pk)
    # As text: to Python, but not to JSON, true and 1 are equal.
    changed = [
        name
        for name, value in values.items()
        if json.dumps(getattr(realm, name), sort_keys=True)
        != json.dumps(value, sort_keys=True)
    ]
    with auditing(by, at=at):
        if not changed:
            return realm
        for name in changed:
            setattr(realm, name, values[name])
        realm.updated_at = at
        realm.save(update_fields=[*changed, "updated_at"])
        record_event(
            realm=realm,
            kind="realm.changed",
            subject=realm,
            payload={"changed": changed},
            at=at,
            by=by,
        )
    return realm
