"""The proof of grants and ledgers: every rule, looked at in the rows themselves.

`findings` tells what does not hold, and where. It reads only. Run it inside `snapshot`,
so that all of it is of one instant.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any
from uuid import UUID

from django.apps import apps
from django.db import connection, models, transaction
from django.db.models import Sum

from billing.models import BillingAccount
from grants.models import GrantAllocation, GrantLot, LedgerEntry
from grants.selectors.chain import START, chained, entry_facts
from grants.selectors.readers import Use, held_by_lot, uses_of
from grants.selectors.rules import RULES, WHO

ACCOUNTS_AT_ONCE = 200
ROWS_AT_ONCE = 1_000

HELD = "lot_reserved_is_its_holds"
USES = "use_is_its_allocations"
HISTORY = "history_ends_with_its_row"
CHAIN = "hash_chain"
RULE_NAMES = (*RULES, HELD, USES, HISTORY, CHAIN)

Progress = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that must be true and is not: which rule, of which row.

    `user_id` is None for rows that belong to no user.
    """

    rule: str
    realm_id: str
    user_id: UUID | None
    subject: str
    message: str


@contextmanager
def snapshot() -> Iterator[None]:
    """Read everything in this block as of one instant, and write nothing.

    Must not run inside another transaction.
    """
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield


def findings(
    *,
    realm_id: str | None = None,
    account_id: UUID | None = None,
    progress: Progress | None = None,
) -> Iterator[Finding]:
    """Yield what does not hold, of one account, of a realm, or everywhere.

    Looks at some accounts at a time, so that memory does not grow with the tables;
    `progress(realm_id, accounts)` is told of each portion, when it is done.
    """
    accounts = BillingAccount.objects.order_by("realm_id", "id")
    if realm_id is not None:
        accounts = accounts.filter(realm_id=realm_id)
    if account_id is not None:
        accounts = accounts.filter(pk=account_id)
    last = None
    for realm, ids in _portions(accounts.values_list("realm_id", "id").iterator()):
        if account_id is None and realm != last:
            yield from _history_findings(realm, None)
            last = realm
        yield from _account_findings(realm, ids)
        if progress is not None:
            progress(realm, len(ids))


def _portions(
    accounts: Iterator[tuple[str, UUID]],
) -> Iterator[tuple[str, list[UUID]]]:
    """Yield accounts a portion at a time, each of one realm."""
    realm, ids = "", list[UUID]()
    for owner, key in accounts:
        if ids and (owner != realm or len(ids) == ACCOUNTS_AT_ONCE):
            yield realm, ids
            ids = []
        realm = owner
        ids.append(key)
    if ids:
        yield realm, ids


def _account_findings(realm_id: str, account_ids: Sequence[UUID]) -> Iterator[Finding]:
    arguments: dict[str, Any] = {"realm": realm_id, "accounts": list(account_ids)}
    for rule, query in RULES.items():
        with connection.cursor() as cursor:
            cursor.execute(WHO + query, arguments)
            for user, subject, message in cursor.fetchall():
                yield Finding(rule, realm_id, user, str(subject), message)
    yield from _held_findings(realm_id, account_ids)
    yield from _use_findings(realm_id, account_ids)
    yield from _history_findings(realm_id, account_ids)
    yield from _chain_findings(realm_id, account_ids)


def _held_findings(realm_id: str, account_ids: Sequence[UUID]) -> Iterator[Finding]:
    held = held_by_lot(realm_id=realm_id, account_ids=account_ids)
    if held is None:
        return
    lots = GrantLot.objects.in_realm(realm_id).filter(account_id__in=account_ids)
    rows = lots.values_list("pk", "user_id", "reserved_xusd")
    for lot, user, reserved in rows.iterator(ROWS_AT_ONCE):
        expected = held.pop(lot, 0)
        if reserved != expected:
            message = f"{reserved} reserved; its holds sum to {expected}"
            yield Finding(HELD, realm_id, user, str(lot), message)
    for lot, amount in held.items():
        yield Finding(HELD, realm_id, None, str(lot), f"{amount} held of no such lot")


def _use_findings(realm_id: str, account_ids: Sequence[UUID]) -> Iterator[Finding]:
    uses = uses_of(realm_id=realm_id, account_ids=account_ids)
    while some := list(islice(uses, ROWS_AT_ONCE)):
        yield from _unpaid(realm_id, some)


def _unpaid(realm_id: str, uses: Sequence[Use]) -> Iterator[Finding]:
    paid = dict(
        GrantAllocation.objects.in_realm(realm_id)
        .filter(
            user_id__in={use.user_id for use in uses},
            source_ref__in=[use.source_ref for use in uses],
        )
        .values_list("source_ref")
        .annotate(total=Sum("amount_xusd"))
        .order_by()
    )
    for use in uses:
        total = paid.get(use.source_ref, 0)
        if total != use.amount_xusd:
            message = f"costs {use.amount_xusd}; its allocations sum to {total}"
            yield Finding(USES, realm_id, use.user_id, use.source_ref, message)


def _history_findings(
    realm_id: str, account_ids: Sequence[UUID] | None
) -> Iterator[Finding]:
    """Yield the rows that are not as their history says: of accounts, or of none."""
    for model in apps.get_app_config("grants").get_models():
        history: Any = getattr(model, "history", None)
        # A proxy's rows are those of another app.
        if history is None or model._meta.proxy:
            continue
        owned = any(field.name == "account" for field in model._meta.concrete_fields)
        if owned != (account_ids is not None):
            continue
        table, past = model._meta.db_table, history.model._meta.db_table
        columns = _shared_columns(model, history.model)
        arguments: dict[str, Any] = {"realm": realm_id, "accounts": account_ids}
        with connection.cursor() as cursor:
            cursor.execute(_history_query(table, past, columns, owned), arguments)
            for user, subject in cursor.fetchall():
                message = f"the row of {table} is not as its history says"
                yield Finding(HISTORY, realm_id, user, str(subject), message)


def _shared_columns(model: type[models.Model], past: type[models.Model]) -> list[str]:
    """Return the columns that history keeps; it lags behind in `updated_at`."""
    kept = {str(field.column) for field in past._meta.concrete_fields}
    own = {str(field.column) for field in model._meta.concrete_fields}
    return sorted((kept & own) - {"updated_at"})


def _history_query(table: str, past: str, columns: list[str], owned: bool) -> str:
    row = ", ".join(f"r.{column}" for column in columns)
    last = ", ".join(f"h.{column}" for column in columns)
    user = "r.user_id" if owned else "NULL"
    where = "AND r.account_id = ANY(%(accounts)s)" if owned else ""
    return f"""
    SELECT {user}, r.id FROM {table} r LEFT JOIN LATERAL (
        SELECT * FROM {past} h WHERE h.id = r.id ORDER BY h.history_id DESC LIMIT 1
    ) h ON true
    WHERE r.realm_id = %(realm)s {where} AND (h.history_type IS NULL
        OR h.history_type = '-' OR ({row}) IS DISTINCT FROM ({last}))
    """  # noqa: S608 - names of our own tables.


def _chain_findings(realm_id: str, account_ids: Sequence[UUID]) -> Iterator[Finding]:
    """Yield the first entry of each ledger account that does not fit its seal."""
    entries = (
        LedgerEntry.objects.in_realm(realm_id)
        .filter(ledger_account__account_id__in=account_ids)
        .order_by("ledger_account_id", "seq")
    )
    rows = entry_facts(entries, "seal__hash").iterator(ROWS_AT_ONCE)
    for _, own in groupby(rows, key=lambda facts: facts["ledger_account_id"]):
        broken = _first_broken(own)
        if broken is not None:
            message = f"entry {broken['seq']} is not what was sealed"
            user, subject = broken["user_id"], str(broken["id"])
            yield Finding(CHAIN, realm_id, user, subject, message)


def _first_broken(entries: Iterator[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the first entry that does not fit. The last ones may wait to be sealed."""
    previous, unsealed = START, None
    for facts in entries:
        seal = facts["seal__hash"]
        previous = chained(previous, facts)
        if seal is None:
            unsealed = unsealed or facts
        elif unsealed is not None:
            return unsealed
        elif bytes(seal) != previous:
            return facts
    return None
