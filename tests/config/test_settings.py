"""What the environment sets: all of it is documented, and means what the page says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "runbooks" / "configuration.md"
NAME = re.compile(r"\b(?:PLANGATE_[A-Z_]+|DATABASE(?:_APP)?_URL)\b")
APPS = ("config", "catalog", "billing", "grants", "gating", "demo")


def setting(expression, **environment):
    """Return what a process of that environment takes a setting for."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PLANGATE_")}
    kept["PLANGATE_DATA_DIR"] = os.environ.get("PLANGATE_DATA_DIR", "")
    kept = {name: value for name, value in kept.items() if value}
    found = subprocess.run(
        [sys.executable, "-c", f"from config import settings; print({expression})"],
        env={**kept, **environment}, cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return found.stdout.strip()


def test_every_variable_that_is_read_is_on_the_page():
    sources = [path for app in APPS for path in (ROOT / app).rglob("*.py")]
    read = {name for path in sources for name in NAME.findall(path.read_text())}
    listed = set(re.findall(r"^\| `([A-Z_]+)` \|", PAGE.read_text(), re.MULTILINE))

    assert sorted(read - listed) == []
    assert sorted(listed - read) == []


@pytest.mark.parametrize(
    ("value", "header"),
    [
        ({}, "None"),
        ({"PLANGATE_BEHIND_PROXY": "0"}, "None"),
        ({"PLANGATE_BEHIND_PROXY": "1"}, "('HTTP_X_FORWARDED_PROTO', 'https')"),
    ],
)
def test_forwarded_scheme_is_believed_only_behind_a_proxy(value, header):
    assert setting("settings.SECURE_PROXY_SSL_HEADER", **value) == header


@pytest.mark.parametrize(
    ("role", "limited"), [("app", True), ("owner", False), (None, False)]
)
def test_statements_of_the_serving_role_end(role, limited):
    environment = {"PLANGATE_DATABASE_ROLE": role} if role else {}

    options = setting(
        "settings.DATABASES['default']['OPTIONS']['options']", **environment
    )

    assert ("statement_timeout=30000" in options) == limited
    assert "lock_timeout=4000" in options
