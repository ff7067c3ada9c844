"""What a run is told, and how `make bench` tells it."""

import subprocess
from pathlib import Path

import pytest

from bench.options import read_options

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("floor", "authorize", "commit")


def test_the_defaults():
    options = read_options([], NAMES)

    assert (options.accounts, options.ratings, options.uses) == (10_000, 10_000, 1)
    assert (options.connections, options.only) == ((1, 8, 32), ())


def test_fewer_accounts_than_would_be_called():
    assert read_options(["--accounts", "20"], NAMES).called == 20


def test_ratings_are_spread_over_the_accounts():
    given = ["--accounts", "1_000", "--ratings", "10000"]

    assert read_options(given, NAMES).uses == 10


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            ["--only", "authorise"],
            "no row authorise; there are: floor, authorize, commit",
        ),
        (["--accounts", "1"], "must be 2 or more"),
        (["--rounds", "0"], "must be 1 or more"),
    ],
)
def test_what_is_wrong_is_said(given, said, capsys):
    with pytest.raises(SystemExit):
        read_options(given, NAMES)

    assert said in capsys.readouterr().err


def test_rows_are_chosen_by_comma_or_space():
    assert read_options(["--only", "commit, floor"], NAMES).only == ("commit", "floor")


def test_make_hands_its_variables_on():
    told = subprocess.run(
        [
            "make",
            "-n",
            "-o",
            ".venv/.installed-requirements-demo",
            "bench",
            "N=20",
            "SECONDS=0.3",
            "ONLY=floor commit",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert "-m bench --accounts 20" in told
    assert "--seconds 0.3" in told
    assert '--only "floor commit"' in told
