"""Many customers from one: its rows copied in the database, with ids of their own.

The rows are those that the product's own verbs and API made, so that a copy is what a
real customer would be, in every column. Every id of the first customer is replaced in
the text of its rows, inside documents too.
"""

import itertools
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import datetime

from django.db import connection, transaction

from bench.copied_rows import CopiedRow, Value, column_types, read_rows
from bench.realm import Customer, explained, principal_id
from config.kernel.ids import new_id
from config.tenancy.history import auditing

CHUNK = 2_000
FEW = 100
"""So many customers are copied before the planner's statistics are made."""

FIRST_USE = "bench-first-"
"""How the idempotency keys of the first customer's first use begin."""

_OF_ACCOUNT = "t.account_id = %(account)s"
_STANDING = (
    ("billing_accounts", "t.id = %(account)s"),
    ("billing_users", _OF_ACCOUNT),
    ("billing_plan_assignments", _OF_ACCOUNT),
    (
        "billing_plan_assignment_statuses",
        """t.assignment_id IN (SELECT a.id FROM billing_plan_assignments a
        WHERE a.account_id = %(account)s)""",
    ),
    ("grant_assignments", _OF_ACCOUNT),
    ("grant_lots", _OF_ACCOUNT),
    ("ledger_accounts", _OF_ACCOUNT),
    ("ledger_postings", _OF_ACCOUNT),
    ("ledger_entries", _OF_ACCOUNT),
    ("gate_states", _OF_ACCOUNT),
    ("gate_projections", _OF_ACCOUNT),
    ("gate_residual_buckets", "t.user_id = %(user)s"),
)
"""What a customer has once, parents first: table, and which rows are its."""

_USE = (
    ("gate_leases", _OF_ACCOUNT),
    ("gate_ratings", _OF_ACCOUNT),
    (
        "gate_rated_records",
        """t.rating_id IN (SELECT r.id FROM gate_ratings r
        WHERE r.account_id = %(account)s)""",
    ),
    (
        "gate_rating_keys",
        """t.rating_id IN (SELECT r.id FROM gate_ratings r
        WHERE r.account_id = %(account)s)""",
    ),
    ("grant_allocations", _OF_ACCOUNT),
)
"""What each committed use leaves."""

_SORTS = itertools.count()

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Family:
    """A first customer and the ids of the copies.

    `ids` holds, by each id of the first customer's, the 24 leading characters of the
    ids of its copies; the last 12 are the copy's number, in hex.
    """

    kind: str
    customer: Customer
    ids: dict[str, str]
    use: int = 0


def family_of(kind: str, customer: Customer) -> Family:
    """Return a first customer with a new id prefix for each id that it has."""
    found = [str(customer.account.pk), str(customer.user.pk)]
    for table, which in (*_STANDING, *_USE):
        found += _ids(customer, table, which)
    return Family(kind, customer, {old: _prefix() for old in found})


def add_customers(
    family: Family, count: int, *, uses: int, at: datetime, progress: Progress
) -> None:
    """Copy the first customer until there are `count`, each copy with `uses` commits.

    Writes in transactions of a few thousand customers, as many at once as there are
    cores, explained in history like any other write; calls `progress` with what is
    done and the whole, which may raise to end it.
    """
    standing = _copied(family, _STANDING)
    used = [_copied(_renewed(family, use), _USE) for use in range(uses)]

    def copy(start: int, end: int) -> int:
        """Copy customers `start` to `end`, that one excluded; return how many."""
        try:
            with transaction.atomic(), auditing(explained(at), at=at):
                for rows in (standing, *used):
                    _insert(rows, start, end - 1)
        finally:
            connection.close()
        return end - start

    # Number 0 is the first customer, as it is.
    done = 1 + copy(1, min(FEW, count))
    progress(done, count)
    _analyze()
    bounds = [*range(done, count, CHUNK), count]
    for copied in _side_by_side(copy, itertools.pairwise(bounds)):
        done += copied
        progress(done, count)
    if uses > 1:
        _add_up(family, uses)
    _make_current()


def _side_by_side(
    copy: Callable[[int, int], int], chunks: Iterable[tuple[int, int]]
) -> Iterator[int]:
    """Yield what `copy` returns for each chunk; whoever stops taking ends the rest."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        copying = [pool.submit(copy, *chunk) for chunk in chunks]
        try:
            for each in as_completed(copying):
                yield each.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _analyze() -> None:
    """Let foreign keys be checked by the right index, which takes rows to be known of.

    Planned for tables thought empty, each check reads all of the realm's rows.
    """
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def settle_tables() -> None:
    """Bring the planner's statistics up to date after the load."""
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")


def _prefix() -> str:
    """Return the first 24 characters of a UUIDv7 of now, never the same twice."""
    moment = str(new_id())[:13]
    return f"{moment}-7{next(_SORTS) % 4096:03x}-8{secrets.token_hex(2)[1:]}-"


def _renewed(family: Family, use: int) -> Family:
    """Return the family with new ids for what one more use leaves."""
    if use == 0:
        return family
    ids = dict(family.ids)
    for table, which in _USE:
        ids |= {old: _prefix() for old in _ids(family.customer, table, which)}
    return Family(family.kind, family.customer, ids, use)


def _add_up(family: Family, uses: int) -> None:
    """Let lots tell all of the uses, not the first one alone."""
    account = family.customer.account
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE grant_lots SET consumed_xusd = consumed_xusd * %s "
            "WHERE realm_id = %s AND account_id <> %s",
            [uses, account.realm_id, account.pk],
        )


def _make_current() -> None:
    """Let the copied projections hold: they are copies of one that does."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE gate_projections p
            SET account_version = a.version, catalog_version = c.version
            FROM gate_account_versions a, gate_catalog_versions c
            WHERE a.account_id = p.account_id AND c.realm_id = p.realm_id
            """
        )


def _insert(rows: Sequence[CopiedRow], first: int, last: int) -> None:
    if first > last:
        return
    with connection.cursor() as cursor:
        for row in rows:
            cursor.execute(row.statement(), row.parameters(first, last))


def _copied(family: Family, tables: Sequence[tuple[str, str]]) -> list[CopiedRow]:
    return [
        CopiedRow(
            table,
            {
                name: Value(text, types[name], _replacements(family, text or ""))
                for name, text in row.items()
            },
        )
        for table, which in tables
        for types in [column_types(table)]
        for row in read_rows(family.customer, table, which)
    ]


def _replacements(family: Family, text: str) -> tuple[tuple[str, str], ...]:
    new = {old: f"'{prefix}' || s.id" for old, prefix in family.ids.items()}
    if family.use:
        new[FIRST_USE] = f"'bench-use-{family.use}-'"
    name = principal_id(family.kind, 0)
    stem = name.rpartition("-")[0]
    new[name] = f"'{stem}-' || s.name"
    return tuple((old, sql) for old, sql in new.items() if old in text)


def _ids(customer: Customer, table: str, which: str) -> list[str]:
    found = [row.get("id") for row in read_rows(customer, table, which)]
    return [each for each in found if each]
