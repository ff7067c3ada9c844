"""Windows of validity in tables: `[window_start, window_end)`, NULL meaning open."""

from datetime import datetime
from typing import ClassVar, Self, TypeVar

from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import DateTimeRangeField, RangeOperators
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import F, Func, Q, Value

from config.tenancy.models.base import RealmQuerySet

M_co = TypeVar("M_co", bound=models.Model, covariant=True)

WINDOW = Func(
    "window_start",
    "window_end",
    Value("[)"),
    function="TSTZRANGE",
    output_field=DateTimeRangeField(),
)
"""The row's window as a range, for constraints and indexes."""


class WindowQuerySet(RealmQuerySet[M_co]):
    """Reads of rows that hold during a window."""

    def effective(self, at: datetime) -> Self:
        """Return the rows whose window contains `at` (aware UTC)."""
        return self.filter(
            Q(window_end__isnull=True) | Q(window_end__gt=at), window_start__lte=at
        )


class Window(models.Model):
    """A row that holds from `window_start` up to, and not including, `window_end`.

    Children write `class Meta(Window.Meta)` and extend `Window.Meta.constraints`.
    """

    window_start = models.DateTimeField()
    window_end = models.DateTimeField(
        null=True, blank=True, help_text="Empty means open: it never ends."
    )

    class Meta:
        abstract = True
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(
                name="%(class)s_window_not_empty",
                condition=Q(window_end__isnull=True)
                | Q(window_end__gt=F("window_start")),
                violation_error_message="A window must end after it starts.",
            ),
        ]

    def clean(self) -> None:
        """Refuse a reversed window on its field.

        An exclusion constraint cannot even be asked about one: PostgreSQL raises
        when it builds the range. An error on the field keeps Django from asking.
        """
        super().clean()
        if (
            self.window_end
            and self.window_start
            and self.window_end <= self.window_start
        ):
            raise ValidationError(
                {"window_end": "The window must end after it starts."}
            )

    def holds(self, at: datetime) -> bool:
        """Return whether the row's window contains `at` (aware UTC)."""
        return self.window_start <= at and (
            self.window_end is None or at < self.window_end
        )


def one_at_a_time(
    *columns: str, name: str, message: str, condition: Q | None = None
) -> ExclusionConstraint:
    """Return the constraint that rows equal in `columns` never hold at once.

    `name` says what is true, `message` what to tell people; `condition` limits the
    rows that are compared. `columns` begin with the realm.
    """
    equal = [(column, RangeOperators.EQUAL) for column in columns]
    return ExclusionConstraint(
        name=name,
        expressions=[*equal, (WINDOW, RangeOperators.OVERLAPS)],
        condition=condition,
        violation_error_message=message,
    )
