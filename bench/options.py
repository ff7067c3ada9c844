"""What a run is told: from the command line, with defaults for five minutes."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

ACCOUNTS = 10_000
CALLED = 10_000
SECONDS = 1.0
ROUNDS = 3
CONNECTIONS = (1, 8, 32)


@dataclass(frozen=True, slots=True)
class Options:
    """One run.

    Attributes:
        accounts: how many accounts the realm has, 2 or more, each with one user.
        ratings: how much committed usage the accounts have before the run, in all;
            at least one commit each.
        called: how many of the accounts are called, 2 or more, evenly spread over all.
        seconds: how long one measurement lasts.
        rounds: how often each measurement is taken; its median counts.
        connections: the numbers of connections measured at.
        only: names of rows to measure, () for all. The floor is always among them.

    """

    accounts: int = ACCOUNTS
    ratings: int = ACCOUNTS
    called: int = CALLED
    seconds: float = SECONDS
    rounds: int = ROUNDS
    connections: tuple[int, ...] = CONNECTIONS
    only: tuple[str, ...] = ()

    @property
    def uses(self) -> int:
        """Return how many commits each account has before the run."""
        return max(1, round(self.ratings / self.accounts))


def read_options(arguments: Sequence[str], names: Sequence[str]) -> Options:
    """Return the options of a command line; ends the process where one is wrong.

    `names` are the rows there are, which `--only` may choose from.
    """
    given = _parser().parse_args(arguments)
    only = tuple(given.only.replace(",", " ").split())
    unknown = [name for name in only if name not in names]
    if unknown:
        _parser().error(f"no row {unknown[0]}; there are: {', '.join(names)}")
    return Options(
        accounts=given.accounts,
        ratings=given.accounts if given.ratings is None else given.ratings,
        called=min(given.called, given.accounts),
        seconds=given.seconds,
        rounds=given.rounds,
        connections=tuple(int(text) for text in given.connections.split(",")),
        only=only,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--accounts", type=_several, default=ACCOUNTS)
    parser.add_argument("--ratings", type=_positive)
    parser.add_argument("--called", type=_several, default=CALLED)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--rounds", type=_positive, default=ROUNDS)
    default = ",".join(map(str, CONNECTIONS))
    parser.add_argument("--connections", default=default)
    parser.add_argument("--only", default="", help="names of rows, by comma or space")
    return parser


def _positive(text: str) -> int:
    number = int(text.replace("_", ""))
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def _several(text: str) -> int:
    number = _positive(text)
    if number < 2:  # noqa: PLR2004 - one to be hot, another to be not.
        raise argparse.ArgumentTypeError("must be 2 or more")
    return number
