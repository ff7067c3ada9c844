"""HTTP idempotency: one effect per key, and the same answer again.

The answer is stored in the transaction of the effect. A concurrent repeat waits on
the unique key until the first has ended, and then either replays its answer or, where
it failed, becomes the first. Failures are not stored.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection

from config.kernel.errors import Conflict
from config.kernel.ids import new_id
from config.tenancy.callers import Caller
from config.tenancy.models import StoredAnswer

KEPT = timedelta(hours=24)

_CLAIM = f"""
INSERT INTO {StoredAnswer._meta.db_table} AS stored
    (id, realm_id, caller, binding, method, path, key, identity_hash, request_hash,
     status, body, expires_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, 200, '', %s)
ON CONFLICT (realm_id, identity_hash) DO UPDATE
    SET request_hash = excluded.request_hash, status = 200, body = '',
        expires_at = excluded.expires_at, id = excluded.id
    WHERE stored.expires_at <= %s
RETURNING id
"""  # noqa: S608 - the table name is ours.


@dataclass(frozen=True, slots=True)
class WriteIdentity:
    """What makes two HTTP writes the same one (docs/api.md, "Idempotency")."""

    caller: Caller
    method: str
    path: str
    key: str
    body: bytes

    @property
    def binding(self) -> str:
        """Return the bound account and user, as one text."""
        bound = self.caller.bindings
        return "\n".join(
            part or ""
            for part in (
                bound.principal_id,
                bound.user_id,
                bound.billing_account_id,
                bound.billing_user_id,
            )
        )

    @property
    def scope(self) -> list[str]:
        """Return who asks for what: caller, binding, method, path and key."""
        caller = f"{self.caller.kind}:{self.caller.identifier}"
        return [caller, self.binding, self.method, self.path, self.key]

    @property
    def digest(self) -> bytes:
        """Return the 32 bytes that stand for `scope`."""
        return identity_digest(self.scope)


def identity_digest(scope: Sequence[str]) -> bytes:
    """Return SHA-256 of the parts of a scope, each framed so that none runs over."""
    return hashlib.sha256(json.dumps(list(scope)).encode()).digest()


@dataclass(frozen=True, slots=True)
class Replay:
    """A stored answer: HTTP status and envelope bytes."""

    status: int
    body: bytes


def claim(identity: WriteIdentity, *, at: datetime) -> Replay | None:
    """Claim the key for this transaction, or return the answer already given.

    Refuses (409) the same key with another body. Call inside the transaction of the
    effect; follow with `keep_answer` in the same transaction.
    """
    realm_id, digest = identity.caller.realm.pk, identity.digest
    request_hash = hashlib.sha256(identity.body).digest()
    row: list[Any] = [
        new_id(),
        realm_id,
        *identity.scope,
        digest,
        request_hash,
        at + KEPT,
    ]
    with connection.cursor() as cursor:
        cursor.execute(_CLAIM, [*row, at])
        if cursor.fetchone() is not None:
            return None
    stored = StoredAnswer.objects.get(realm_id=realm_id, identity_hash=digest)
    if bytes(stored.request_hash) != request_hash:
        raise Conflict(
            "This Idempotency-Key was used with another body.",
            code="WRITE.INVALID_PAYLOAD",
        )
    return Replay(stored.status, bytes(stored.body))


def keep_answer(identity: WriteIdentity, *, status: int, body: bytes) -> None:
    """Store the answer of the claimed write, in the transaction of its effect."""
    StoredAnswer.objects.filter(
        realm=identity.caller.realm, identity_hash=identity.digest
    ).update(status=status, body=body)


def purge_answers(*, at: datetime, batch: int = 1000) -> int:
    """Delete up to `batch` answers that ran out before `at`; return how many."""
    expired = StoredAnswer.objects.filter(expires_at__lte=at).values("pk")[:batch]
    return StoredAnswer.objects.filter(pk__in=expired).delete()[0]
