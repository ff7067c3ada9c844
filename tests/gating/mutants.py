"""The gate's functions with something changed, for as long as a test needs it.

What is on disk has no switches: a control run, a pause or a crash is a change of the
function's text, installed in the test database and put back afterwards.
"""

from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from django.db import connection

ROOT = Path(__file__).resolve().parents[2]
FILES = {
    "admit": ROOT / "gating/sql/admit.sql",
    "admit_many": ROOT / "gating/sql/admit_many.sql",
    "authorize": ROOT / "gating/sql/authorize.sql",
    "close": ROOT / "gating/sql/close.sql",
    "close_all": ROOT / "gating/sql/close_all.sql",
    "close_many": ROOT / "gating/sql/close_many.sql",
    "store": ROOT / "gating/sql/store.sql",
    "book": ROOT / "gating/sql/book.sql",
    "commit": ROOT / "gating/sql/commit.sql",
    "ingest": ROOT / "gating/sql/ingest.sql",
    "expire": ROOT / "gating/sql/expire.sql",
    "lots": ROOT / "grants/sql/lots.sql",
    "budgets": ROOT / "grants/sql/budgets.sql",
}
DIE = "PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(30);"
POINT = "-- point: "


def texts():
    """Return the functions' texts, by name."""
    return {name: path.read_text() for name, path in FILES.items()}


def install(changed):
    """Install texts, by name."""
    with connection.cursor() as cursor:
        for text in changed.values():
            cursor.execute(text)


@contextmanager
def mutated(changes):
    """Run the block with texts changed: {name: function of the text}."""
    usual = texts()
    changed = {name: change(usual[name]) for name, change in changes.items()}
    for name, text in changed.items():
        assert text != usual[name], f"nothing of {name} was changed"
    install(changed)
    try:
        yield
    finally:
        install({name: usual[name] for name in changed})


@contextmanager
def spoiled(when, table, body):
    """Run the block with rows of a table changed on their way, as `body` says."""
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$ BEGIN {body} RETURN NEW; END $$"
        )
        cursor.execute(
            f"CREATE TRIGGER spoil {when} ON {table} FOR EACH ROW EXECUTE FUNCTION spoil()"
        )
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP FUNCTION spoil() CASCADE")


def preflight_of(text):
    """Return the text of authorize as that of preflight."""
    return import_module("gating.migrations.0005_functions").preflight(text)


def without_marked(mark):
    """Return the change that takes out what is marked: locks, or guards."""

    def change(text):
        lines = []
        for line in text.splitlines():
            if line.rstrip().endswith(f"-- {mark}"):
                code = line.split("--")[0].rstrip()
                assert code.lstrip().startswith(("FOR NO KEY UPDATE", "AND ", "OR ")), (
                    line
                )
                tail = code[len(code.rstrip(";)")) :]
                line = balanced(code, tail)
            lines.append(line)
        return "\n".join(lines)

    return change


def balanced(code, tail):
    """Return the closing signs of a line that opened fewer than it closed."""
    extra = code.count(")") - code.count("(")
    return ")" * max(extra, 0) + (";" if ";" in tail else "")


def at_point(name, statement):
    """Return the change that runs a statement at the named point."""

    def change(text):
        mark = POINT + name
        assert mark in text, f"no point {name}"
        return text.replace(mark, statement)

    return change


def long_way(text):
    """Return the text of admit or close that leaves everything to the other function."""
    return text.replace("\nBEGIN\n", "\nBEGIN\n    RETURN NULL;\n", 1)


LONG_WAYS = {"close": long_way, "close_all": long_way, "close_many": long_way}
"""The changes that leave every commit to gate_commit."""


def chained(*changes):
    """Return one change after the other."""

    def change(text):
        for each in changes:
            text = each(text)
        return text

    return change


def crashed_at(verb, point):
    """Run the block with the database's side dying at a point of a verb."""
    return mutated({verb: at_point(point, DIE)})


def paused_at(verb, point, seconds):
    """Run the block with a verb waiting at a point."""
    return mutated({verb: at_point(point, f"PERFORM pg_sleep({seconds});")})


def guarded(*, lock=True, guarded=True, pause_seconds=0.0):
    """Run the block without the account's lock, or without the guards, or slower."""
    changes = []
    if not lock:
        changes.append(without_marked("lock"))
    if pause_seconds:
        changes.append(at_point("decided", f"PERFORM pg_sleep({pause_seconds});"))
    found = {}
    if changes:
        found = {"authorize": chained(*changes), "commit": chained(*changes)}
        found |= {"admit": long_way, "admit_many": long_way, **LONG_WAYS}
    if not guarded:
        found |= {
            name: without_marked("guard")
            for name in ("store", "book", "lots", "budgets")
        }
    return mutated(found)
