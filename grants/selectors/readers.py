"""What apps above know of holds and uses: they register its readers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Use:
    """A use that was paid for, and what its allocations must sum to (10^-6 USD).

    `source_ref` is that of its allocations; what was left owing counts.
    """

    user_id: UUID
    source_ref: str
    amount_xusd: int


HoldReader = Callable[..., Mapping[UUID, int]]
UseReader = Callable[..., Iterator[Use]]

_hold_readers: list[HoldReader] = []
_use_readers: list[UseReader] = []


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
