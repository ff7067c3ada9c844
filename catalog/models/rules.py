"""Constraints that several catalog tables share."""

from django.db import models
from django.db.models import Q

from config.kernel.codes import CODE_PATTERN


def is_code(column: str, *, name: str) -> models.CheckConstraint:
    """Return the constraint that `column` holds a code in its one spelling."""
    return models.CheckConstraint(
        name=name,
        condition=Q(**{f"{column}__regex": CODE_PATTERN}),
        violation_error_message=(
            "A code is 1 to 128 lower-case letters, digits or . _ / @ : - and begins "
            "and ends with a letter or digit."
        ),
    )


def is_given(column: str, *, name: str, message: str) -> models.CheckConstraint:
    """Return the constraint that `column` holds more than white space."""
    return models.CheckConstraint(
        name=name,
        condition=Q(**{f"{column}__regex": r"\S"}),
        violation_error_message=message,
    )


def is_one_of(
    column: str, choices: type[models.TextChoices], *, name: str
) -> models.CheckConstraint:
    """Return the constraint that `column` holds one of `choices`."""
    allowed = ", ".join(choices.values)
    return models.CheckConstraint(
        name=name,
        condition=Q(**{f"{column}__in": choices.values}),
        violation_error_message=f"Must be one of {allowed}.",
    )


def is_object(column: str, *, name: str) -> models.CheckConstraint:
    """Return the constraint that the JSON in `column` is an object."""
    return models.CheckConstraint(
        name=name,
        condition=Q(**{f"{column}__contains": {}}),
        violation_error_message="Must be a JSON object.",
    )


def in_one_realm(*, name: str) -> models.UniqueConstraint:
    """Return the key that composite foreign keys of the realm's other rows refer to."""
    return models.UniqueConstraint(fields=["realm", "id"], name=name)
