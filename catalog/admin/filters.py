"""Filters that several lists share, in this app and above."""

from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from unfold.contrib.filters.admin import RangeDateTimeFilter

from config.admin.bases import UtcDateTimeField

_LAST_MOMENT = "23:59:59.999999"


class TimeFilter(RangeDateTimeFilter):
    """From when until when, in UTC. A date alone means the whole day.

    The theme's own ignores a date without a time, and what it cannot read.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.title = "time (UTC)"

    def queryset(self, request: Any, queryset: Any) -> Any:
        """Return the rows of that time; none, and say so, where it cannot be read."""
        bounds = (("from", "gte", ""), ("to", "lte", _LAST_MOMENT))
        for side, lookup, time_of_day in bounds:
            day = self._typed(side, 0)
            typed = [day, self._typed(side, 1) or (time_of_day if day else "")]
            try:
                instant = UtcDateTimeField(required=False).clean(typed)
            except ValidationError as error:
                sentence = f"{' '.join(typed).strip()}: {' '.join(error.messages)}"
                messages.error(request, sentence)
                return queryset.none()
            if instant is not None:
                queryset = queryset.filter(**{f"{self.field_path}__{lookup}": instant})
        return queryset

    def _typed(self, side: str, part: int) -> str:
        found = self.used_parameters.get(f"{self.field_path}_{side}_{part}")
        return str(found or "").strip()
