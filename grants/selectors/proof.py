"""The proof of grants and ledgers: every rule, looked at in the rows themselves.

`findings` tells what does not hold, and where. It reads only. Let it read each portion
within a `snapshot`, so that all of one account is of one instant.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any
from uuid import UUID

from django.apps import apps
from django.db import connection, models, transaction
from django.db.models import Sum

from billing.models import BillingAccount, BillingUser
from config.tenancy.models import Realm
from grants.models import GrantAllocation, GrantLot, LedgerEntry
from grants.selectors.chain import START, chained, entry_facts
from grants.selectors.readers import Use, UseLookup, held_by_lot, use_lookups, uses_of
from grants.selectors.rules import RULES, WHO

ACCOUNTS_AT_ONCE = 200
ROWS_AT_ONCE = 1_000

HELD = "lot_reserved_is_its_holds"
USES = "use_is_its_allocations"
INVENTED = "allocation_is_of_a_use"
HISTORY = "history_ends_with_its_row"
CHAIN = "hash_chain"
RULE_NAMES = (*RULES, HELD, USES, INVENTED, HISTORY, CHAIN)

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
    within: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Iterator[Finding]:
    """Yield what does not hold, of one account, of a realm, or everywhere.

    Looks at some accounts at a time, so that memory does not grow with the tables;
    `progress(realm_id, accounts)` is told of each portion, when it is done. Each is
    read within `within()`: a `snapshot` of its own is enough, because every rule is
    about the rows of one account, and holds nobody up for as long as all take.
    """
    realms = Realm.objects.order_by("pk")
    if realm_id is not None:
        realms = realms.filter(pk=realm_id)
    if account_id is not None:
        realms = realms.filter(pk__in=_only(account_id).values("realm_id"))
    for realm in list(realms.values_list("pk", flat=True)):
        if account_id is None:
            with within():
                found = list(_history_findings(realm, None))
            yield from found
        for ids in _portions(realm, account_id):
            with within():
                found = list(_account_findings(realm, ids))
            yield from found
            if progress is not None:
                progress(realm, len(ids))


def _only(account_id: UUID) -> models.QuerySet[BillingAccount]:
    return BillingAccount.objects.filter(pk=account_id)


def _portions(realm_id: str, account_id: UUID | None) -> Iterator[list[UUID]]:
    """Yield the ids of a realm's accounts, or of the one, a portion at a time."""
    if account_id is not None:
        yield [account_id]
        return
    accounts = BillingAccount.objects.in_realm(realm_id).order_by("pk")
    keys = accounts.values_list("pk", flat=True)
    ids = list(keys[:ACCOUNTS_AT_ONCE])
    while ids:
        yield ids
        ids = list(keys.filter(pk__gt=ids[-1])[:ACCOUNTS_AT_ONCE])


def _account_findings(realm_id: str, account_ids: Sequence[UUID]) -> Iterator[Finding]:
    arguments: dict[str, Any] = {"realm": realm_id, "accounts": list(account_ids)}
    for rule, query in RULES.items():
        with connection.cursor() as cursor:
            cursor.execute(WHO + query, arguments)
            for user, subject, message in cursor.fetchall():
                yield Finding(rule, realm_id, user, str(subject), message)
    yield from _held_findings(realm_id, account_ids)
    yield from _use_findings(realm_id, account_ids)
    for prefix, lookup in use_lookups().items():
        yield from _invented(realm_id, account_ids, prefix, lookup)
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


def _invented(
    realm_id: str, account_ids: Sequence[UUID], prefix: str, lookup: UseLookup
) -> Iterator[Finding]:
    """Yield the allocations of a use that was never made, of what is kept."""
    allocations = GrantAllocation.objects.in_realm(realm_id).filter(
        user__in=BillingUser.objects.in_realm(realm_id).filter(account__in=account_ids),
        source_ref__startswith=prefix,
    )
    kept_from = lookup.kept_from()
    if kept_from is not None:
        allocations = allocations.filter(occurred_at__gte=kept_from)
    rows = allocations.values_list("pk", "user_id", "source_ref").iterator(ROWS_AT_ONCE)
    while some := list(islice(rows, ROWS_AT_ONCE)):
        refs = {source_ref for _, _, source_ref in some}
        known = lookup.known(realm_id=realm_id, source_refs=refs)
        for key, user, source_ref in some:
            if (user, source_ref) not in known:
                message = f"names {source_ref}, a use that was never made"
                yield Finding(INVENTED, realm_id, user, str(key), message)


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
