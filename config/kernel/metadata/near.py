"""Unknown keys that look like a mistyped or misplaced known key.

Unknown keys are annotations and are kept, so a slip of the pen would go unseen. The
rules are narrow on purpose: `operator`, `team` or `bundle` must not raise an alarm.
The cost grows with the number of unknown keys times the known keys of their level.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import islice

from config.kernel.metadata.describe import child_contract, is_list, known_paths
from config.kernel.metadata.document import path_text
from config.kernel.metadata.fields import Contract

MAX_WARNINGS = 50

_MAX_KEY_LENGTH = 64
_MIN_WORD = 3
_MIN_SINGLE_WORD = 5
_MIN_RUN_TOGETHER = 10
_MIN_CHANGED = 7
_MAX_SLIPS = 2
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_SEPARATORS = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class NearMiss:
    """An unknown key that is close to a known one; it is kept, but never read.

    Attributes:
        path: where it stands, such as `metadata.gate_bundel_key`.
        key: the key as written.
        did_you_mean: the path of the known key below the document's root, such as
            `billing_defaults.period.billing_mode`.

    """

    path: str
    key: str
    did_you_mean: str


@dataclass(frozen=True)
class _Level:
    """The known keys of one object, prepared for comparison."""

    children: Mapping[str, type[Contract] | None]

    @cached_property
    def words(self) -> dict[str, tuple[str, ...]]:
        return {name: _words(name) for name in self.children}

    @cached_property
    def folded(self) -> dict[str, str]:
        return {"".join(words): name for name, words in self.words.items()}

    @cached_property
    def shortened(self) -> dict[tuple[str, ...], str]:
        """Known keys without their first or last word, if two words or more remain."""
        return {
            part: name
            for name, words in self.words.items()
            for part in (words[1:], words[:-1])
            if len(part) > 1
        }


@cache
def _level(contract: type[Contract]) -> _Level:
    return _Level(
        {name: child_contract(field) for name, field in contract.model_fields.items()}
    )


@cache
def _elsewhere(contract: type[Contract]) -> Mapping[str | tuple[str, str], str]:
    """Return known paths by their last name, and by their last two names.

    A last name counts when it is a compound such as `billing_mode`: plain words are
    common annotations. The shortest path to a name wins.
    """
    found: dict[str | tuple[str, str], str] = {}
    for path in sorted(known_paths(contract), key=lambda path: path.count(".")):
        names = path.split(".")
        words = _words(names[-1])
        if len(words) > 1:
            found.setdefault("".join(words), path)
        if len(names) > 1:
            found.setdefault((names[-2], names[-1]), path)
    return found


def near_misses(
    contract: type[Contract], document: Mapping[str, object], field: str
) -> tuple[NearMiss, ...]:
    """Return the unknown keys of `document` that a writer may have meant as known.

    Recognized are, among the keys of the same object: another case or separator
    (`gateBundleKey`), one slip per word and two at most (`gate_bundel_key`), and a
    left-out first or last word (`bundle_key`); and a compound key at the wrong
    level (`billing_mode` at the top of a plan's metadata). At most 50 are returned.
    """
    places = _object_misses(contract, contract, document, ())
    return tuple(
        NearMiss(path_text(field, path), str(path[-1]), meant)
        for path, meant in islice(places, MAX_WARNINGS)
    )


_Path = tuple[str | int, ...]
_Miss = tuple[_Path, str]


def _object_misses(
    root: type[Contract],
    contract: type[Contract],
    value: Mapping[str, object],
    path: _Path,
) -> Iterator[_Miss]:
    level = _level(contract)
    for key, child in value.items():
        here = (*path, key)
        if key not in level.children:
            yield from _unknown_misses(root, level, child, here)
            continue
        below = level.children[key]
        if below is None:
            continue
        if isinstance(child, dict):
            yield from _object_misses(root, below, child, here)
        elif isinstance(child, list) and is_list(contract.model_fields[key]):
            for index, element in enumerate(child):
                if isinstance(element, dict):
                    yield from _object_misses(root, below, element, (*here, index))


def _unknown_misses(
    root: type[Contract], level: _Level, child: object, path: _Path
) -> Iterator[_Miss]:
    key = str(path[-1])
    if len(key) <= _MAX_KEY_LENGTH:
        words = _words(key)
        sibling = _sibling(level, words)
        if sibling is not None:
            yield path, ".".join(map(str, (*path[:-1], sibling)))
            return
        elsewhere = _elsewhere(root).get("".join(words))
        if elsewhere is not None:
            yield path, elsewhere
            return
    if isinstance(child, dict):
        yield from _buried(root, child, path)


def _buried(
    root: type[Contract], value: Mapping[str, object], path: _Path
) -> Iterator[_Miss]:
    """Find known last-two-names inside an unknown object, as `billing` in a plan."""
    for key, child in value.items():
        meant = _elsewhere(root).get((str(path[-1]), key))
        if meant is not None:
            yield (*path, key), meant
        elif isinstance(child, dict):
            yield from _buried(root, child, (*path, key))


def _sibling(level: _Level, words: tuple[str, ...]) -> str | None:
    folded = "".join(words)
    if folded in level.folded:
        return level.folded[folded]
    if words in level.shortened:
        return level.shortened[words]
    for known, name in level.folded.items():
        if abs(len(known) - len(folded)) > _MAX_SLIPS:
            continue
        if _close(words, level.words[name]):
            return name
    return None


def _close(words: tuple[str, ...], known: tuple[str, ...]) -> bool:
    """Return whether one slip per word, two at most, separates the keys.

    Words under three letters must agree, and so must a lone word under five.
    """
    if len(words) != len(known):
        one, other = "".join(words), "".join(known)
        return len(other) >= _MIN_RUN_TOGETHER and _one_edit(one, other)
    alone = len(known) == 1
    slips = 0
    for word, right in zip(words, known, strict=True):
        if word != right:
            slips += 1
            if not _slip(word, right, alone=alone):
                return False
    return slips <= _MAX_SLIPS


def _slip(word: str, right: str, *, alone: bool) -> bool:
    """Return whether `word` is `right` with a letter too many, too few or swapped.

    A changed letter makes other words (mode, code; gating, gaming): it counts inside a
    compound, or in a lone word of seven letters or more (cadense), and never in the
    first place. A lone word keeps its first letter (mail, email).
    """
    shortest = _MIN_SINGLE_WORD if alone else _MIN_WORD
    if len(right) < shortest or not _one_edit(word, right):
        return False
    same_first = word[:1] == right[:1]
    changed = len(word) == len(right) and sorted(word) != sorted(right)
    if alone:
        return same_first and (not changed or len(right) >= _MIN_CHANGED)
    return same_first or not changed


def _one_edit(one: str, other: str) -> bool:
    """Return whether one letter inserted, dropped, changed or swapped separates them.

    Not meant for equal texts.
    """
    start, shorter = 0, min(len(one), len(other))
    while start < shorter and one[start] == other[start]:
        start += 1
    one, other = one[start:], other[start:]
    if one[1:] in (other, other[1:]) or one == other[1:]:
        return True
    return one[:2] == other[1::-1] and one[2:] == other[2:]


def _words(key: str) -> tuple[str, ...]:
    """Return the words of a key written in any of the usual ways, lower case."""
    separated = _HUMP.sub("_", key).lower()
    return tuple(word for word in _SEPARATORS.split(separated) if word)
