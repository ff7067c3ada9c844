"""Figures of the long runs, kept in docs/verification.md by `make soak`."""

import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "verification.md"

HEAD = """# Verification

What the long runs (`make soak`) measured when they were last run. The short forms of the same
tests run in `make test`. Each row names its seed, so that it can be run again; all ran on 2 cores
with Python 3.11.

"""


def is_soak():
    """Return whether this is the long form."""
    return bool(os.environ.get("PLANGATE_SOAK"))


ROWS = []


def note(what, figures):
    """Print a figure of this run, and keep it for the soak's page."""
    print(f"\n{what}: {figures}", flush=True)
    ROWS.append((what, figures))


def write_page():
    """Write the figures noted in this run; those of tests that did not run stay."""
    ran = {what for what, _figures in ROWS}
    on = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {_revision()}, {_postgres()}"
    rows = [row for row in _kept() if row.split(" | ")[0].removeprefix("| ") not in ran]
    rows += [f"| {what} | {figures} | {on} |" for what, figures in ROWS]
    lines = [
        "| what | figures | when, revision, database |",
        "|---|---|---|",
        *sorted(rows),
    ]
    PAGE.write_text(HEAD + "\n".join(lines) + "\n")


def _kept():
    """Return the rows that stand on the page."""
    lines = PAGE.read_text().splitlines() if PAGE.exists() else []
    found = [line for line in lines if line.startswith("| ")]
    return found[1:]


def _revision():
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout.strip() or "unknown"


def _postgres():
    from config import database

    return f"PostgreSQL {database.status().version}"
