from config.tenancy.models.base import RealmQuerySet, Row
from config.tenancy.models.events import DomainEvent
from config.tenancy.models.idempotency import StoredAnswer
from config.tenancy.models.job_runs import JobRun
from config.tenancy.models.realms import Realm, RealmStatus
from config.tenancy.models.service_keys import (
    CredentialVersion,
    KeyDerivation,
    Scope,
    ServiceKey,
    ServiceKeyNonce,
    ServiceKeyStatus,
)

__all__ = [
    "CredentialVersion",
    "DomainEvent",
    "JobRun",
    "KeyDerivation",
    "Realm",
    "RealmQuerySet",
    "RealmStatus",
    "Row",
    "Scope",
    "ServiceKey",
    "ServiceKeyNonce",
    "ServiceKeyStatus",
    "StoredAnswer",
]
