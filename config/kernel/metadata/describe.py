"""Which keys a contract knows, for forms, for documentation and for near misses."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from config.kernel.metadata.fields import Contract, Kind, KindName


@dataclass(frozen=True, slots=True)
class KnownKey:
    """One key that behavior reads.

    Attributes:
        path: dotted path in the document; `[]` marks the elements of a list, as in
            `grants[].amount_xusd`.
        type_name: the type, such as `key`, `choice`, `xusd` or `instant`.
        choices: the allowed values of a choice, else empty.
        help: one sentence for people.
        required: whether the object that holds the key must have it.

    """

    path: str
    type_name: KindName
    choices: tuple[str, ...]
    help: str
    required: bool


@cache
def describe(contract: type[Contract]) -> tuple[KnownKey, ...]:
    """Return the known keys of a contract, in the order of their declaration.

    Objects that only hold known keys, such as `billing_defaults`, do not appear;
    lists do, as `grants[]`, before the keys of their elements.
    """
    return tuple(_described(contract, ""))


def known_paths(contract: type[Contract]) -> tuple[str, ...]:
    """Return the paths of `describe`, in the same order."""
    return tuple(known.path for known in describe(contract))


def _described(contract: type[Contract], prefix: str) -> Iterator[KnownKey]:
    for name, field in contract.model_fields.items():
        path = f"{prefix}{name}{'[]' if is_list(field) else ''}"
        for kind in field.metadata:
            if isinstance(kind, Kind):
                yield KnownKey(
                    path=path,
                    type_name=kind.name,
                    choices=_choices(field.annotation),
                    help=field.description or "",
                    required=field.is_required(),
                )
        child = child_contract(field)
        if child is not None:
            yield from _described(child, f"{path}.")


def is_list(field: FieldInfo) -> bool:
    """Return whether a field holds a list of objects."""
    return get_origin(field.annotation) is tuple


def child_contract(field: FieldInfo) -> type[Contract] | None:
    """Return the contract of the object, or of the list's elements, in a field."""
    for annotation in (field.annotation, *get_args(field.annotation)):
        if isinstance(annotation, type) and issubclass(annotation, Contract):
            return annotation
    return None


def _choices(annotation: Any) -> tuple[str, ...]:
    for candidate in (annotation, *get_args(annotation)):
        if get_origin(candidate) is Literal:
            return get_args(candidate)
    return ()
