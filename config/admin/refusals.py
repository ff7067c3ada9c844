"""Refusals, told beside the field they are about."""

import re
from collections.abc import Callable
from typing import Any

from django import forms
from django.db import DatabaseError, IntegrityError, connection, transaction

from config.api.constraints import refusal_of
from config.api.errors import LOCK_NOT_AVAILABLE, RETRYABLE, sqlstate
from config.kernel.errors import DomainError, Unavailable
from config.kernel.money import format_xusd

METADATA_SEPARATOR = "__"
"""Joins a metadata field's name and the steps to a key in the name of its field."""

_INSTANT = re.compile(r"\b(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.(\d+))?(?:Z|\+00:00)")
_AMOUNT = re.compile(r"(?<![\w.])(-?\d+) xusd\b")


def as_refusal(error: DomainError | DatabaseError) -> DomainError | None:
    """Return the refusal that an error stands for, or None where it is a bug."""
    if isinstance(error, DomainError):
        return error
    if isinstance(error, IntegrityError):
        return refusal_of(error)
    state = sqlstate(error)
    if state == LOCK_NOT_AVAILABLE or state in RETRYABLE:
        return Unavailable(
            "Somebody else is changing this right now. Try again in a moment.",
            code="SERVER.BUSY",
        )
    return None


def add_refusal(form: forms.BaseForm, refusal: DomainError) -> None:
    """Show a refusal on the form: on its field where the form has it, else on top."""
    for path, sentence in _problems(refusal):
        form.add_error(field_for(form, path), for_people(sentence))


def for_people(sentence: str) -> str:
    """Return a refusal with times and money as the admin shows them.

    The API says the same in its own units: `2026-03-10T12:00:00Z`, `1250000 xusd`.
    """
    told = _INSTANT.sub(_instant_text, sentence)
    return _AMOUNT.sub(lambda found: format_xusd(int(found[1])), told)


def _instant_text(found: re.Match[str]) -> str:
    fraction = (found[3] or "").rstrip("0")
    return f"{found[1]} {found[2]}{f'.{fraction}' if fraction else ''} UTC"


def field_for(form: forms.BaseForm, path: str | None) -> str | None:
    """Return the form field that shows the input at the dotted `path`, or None.

    `metadata.period.cadence` is shown by the field of that key where it has one, else
    by `metadata`; `audit.reason` by `reason`, or `audit_reason` where that is its name.
    A form may say otherwise (`shown_by`).
    """
    if not path:
        return None
    steps = path.split(".")
    candidates = (
        getattr(form, "shown_by", {}).get(path, ""),
        *(METADATA_SEPARATOR.join(steps[:end]) for end in range(len(steps), 0, -1)),
        "_".join(steps),
        steps[-1],
        f"{steps[-1]}_id",
        steps[-1].removesuffix("_id"),
    )
    return next((name for name in candidates if name in form.fields), None)


def _problems(refusal: DomainError) -> list[tuple[str | None, str]]:
    """Return every pair of path and sentence; a refusal may list several."""
    listed: Any = refusal.meta.get("errors")
    if not listed:
        return [(refusal.field, refusal.message)]
    return [
        (problem["field"], problem["message"]) if isinstance(problem, dict) else problem
        for problem in listed
    ]


def attempt(
    form: forms.BaseForm, perform: Callable[[], Any], *, keep: bool = True
) -> Any:
    """Return what `perform` returns, run in a transaction, undone unless `keep`.

    A refusal, from a verb or from a database constraint, undoes everything and is
    shown on the form: look at `form.errors`. Anything else is a bug and is raised.
    """
    try:
        with transaction.atomic():
            result = perform()
            check_now()
            if not keep:
                transaction.set_rollback(True)
    except (DomainError, DatabaseError) as error:
        refusal = as_refusal(error)
        if refusal is None:
            raise
        add_refusal(form, refusal)
        return None
    return result


def check_now() -> None:
    """Check the deferred constraints now, before anybody is told of a success."""
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
