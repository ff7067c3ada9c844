"""A violated database constraint, told as the refusal it stands for."""

from functools import cache

from django.apps import apps
from django.db import IntegrityError, models

from config.kernel.errors import Conflict, DomainError, Invalid

FOREIGN_KEY_VIOLATION = "23503"


@cache
def _by_name() -> dict[str, models.BaseConstraint]:
    return {
        constraint.name: constraint
        for model in apps.get_models()
        for constraint in model._meta.constraints
    }


def refusal_of(error: IntegrityError) -> DomainError | None:
    """Return the refusal that the violated constraint names, or None if unnamed.

    A second belt behind the verbs' own checks: two concurrent writers may both pass
    a check, and then the database decides. A foreign key stands for a row that was
    deleted, or came to be needed, meanwhile (`Conflict`).
    """
    diagnostics = getattr(error.__cause__, "diag", None)
    name = getattr(diagnostics, "constraint_name", None)
    constraint = _by_name().get(name or "")
    if getattr(diagnostics, "sqlstate", None) == FOREIGN_KEY_VIOLATION:
        return Conflict(
            "Something that this write depends on was deleted meanwhile, or is needed "
            "elsewhere. Read it again.",
            meta={"constraint": name},
        )
    if constraint is None:
        return None
    sentence = str(constraint.get_violation_error_message())
    if isinstance(constraint, models.CheckConstraint):
        return Invalid(sentence, meta={"constraint": name})
    return Conflict(sentence, meta={"constraint": name})
