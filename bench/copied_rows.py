"""A row copied many times in the database, each copy with ids of its own.

Each column is taken as the database writes it; what is an id in it gives way to an
expression over the copy's number.
"""

from dataclasses import dataclass
from typing import Any

from django.db import connection

from bench.realm import Customer


@dataclass(frozen=True, slots=True)
class Value:
    """What one column gets: a text, what to put in place of each id in it, its type."""

    text: str | None
    kind: str
    replacements: tuple[tuple[str, str], ...]

    def expression(self) -> str:
        """Return the column's value for one number of the series."""
        document = "%s"
        for _, new in self.replacements:
            document = f"replace(CAST({document} AS text), %s, {new})"
        return f"CAST({document} AS {self.kind})"


@dataclass(frozen=True, slots=True)
class CopiedRow:
    """One row to copy: its table, and what each column gets."""

    table: str
    values: dict[str, Value]

    def statement(self) -> str:
        """Return the INSERT of a copy for each number of a series."""
        columns = ", ".join(self.values)
        values = ", ".join(value.expression() for value in self.values.values())
        # The names are the database's own, what is put in an id of ours.
        return (
            f"INSERT INTO {self.table} ({columns}) SELECT {values} FROM ("  # noqa: S608
            "SELECT lpad(to_hex(n), 12, '0') AS id, lpad(n::text, 9, '0') AS name "
            "FROM generate_series(%s::bigint, %s::bigint) n OFFSET 0) s"
        )

    def parameters(self, first: int, last: int) -> list[Any]:
        """Return the statement's parameters for customers `first` to `last`."""
        found: list[Any] = []
        for value in self.values.values():
            found += [value.text, *(old for old, _ in value.replacements)]
        return [*found, first, last]


def column_types(table: str) -> dict[str, str]:
    """Return the type of each of a table's columns, in order."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT quote_ident(attname), format_type(atttypid, atttypmod)
            FROM pg_attribute
            WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped
            ORDER BY attnum
            """,
            [table],
        )
        return dict(cursor.fetchall())


def read_rows(
    customer: Customer, table: str, which: str
) -> list[dict[str, str | None]]:
    """Return the rows of a customer, each column as the database writes it."""
    names = list(column_types(table))
    texts = ", ".join(f"t.{name}::text" for name in names)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {texts} FROM {table} t WHERE {which}",  # noqa: S608
            {"account": customer.account.pk, "user": customer.user.pk},
        )
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
