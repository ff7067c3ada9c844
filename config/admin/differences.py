"""What changed between two states of a row, key by key. Pure.

Objects and lists are compared by their keys and positions instead of as wholes, so
that a change of one metadata key reads as that key, before and after.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final


class _Absence(Enum):
    ABSENT = "absent"


ABSENT: Final = _Absence.ABSENT
"""Stands for a key that is not there, which is not the same as null."""

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """One place that differs.

    Attributes:
        path: the steps to the place; a list's positions are integers from 0.
        before: the value before, or ABSENT.
        after: the value after, or ABSENT.

    """

    path: Path
    before: Any
    after: Any

    @property
    def dotted(self) -> str:
        """The path as text, such as `metadata.grants.0.amount_xusd`.

        A key that would be mistaken for something else is quoted.
        """
        return ".".join(_step(step) for step in self.path)


def differences(
    before: Mapping[str, Any], after: Mapping[str, Any]
) -> tuple[Difference, ...]:
    """Return every place in which two objects differ, in the order of their keys.

    A subtree that exists on one side only is one difference. True is not 1, and the
    empty object is not an absent one.
    """
    return tuple(_compared(before, after, ()))


def _compared(before: Any, after: Any, path: Path) -> Iterator[Difference]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in {**before, **after}:
            yield from _compared(
                before.get(key, ABSENT), after.get(key, ABSENT), (*path, key)
            )
    elif isinstance(before, list) and isinstance(after, list):
        for index in range(max(len(before), len(after))):
            yield from _compared(
                before[index] if index < len(before) else ABSENT,
                after[index] if index < len(after) else ABSENT,
                (*path, index),
            )
    elif not _same(before, after):
        yield Difference(path, before, after)


def _same(before: Any, after: Any) -> bool:
    # Python holds True == 1; JSON does not.
    if isinstance(before, bool) or isinstance(after, bool):
        return before is after
    return bool(before == after)


def _step(step: str | int) -> str:
    if isinstance(step, int):
        return str(step)
    plain = step.replace("_", "a").replace("-", "a").isalnum() and not step.isdigit()
    return step if plain else f'"{step}"'
