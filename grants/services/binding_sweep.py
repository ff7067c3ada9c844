"""The sweep that issues what is due, binding by binding."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import structlog
from django.db import connection, transaction

from config.kernel.audit import AuditContext
from config.tenancy.models import RealmStatus
from grants.models import GrantAssignment, GrantStatus, IssuanceMode
from grants.schedule import CATCH_UP_DEFAULT
from grants.services.issuance import CaughtUp, catch_up

log = structlog.get_logger("plangate.grants")

FIRST = UUID(int=0)


@dataclass(slots=True)
class Swept:
    """What a sweep came to.

    `issued` counts lots, `looked_at` the bindings that were due, `failed` names those
    that could not be served (the reason is in the log; the next sweep tries again).
    `last` is the id of the last one looked at, `more` whether others are due.
    """

    issued: int = 0
    looked_at: int = 0
    failed: list[UUID] = field(default_factory=list)
    last: UUID = FIRST
    more: bool = False


def sweep_bindings(
    *,
    after: UUID = FIRST,
    batch: int = 500,
    limit: int = CATCH_UP_DEFAULT,
    at: datetime,
    by: AuditContext,
) -> Swept:
    """Issue what is due by `at` (aware UTC) of active bindings.

    Those of lazy programs and of realms that are not active are left alone. In order of
    id, those with an id above `after`, at most `batch` bindings and `limit` periods of
    each. A transaction per binding: one that fails is reported, and the others go on;
    cut off anywhere, what was issued stays. Which lots there are does not depend on
    when sweeps ran: periods that are over by now are issued too. A binding that another
    sweep is at is passed over, so two at once issue each lot once.
    """
    swept = Swept(last=after)
    for assignment_id in _due(after, batch, at):
        swept.last = assignment_id
        swept.looked_at += 1
        try:
            done = _serve(assignment_id, limit, at=at, by=by)
            swept.issued += len(done.lots)
            swept.more = swept.more or done.more
        except Exception:
            # Whatever it is about one binding must not keep the others waiting.
            if connection.needs_rollback:
                raise
            log.exception("grants were not issued", assignment=str(assignment_id))
            swept.failed.append(assignment_id)
    swept.more = swept.more or swept.looked_at == batch
    return swept


def _due(after: UUID, batch: int, at: datetime) -> Iterator[UUID]:
    """Return the ids of bindings that are due, the lowest first."""
    due = (
        GrantAssignment.objects.filter(
            status=GrantStatus.ACTIVE,
            realm__status=RealmStatus.ACTIVE,
            cursor__next_at__lte=at,
            pk__gt=after,
        )
        .exclude(program__issuance_mode=IssuanceMode.LAZY)
        .order_by("pk")
        .values_list("pk", flat=True)
    )
    return iter(due[:batch])


@transaction.atomic
def _serve(
    assignment_id: UUID, limit: int, *, at: datetime, by: AuditContext
) -> CaughtUp:
    claimed = (
        GrantAssignment.objects.select_for_update(
            of=("self",), no_key=True, skip_locked=True
        )
        .filter(pk=assignment_id)
        .first()
    )
    if claimed is None:
        return CaughtUp((), more=False)
    return catch_up(assignment=claimed, limit=limit, at=at, by=by)
