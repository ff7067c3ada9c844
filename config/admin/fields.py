"""Form fields that the admin needs and Django lacks."""

import json
from datetime import datetime
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.forms.fields import InvalidJSONInput

from config.api.strictjson import parse_json
from config.kernel.errors import Malformed

MAX_LINES = 200


class JsonField(forms.JSONField):
    """A JSON document, shown indented.

    Read as strictly as the API reads it: a key that appears twice is refused instead
    of silently losing one. What the user typed stays in the box when it is refused.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.indent = 2

    def to_python(self, value: Any) -> Any:
        """Return the document. Refuses what `parse_json` refuses."""
        if self.disabled or value in self.empty_values or not isinstance(value, str):
            return super().to_python(value)
        try:
            return parse_json(value.encode("utf-8", "surrogatepass"))
        except Malformed as refusal:
            sentence = refusal.message.replace("The body", "The text")
            raise ValidationError(sentence, code="invalid") from None

    def bound_data(self, data: Any, initial: Any) -> Any:
        """Return what to show again: the text as typed where it cannot be read."""
        if self.disabled or data is None:
            return super().bound_data(data, initial)
        try:
            return self.to_python(data)
        except ValidationError:
            return InvalidJSONInput(data)

    def prepare_value(self, value: Any) -> Any:
        """Return the text to show: indented, keys in their stored order."""
        if isinstance(value, InvalidJSONInput):
            return value
        return json.dumps(value, ensure_ascii=False, indent=2)

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Return whether the document, not its layout, differs."""
        try:
            return bool(self.to_python(data) != initial)
        except ValidationError:
            return True


class LinesField(forms.CharField):
    """A list of texts, one per line; blank lines do not count."""

    def __init__(self, *, base_field: Any = None, **options: Any) -> None:
        # A model's array field hands over the field of its items: they are texts.
        del base_field
        super().__init__(**options)

    def to_python(self, value: Any) -> Any:
        """Return the list. Refuses more than 200 lines."""
        lines = value if isinstance(value, list) else (value or "").splitlines()
        found = [line.strip() for line in lines if line.strip()]
        if len(found) > MAX_LINES:
            raise ValidationError(f"{len(found)} lines; the most is {MAX_LINES}.")
        return found

    def prepare_value(self, value: Any) -> Any:
        """Return the text to show."""
        return "\n".join(value) if isinstance(value, list) else value

    def run_validators(self, value: Any) -> None:
        """Run the validators on each line."""
        for line in value:
            super().run_validators(line)

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Return whether the list differs."""
        return bool(self.to_python(data) != (initial or []))


class UtcDateTimeField(forms.SplitDateTimeField):
    """An instant, as a date and a time of day in UTC."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("help_text", "Date and time in UTC.")
        super().__init__(require_all_fields=False, **options)
        date, time = self.fields
        date.error_messages["incomplete"] = "Enter a date as well."
        time.required = False

    def compress(self, data_list: Any) -> datetime | None:
        """Return the instant; a date alone is its first moment."""
        if data_list and data_list[0] and data_list[1] in self.empty_values:
            data_list = [data_list[0], datetime.min.time()]
        return super().compress(data_list)
