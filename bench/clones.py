"""Many customers from one: its rows copied in the database, with ids of their own.

The rows are those that the product's own verbs and API made, so that a copy is what a
real customer would be, in every column. Every id of the first customer is replaced in
the text of its rows, inside documents too.
"""

import itertools
import json
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection, transaction

from bench.realm import Customer, explained, principal_id
from config.kernel.ids import new_id
from config.tenancy.history import auditing

CHUNK = 2_000
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
class _Copied:
    """One row to copy: its table, its text, and what to put in place of each id."""

    table: str
    text: str
    replacements: tuple[tuple[str, str], ...]

    def statement(self) -> str:
        """Return the INSERT of a copy for each number of a series."""
        document = "%s"
        for _ in self.replacements:
            document = f"replace({document}, %s, {{}})"
        document = document.format(*(sql for _, sql in self.replacements))
        # The table's name is one of the above, what is put in an id of ours.
        return (
            f"INSERT INTO {self.table} SELECT r.* "  # noqa: S608
            f"FROM generate_series(%s::bigint, %s::bigint) n, LATERAL "
            f"jsonb_populate_record(NULL::{self.table}, ({document})::jsonb) r"
        )

    def parameters(self, first: int, last: int) -> list[Any]:
        """Return the statement's parameters for customers `first` to `last`."""
        return [first, last, self.text, *(old for old, _ in self.replacements)]


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
        found += [row["id"] for row in _rows(customer, table, which) if "id" in row]
    return Family(kind, customer, {old: _prefix() for old in found})


def add_customers(
    family: Family, count: int, *, uses: int, at: datetime, progress: Progress
) -> None:
    """Copy the first customer until there are `count`, each copy with `uses` commits.

    Writes in transactions of a few thousand rows, explained in history like any other
    write; calls `progress` with what is done and the whole.
    """
    standing = _copied(family, _STANDING)
    used = [_copied(_renewed(family, use), _USE) for use in range(uses)]
    for first in range(0, count, CHUNK):
        # Number 0 is the first customer, as it is.
        start, last = max(first, 1), min(first + CHUNK, count) - 1
        with transaction.atomic(), auditing(explained(at), at=at):
            for rows in (standing, *used):
                _insert(rows, start, last)
        progress(last + 1, count)
    if uses > 1:
        _add_up(family, uses)
    _make_current()


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
        for row in _rows(family.customer, table, which):
            if "id" in row:
                ids[row["id"]] = _prefix()
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


def _insert(rows: Sequence[_Copied], first: int, last: int) -> None:
    if first > last:
        return
    with connection.cursor() as cursor:
        for row in rows:
            cursor.execute(row.statement(), row.parameters(first, last))


def _copied(family: Family, tables: Sequence[tuple[str, str]]) -> list[_Copied]:
    return [
        _Copied(table, text, _replacements(family, text))
        for table, which in tables
        for text in _texts(family.customer, table, which)
    ]


def _replacements(family: Family, text: str) -> tuple[tuple[str, str], ...]:
    number = "lpad(to_hex(n), 12, '0')"
    ids = [
        (old, f"'{prefix}' || {number}")
        for old, prefix in family.ids.items()
        if old in text
    ]
    name = principal_id(family.kind, 0)
    stem = name.rpartition("-")[0]
    again = [(FIRST_USE, f"'bench-use-{family.use}-'")] if family.use else []
    return (*ids, *again, (name, f"'{stem}-' || lpad(n::text, 9, '0')"))


def _texts(customer: Customer, table: str, which: str) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT to_jsonb(t)::text FROM {table} t WHERE {which}",  # noqa: S608
            {"account": customer.account.pk, "user": customer.user.pk},
        )
        return [text for (text,) in cursor.fetchall()]


def _rows(customer: Customer, table: str, which: str) -> list[dict[str, Any]]:
    return [json.loads(text) for text in _texts(customer, table, which)]
