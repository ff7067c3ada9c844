"""The floor: what this machine's PostgreSQL does at most, measured by pgbench.

One UPDATE and one INSERT in one prepared round trip, durable: no gate that changes a
row and keeps a record of it can be faster. `function` is the gate's own SQL function
called the same way, without HTTP: what is left between the two is the decision.
"""

import math
import os
import re
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from django.db import connection

from bench.figures import Sample
from config import database

SCRIPTS = Path(__file__).parent / "sql"
FUNCTION = SCRIPTS / "function.sql"
"""The pgbench script of the rows `function` and `function_hot`. It says itself what it
may refer to; while it has no statement they are absent."""

SCHEMA = "bench_floor"
NANOSECONDS_PER_US = 1_000
_DONE = re.compile(r"transactions actually processed: (\d+)")
_FAILED = re.compile(r"failed transactions: (\d+)")
_RATE = re.compile(r"tps = ([0-9.]+)")


class PgbenchError(Exception):
    """pgbench could not run, or said something else than it always does."""


def has_statement(script: Path) -> bool:
    """Return whether a script does more than comment and set variables."""
    lines = (line.strip() for line in script.read_text().splitlines())
    return any(line and not line.startswith(("--", "\\")) for line in lines)


def make_tables(accounts: int) -> None:
    """Make the floor's tables in a schema of their own, with `accounts` rows."""
    drop_tables()
    with connection.cursor() as cursor:
        cursor.execute((SCRIPTS / "floor_tables.sql").read_text())
        cursor.execute(
            f"INSERT INTO {SCHEMA}.balances SELECT generate_series(0, %s - 1)",
            [accounts],
        )
        cursor.execute(f"VACUUM ANALYZE {SCHEMA}.balances")


def drop_tables() -> None:
    """Drop the floor's tables, if there are any."""
    with connection.cursor() as cursor:
        cursor.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")


def pgbench(
    script: Path,
    *,
    connections: int,
    seconds: float,
    variables: Mapping[str, str | int],
) -> Sample:
    """Return what pgbench measured with a script, at whole seconds, 1 or more.

    Raises `PgbenchError`, with pgbench's own words, where the script fails.
    """
    psql, environment = database.psql_command("owner")
    threads = min(connections, os.cpu_count() or 1)
    with tempfile.TemporaryDirectory() as folder:
        argv = [
            str(Path(psql[0]).with_name("pgbench")),
            "--no-vacuum", "--protocol=prepared", f"--file={script}",
            f"--client={connections}", f"--jobs={threads}",
            f"--time={max(1, math.ceil(seconds))}",
            "--log", f"--log-prefix={folder}/log",
            *(f"--define={name}={value}" for name, value in variables.items()),
            psql[2],
        ]  # fmt: skip
        done = subprocess.run(  # noqa: S603 - PostgreSQL's own program.
            argv,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            start_new_session=True,
        )
        if done.returncode != 0:
            raise PgbenchError(done.stderr.strip())
        return _sample(done.stdout, done.stderr, Path(folder))


def _sample(told: str, complaints: str, logs: Path) -> Sample:
    transactions, rate = _DONE.search(told), _RATE.search(told)
    if transactions is None or rate is None:
        raise PgbenchError(f"pgbench said:\n{told}\n{complaints}")
    failed = _FAILED.search(told)
    operations = int(transactions[1])
    return Sample(
        operations=operations,
        seconds=operations / float(rate[1]) if operations else 1.0,
        latencies_ns=_latencies(logs),
        errors=int(failed[1]) if failed else 0,
        first_error=complaints.strip() or None,
    )


def _latencies(logs: Path) -> list[int]:
    """Return each transaction's latency in ns, from pgbench's per-transaction log."""
    return [
        int(line.split(b" ", 3)[2]) * NANOSECONDS_PER_US
        for log in logs.iterdir()
        for line in log.read_bytes().splitlines()
    ]
