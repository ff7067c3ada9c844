"""The forms of an assignment's named changes."""

from typing import Any, ClassVar

from django import forms

from billing.admin.words import minute_text
from billing.models import Plan
from config.admin.audit import EFFECTIVE
from config.admin.bases import CommandForm, TimedForm, UtcDateTimeField
from config.admin.forms import said_once


class ExtendForm(CommandForm):
    """A later end, or none: said, because an empty box may be a slip."""

    window_end = UtcDateTimeField(
        label="New end",
        required=False,
    )
    endless = forms.BooleanField(
        label="No end",
        required=False,
        help_text="It runs until somebody ends it. Leave the new end empty.",
    )

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        present = self.subject.window_end
        if present is not None:
            self.fields["window_end"].help_text = (
                "Date and time in UTC, later than the present end: "
                f"{minute_text(present)}."
            )

    def clean(self) -> dict[str, Any]:
        """Refuse neither an end nor "No end", and both."""
        super().clean()
        sentence = "Say when it ends, or tick “No end”: one of the two."
        return said_once(self, "window_end", "endless", sentence)


class EndForm(TimedForm):
    """When it ends: the effective time."""

    shown_by = {"end_at": EFFECTIVE}

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields["effective_at"].label = "Ends"
        self.fields[
            "effective_at"
        ].help_text = "Date and time in UTC; until then it stays in effect. Empty: now."


class StatusForm(TimedForm):
    """Since when the new status holds."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields["effective_at"].label = "Since"
        self.fields[
            "effective_at"
        ].help_text = "Date and time in UTC, now or earlier. Empty means now."


class SwitchForm(TimedForm):
    """The plan to move to, among those of the direction."""

    shown_by = {"switch_at": EFFECTIVE}
    higher: ClassVar[bool]

    plan = forms.ModelChoiceField(Plan.objects.none(), label="New plan")
    source_ref = forms.CharField(
        label="Source reference",
        max_length=255,
        help_text="The contract, order or ticket of this change. It needs one of its "
        "own.",
    )

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        current = self.subject.plan
        self.fields["plan"].queryset = (  # type: ignore[attr-defined]
            Plan.objects.in_realm(self.subject.realm_id)
            .filter(active=True, kind=current.kind, **self._priorities(current))
            .exclude(pk=current.pk)
            .order_by("-priority", "plan_code")
        )
        self.fields["plan"].help_text = (
            f"Now: {current}, priority {current.priority}. The old plan ends when the "
            "new one begins, with neither gap nor overlap."
        )
        self.fields["effective_at"].label = "Changes"
        self.fields[
            "effective_at"
        ].help_text = "Date and time in UTC, inside the window. Empty means now."

    def _priorities(self, current: Plan) -> dict[str, int]:
        return {f"priority__{'gte' if self.higher else 'lte'}": current.priority}


class UpgradeForm(SwitchForm):
    """A plan of higher priority, or of the same."""

    higher = True


class DowngradeForm(SwitchForm):
    """A plan of lower priority, or of the same."""

    higher = False
