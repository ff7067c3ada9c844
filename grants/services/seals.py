"""Sealing: the job that binds each ledger entry to all before it in its account."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.db.models import F

from config.kernel.errors import Conflict
from grants.models import LedgerAccount, LedgerEntry, LedgerSeal
from grants.selectors.chain import START, chained, entry_facts
from grants.services.apart import FIRST, apart

BATCH = 500


class SealsMissing(Conflict):
    """Entries of the ledger account were sealed, and their seals are gone (409)."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """What sealing came to: entries, and the ledger accounts that failed."""

    count: int
    failed: Sequence[UUID]


def seal_entries(*, at: datetime, batch: int = BATCH, most: int = 50_000) -> Sealed:
    """Seal the entries that are not yet, about `most` of them; return how many.

    Looks at each ledger account once. `at` (aware UTC) is when they are said to be
    sealed. An account is a transaction of up to `batch` entries; one that a posting or
    another run has is left to the next run, and one that fails is logged and told.
    Cut off anywhere, the next run goes on.
    """
    count, failed, after = 0, list[UUID](), FIRST
    while count < most:
        accounts = _unsealed(after, batch)
        for account_id in accounts:
            with apart("entries were not sealed", account_id, failed):
                count += _seal_all(account_id, at=at, batch=batch)
        if len(accounts) < batch:
            break
        after = accounts[-1]
    return Sealed(count, failed)


@transaction.atomic
def seal_account(*, account_id: UUID, at: datetime, batch: int = BATCH) -> int:
    """Seal up to `batch` entries of a ledger account that follow the last sealed one.

    Returns how many; 0 where none is left, or somebody else has the account. Refuses
    (`SealsMissing`) an account of which more was sealed than there are seals: to seal
    it anew would hide what was done to it.
    """
    account = (
        LedgerAccount.objects.select_for_update(no_key=True, skip_locked=True)
        .filter(pk=account_id)
        .first()
    )
    if account is None:
        return 0
    previous = _last_hash(account)
    entries = LedgerEntry.objects.in_realm(account.realm_id).filter(
        ledger_account=account, seq__gt=account.sealed_count
    )
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
    LedgerAccount.objects.filter(pk=account.pk).update(
        sealed_count=F("sealed_count") + len(seals), updated_at=at
    )
    return len(seals)


def _seal_all(account_id: UUID, *, at: datetime, batch: int) -> int:
    sealed = count = seal_account(account_id=account_id, at=at, batch=batch)
    while count == batch:
        count = seal_account(account_id=account_id, at=at, batch=batch)
        sealed += count
    return sealed


def _last_hash(account: LedgerAccount) -> bytes:
    """Return the hash that the next entry of a locked account is bound to."""
    own = LedgerSeal.objects.in_realm(account.realm_id).filter(ledger_account=account)
    last = own.order_by("-seq").first()
    if (last.seq if last else 0) != account.sealed_count:
        raise SealsMissing(
            f"{account.sealed_count} entries were sealed; the last seal is "
            f"{last.seq if last else 'gone'}."
        )
    return bytes(last.hash) if last else START


def _unsealed(after: UUID, limit: int) -> list[UUID]:
    accounts = LedgerAccount.objects.filter(
        pk__gt=after, sealed_count__lt=F("entry_count")
    )
    return list(accounts.order_by("pk").values_list("pk", flat=True)[:limit])
