"""Check a metadata document against its contract."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from config.kernel.errors import Invalid
from config.kernel.metadata.document import check_document, path_text
from config.kernel.metadata.fields import Contract
from config.kernel.metadata.near import NearMiss, near_misses

MAX_ERRORS = 50

_MAX_SHOWN = 40
_PREDICATES = {
    "missing": "is required",
    "model_type": "must be an object",
    "dict_type": "must be an object",
    "bool_type": "must be true or false",
}

ContractT = TypeVar("ContractT", bound=Contract)


@dataclass(frozen=True, slots=True)
class CheckedMetadata(Generic[ContractT]):
    """A metadata document that keeps its contract.

    Attributes:
        document: the document itself, unchanged, to be stored as given.
        known: the known keys, typed; codes in their one spelling, instants as aware
            UTC, amounts as integers. Behavior reads this and never the document.
        warnings: unknown keys that look like a known one.

    """

    document: dict[str, object]
    known: ContractT
    warnings: tuple[NearMiss, ...]


def check_metadata(
    contract: type[ContractT], document: object, field: str = "metadata"
) -> CheckedMetadata[ContractT]:
    """Return the document with its known keys typed, and its near misses.

    Known keys are checked strictly: a number is no string and a string no number,
    except that integers of money may be strings of digits. Unknown keys are kept at
    every level. `field` is the input field that holds the document.

    Refuses, with Invalid (VALIDATION.INVALID_INPUT), a document that is no JSON
    object within the limits of `check_document`, and a known key that breaks its
    rule: `field` is the dotted path of the first one, such as
    `metadata.grants.1.grant_program_code`, the message a sentence with the allowed
    values, and `meta["errors"]` lists up to 50 pairs of path and sentence.
    """
    checked = check_document(document, field)
    try:
        known = contract.model_validate(checked)
    except ValidationError as refusal:
        raise _invalid(refusal.errors(include_url=False), checked, field) from refusal
    return CheckedMetadata(checked, known, near_misses(contract, checked, field))


def _invalid(
    details: Sequence[ErrorDetails], document: dict[str, object], field: str
) -> Invalid:
    errors = []
    for detail in details[:MAX_ERRORS]:
        path = path_text(field, _place(detail, document))
        errors.append((path, f"{path} {_predicate(detail)}."))
    first_path, first_sentence = errors[0]
    return Invalid(first_sentence, field=first_path, meta={"errors": errors})


def _place(detail: ErrorDetails, document: object) -> Iterator[str | int]:
    """Yield the steps to the fault in the document as written.

    The model may see more structure than the document has: a lone object as a list
    of one, a plain number as the field of an object. Such steps are left out.
    """
    value = document
    for step in (*detail["loc"], *detail.get("ctx", {}).get("at", ())):
        if isinstance(value, dict) and isinstance(step, str):
            yield step
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int):
            yield step
            value = value[step]


def _predicate(detail: ErrorDetails) -> str:
    if detail["type"] == "rule":
        return str(detail["ctx"]["predicate"])
    if detail["type"] == "literal_error":
        choices = detail["ctx"]["expected"].replace("'", "").replace(" or ", ", ")
        return f"must be one of {choices}; it is {_shown(detail['input'])}"
    return _PREDICATES.get(detail["type"], f"is not valid: {detail['msg']}")


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"
