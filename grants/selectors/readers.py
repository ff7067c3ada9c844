"""What apps above know of holds and uses: they register its readers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Use:
    """A use that was paid for, and what its allocations must sum to (10^-6 USD).

    `source_ref` is that of its allocations; what was left owing counts.
    """

    user_id: UUID
    source_ref: str
    amount_xusd: int


@dataclass(frozen=True, slots=True)
class UseLookup:
    """What tells whether a use that an allocation names was ever made.

    `known(realm_id=, source_refs=)` returns the pairs of user and source ref that it
    knows of; `kept_from()` the instant (aware UTC) before which uses may be forgotten
    by now, None where all are kept.
    """

    known: Callable[..., set[tuple[UUID, str]]]
    kept_from: Callable[[], datetime | None]


HoldReader = Callable[..., Mapping[UUID, int]]
UseReader = Callable[..., Iterator[Use]]

_hold_readers: list[HoldReader] = []
_use_readers: list[UseReader] = []
_use_lookups: dict[str, UseLookup] = {}


def register_hold_reader(reader: HoldReader) -> None:
    """Let `reader(realm_id=, account_ids=)` tell what holds come to, per lot.

    It returns the sum of all live holds (10^-6 USD) by the id of the lot; a lot that it
    leaves out is held by nothing. For `AppConfig.ready()`.
    """
    if reader not in _hold_readers:
        _hold_readers.append(reader)


def register_use_reader(reader: UseReader) -> None:
    """Let `reader(realm_id=, account_ids=)` yield the uses that were paid for.

    It should stream them: an account may have many. For `AppConfig.ready()`.
    """
    if reader not in _use_readers:
        _use_readers.append(reader)


def register_use_lookup(prefix: str, lookup: UseLookup) -> None:
    """Let `lookup` judge the allocations whose source ref starts with `prefix`.

    For `AppConfig.ready()`.
    """
    _use_lookups[prefix] = lookup


def use_lookups() -> Mapping[str, UseLookup]:
    """Return what tells of uses, by the prefix of their source refs."""
    return MappingProxyType(_use_lookups)


def held_by_lot(
    *, realm_id: str, account_ids: Sequence[UUID]
) -> dict[UUID, int] | None:
    """Return what is held of each lot (10^-6 USD); None where nobody can tell."""
    if not _hold_readers:
        return None
    held: dict[UUID, int] = {}
    for reader in _hold_readers:
        found = reader(realm_id=realm_id, account_ids=account_ids)
        for lot, amount in found.items():
            held[lot] = held.get(lot, 0) + amount
    return held


def uses_of(*, realm_id: str, account_ids: Sequence[UUID]) -> Iterator[Use]:
    """Yield every use of the accounts that some app knows to have been paid for."""
    for reader in _use_readers:
        yield from reader(realm_id=realm_id, account_ids=account_ids)
