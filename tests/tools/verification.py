"""Figures of the long runs, kept in docs/verification.md by `make soak`."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "verification.md"

HEAD = """# Verification

What the long runs (`make soak`) measured when they were last run. The short forms of the same
tests run in `make test`. Each row names its seed, so that it can be run again.

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
    """Write the figures noted in this run."""
    revision = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    lines = [
        f"- when: {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, revision {revision or 'unknown'}",
        f"- Python {platform.python_version()}, {_postgres()}, {os.cpu_count()} cores",
        "",
        "| what | figures |",
        "|---|---|",
        *(f"| {what} | {figures} |" for what, figures in sorted(ROWS)),
    ]
    PAGE.write_text(HEAD + "\n".join(lines) + "\n")


def _postgres():
    from config import database

    return f"PostgreSQL {database.status().version}"
