"""Our own tables, and what the database itself says about them."""

from django.apps import apps
from django.db import connection

OURS = frozenset({"config", "catalog", "billing", "grants", "gating", "demo"})


def rows(query, parameters=()):
    """Return the rows of a query."""
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        return cursor.fetchall()


def own_tables():
    """Return every table that is not another package's, sorted."""
    foreign = {
        table
        for model in apps.get_models(include_auto_created=True)
        if model.__module__.split(".")[0] not in OURS
        for table in (model._meta.db_table,)
    }
    found = rows(
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace"
    )
    names = {
        name
        for (name,) in found
        if not name.startswith("procrastinate_") and name != "django_migrations"
    }
    return sorted(names - foreign)


def audited_tables():
    """Return the tables that have a history, sorted."""
    return sorted(
        name for name in own_tables() if f"{name}_history" in set(own_tables())
    )


def append_only_tables():
    """Return the tables whose rows are never rewritten, history included, sorted."""
    found = rows(
        "SELECT DISTINCT tgrelid::regclass::text FROM pg_trigger WHERE NOT tgisinternal AND tgname LIKE '%%_append_only'"
    )
    return sorted(name for (name,) in found)


def primary_key(table):
    """Return the columns of a table's primary key."""
    found = rows(
        "SELECT attname FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY (indkey)"
        " WHERE indrelid = %s::regclass AND indisprimary ORDER BY array_position(indkey, attnum)",
        [table],
    )
    return [name for (name,) in found]


def columns(table):
    """Return a table's columns, in order."""
    found = rows(
        "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped"
        " ORDER BY attnum",
        [table],
    )
    return [name for (name,) in found]
