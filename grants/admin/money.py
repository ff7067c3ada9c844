"""Amounts as people type them."""

import re
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from config.kernel.money import INT64_MAX, format_xusd, xusd_to_usd_text

DECIMALS = 6
_AMOUNT = re.compile(r"\$?\s*([0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.([0-9]+))?")


class UsdField(forms.CharField):
    """An amount typed in US dollars, read as exact XUSD (millionths of a dollar).

    More than $0, unless `zero` says that $0 is an amount too.
    """

    def __init__(self, *, zero: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.zero = zero

    def prepare_value(self, value: Any) -> Any:
        """Return the text to show of stored XUSD, or of what was typed."""
        return xusd_to_usd_text(value) if isinstance(value, int) else value

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Return whether another amount was typed than the stored one."""
        try:
            return bool(self.to_python((data or "").strip()) != initial)
        except ValidationError:
            return True

    def to_python(self, value: Any) -> Any:
        """Return the XUSD. Refuses more than 6 decimals, and what is no amount."""
        text: Any = super().to_python(value)
        if text in self.empty_values:
            return None
        found = _AMOUNT.fullmatch(text)
        if found is None:
            raise ValidationError(
                "Write the amount in digits, with a point before the cents, like "
                "1250.50 or 1,250.50."
            )
        dollars, decimals = found[1].replace(",", ""), found[2] or ""
        if len(decimals) > DECIMALS:
            raise ValidationError(
                f"{text} has {len(decimals)} decimals; the most is {DECIMALS}, because "
                "the smallest amount is one millionth of a dollar."
            )
        # Ten thousand digits are refused before they are converted.
        too_long = len(dollars) > len(str(INT64_MAX))
        xusd = int(f"{dollars[:20]}{decimals:0<{DECIMALS}}")
        if too_long or xusd > INT64_MAX:
            raise ValidationError(f"The largest amount is {format_xusd(INT64_MAX)}.")
        if xusd == 0 and not self.zero:
            raise ValidationError("The amount must be more than $0.")
        return xusd

    def run_validators(self, value: Any) -> None:
        """Run none: those of a text do not fit an amount."""
