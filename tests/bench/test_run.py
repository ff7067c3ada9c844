"""A tiny run of what `make bench` runs: an own database, the real server, every row."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.figures import Row
from bench.generator import Load, measure
from bench.rounds import NAMES
from bench.signed import CallerOf, Signer
from bench.subjects import AUTHORIZE, OK, ask
from config.secrets import data_dir
from tests.tools.server import running_server

ROOT = Path(__file__).resolve().parents[2]
CONNECTIONS = (1, 2)


@pytest.fixture(scope="module")
def told():
    """What one tiny run printed, and the data folder it used, since emptied."""
    folder = data_dir() / f"bench-test-{os.getpid()}"
    without = {"DATABASE_URL", "DATABASE_APP_URL", "PLANGATE_DATABASE_ROLE"}
    kept = {name: text for name, text in os.environ.items() if name not in without}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "bench", "--accounts", "20", "--ratings", "60", "--seconds", "0.3",
             "--rounds", "1", "--connections", ",".join(map(str, CONNECTIONS))],
            cwd=ROOT,
            env={**kept, "PLANGATE_DATA_DIR": str(folder)},
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        yield done, folder / "bench"
    finally:
        cluster = folder / "bench" / "postgres"
        shutil.rmtree(cluster.resolve().parent, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def rows(told):
    lines = [line for line in told[0].stdout.splitlines() if line.startswith("{")]
    return {(row["name"], row["connections"]): row for row in map(json.loads, lines)}


def test_every_row_is_there_as_json(rows):
    assert list(rows) == [(name, count) for name in NAMES for count in CONNECTIONS]
    assert {tuple(row) for row in rows.values()} == {tuple(Row.__dataclass_fields__)}


def test_nothing_went_wrong(rows):
    assert {place: row["errors"] for place, row in rows.items() if row["errors"]} == {}


def test_what_is_measured_has_its_figures(rows):
    for row in rows.values():
        if row["absent"]:
            assert row["per_second"] is None
            continue
        assert row["per_second"] > 0
        assert 0 < row["p50_ms"] <= row["p99_ms"]
        assert row["ratio_to_floor"] > 0
        assert row["accounts"] == 20


def test_the_floor_is_the_measure_of_itself(rows):
    assert {rows[name, 1]["ratio_to_floor"] for name in ("floor", "floor_hot")} == {1.0}


def test_only_what_does_not_exist_is_absent_and_that_is_said(told, rows):
    absent = {name for (name, _), row in rows.items() if row["absent"]}

    assert {name.removesuffix("_hot") for name in absent} <= {
        "function",
        "authorize_batch_100",
        "commit_batch_100",
    }
    for name in absent:
        assert f"ABSENT: {name}" in told[0].stderr


def test_it_says_what_it_ran_on_and_that_it_is_durable(told):
    assert "# PostgreSQL 18" in told[0].stdout
    assert "fsync=on" in told[0].stdout
    assert "synchronous_commit=on" in told[0].stdout


def test_it_leaves_nothing_running(told):
    running = [
        place
        for place in Path("/proc").glob("[0-9]*/environ")
        if str(told[1]).encode() in _read(place)
    ]

    assert running == []


def _read(place):
    try:
        return place.read_bytes()
    except OSError:
        return b""


@pytest.mark.usefixtures("committed_realm")
def test_a_wrong_key_is_an_error(committed_realm, at, by):
    from config.tenancy.services.service_keys import create_service_key

    key = create_service_key(realm=committed_realm, at=at, by=by)
    with running_server() as base:
        host = base.removeprefix("http://")
        signer = Signer(host, committed_realm.pk, key.key_id, b"not the secret")
        body = json.dumps(ask()).encode()
        request = signer.post(
            AUTHORIZE, body, CallerOf("acme", "u-1"), idempotency_key="k-1"
        )
        sample, statuses = measure(
            int(host.rpartition(":")[2]), Load([request], OK), connections=1, seconds=5
        )

    assert (sample.operations, sample.errors, statuses) == (0, 1, {401: 1})
    assert "AUTH.INVALID_SERVICE_SIGNATURE" in sample.first_error
