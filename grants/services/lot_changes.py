"""What people do to one grant, in one step: its status, and its labels."""

from collections.abc import Mapping
from datetime import datetime

from django.db import transaction

from catalog.services.rows import locked, rewritten
from config.kernel.audit import AuditContext
from config.kernel.errors import Invalid
from config.kernel.metadata.document import check_document
from config.tenancy.history import auditing
from config.tenancy.services.events import record_event
from grants.models import SPENDABLE, GrantLot, LotStatus
from grants.selectors.terms import own_labels
from grants.services.lots import resume_lot, revoke_lot, suspend_lot

_VERBS = {
    LotStatus.SUSPENDED: suspend_lot,
    LotStatus.CANCELED: revoke_lot,
    **dict.fromkeys(SPENDABLE, resume_lot),
}
"""By the status that is asked for: the verb that brings it about."""


@transaction.atomic
def change_lot(
    *,
    lot: GrantLot,
    status: str | None = None,
    labels: Mapping[str, str] | None = None,
    at: datetime,
    by: AuditContext,
) -> GrantLot:
    """Suspend, resume or revoke a grant, or label it; None leaves either as it is.

    `suspended`, `canceled`, and `ready` or `active`, which both resume. Labels are
    added to its metadata; those that are not named stay. Refuses (`Invalid`) another
    status, because a grant closes by itself, another value of what the system says of a
    grant, and what the verbs in `lots` refuse.
    """
    if status is not None:
        verb = _VERBS.get(LotStatus(status)) if status in LotStatus.values else None
        if verb is None:
            raise Invalid(
                f"A grant becomes {status} by itself; suspend, resume or cancel it.",
                field="issuance_status",
            )
        lot = verb(lot=lot, at=at, by=by)
    return lot if labels is None else _label(lot, labels, at=at, by=by)


def _label(
    lot: GrantLot, labels: Mapping[str, str], *, at: datetime, by: AuditContext
) -> GrantLot:
    lot = locked(GrantLot.objects.all(), lot)
    own = own_labels(labels, stored=lot.metadata)
    metadata = check_document({**lot.metadata, **own}, "metadata")
    with auditing(by, at=at):
        if rewritten(lot, {"metadata": metadata}, at=at):
            record_event(
                realm=lot.realm,
                kind="grant.labeled",
                subject=lot,
                payload={
                    "billing_account_id": str(lot.account_id),
                    "billing_user_id": str(lot.user_id),
                    "labels": own,
                },
                at=at,
                by=by,
            )
    return lot
