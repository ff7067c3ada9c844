"""Sealing: the job that binds each ledger entry to all before it in its account."""

from datetime import datetime
from uuid import UUID

from django.db import connection, transaction

from grants.models import LedgerAccount, LedgerEntry, LedgerSeal
from grants.selectors.chain import START, chained, entry_facts

BATCH = 500

_UNSEALED = """
SELECT a.id FROM ledger_accounts a
WHERE a.id > %s AND a.entry_count > coalesce((
    SELECT max(s.seq) FROM ledger_seals s
    WHERE s.realm_id = a.realm_id AND s.ledger_account_id = a.id), 0)
ORDER BY a.id LIMIT %s
"""


def seal_entries(*, at: datetime, batch: int = BATCH, most: int = 50_000) -> int:
    """Seal the entries that are not yet, about `most` of them; return how many.

    Looks at each ledger account once. `at` (aware UTC) is when they are said to be
    sealed. An account is a transaction of up to `batch` entries; one that a posting or
    another run has is left to the next run. Cut off anywhere, the next run goes on.
    """
    sealed, after = 0, UUID(int=0)
    while sealed < most:
        accounts = _unsealed(after, batch)
        for account_id in accounts:
            while count := seal_account(account_id=account_id, at=at, batch=batch):
                sealed += count
                if count < batch:
                    break
        if len(accounts) < batch:
            break
        after = accounts[-1]
    return sealed


@transaction.atomic
def seal_account(*, account_id: UUID, at: datetime, batch: int = BATCH) -> int:
    """Seal up to `batch` entries of a ledger account that follow the last sealed one.

    Returns how many; 0 where none is left, or somebody else has the account.
    """
    account = (
        LedgerAccount.objects.select_for_update(no_key=True, skip_locked=True)
        .filter(pk=account_id)
        .first()
    )
    if account is None:
        return 0
    own = LedgerSeal.objects.in_realm(account.realm_id).filter(ledger_account=account)
    last = own.order_by("-seq").first()
    entries = LedgerEntry.objects.in_realm(account.realm_id).filter(
        ledger_account=account, seq__gt=last.seq if last else 0
    )
    previous = bytes(last.hash) if last else START
    seals = []
    for facts in entry_facts(entries).order_by("seq")[:batch]:
        previous = chained(previous, facts)
        seals.append(
            LedgerSeal(
                entry_id=facts["id"],
                realm_id=account.realm_id,
                ledger_account=account,
                seq=facts["seq"],
                hash=previous,
                sealed_at=at,
            )
        )
    LedgerSeal.objects.bulk_create(seals)
    return len(seals)


def _unsealed(after: UUID, limit: int) -> list[UUID]:
    with connection.cursor() as cursor:
        cursor.execute(_UNSEALED, [after, limit])
        return [row[0] for row in cursor.fetchall()]
