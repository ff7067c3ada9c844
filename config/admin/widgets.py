"""The theme's widget for every form field: a field without one is invisible."""

from typing import Any

from django import forms
from django.contrib.admin.widgets import (
    AutocompleteSelect,
    AutocompleteSelectMultiple,
    FilteredSelectMultiple,
    RelatedFieldWidgetWrapper,
)
from django.contrib.auth.forms import ReadOnlyPasswordHashWidget
from unfold import widgets

from config.admin.fields import JsonField, LinesField

_STYLED_ELSEWHERE = (
    AutocompleteSelect,
    AutocompleteSelectMultiple,
    FilteredSelectMultiple,
    ReadOnlyPasswordHashWidget,
    RelatedFieldWidgetWrapper,
)


class JsonWidget(widgets.UnfoldAdminTextareaWidget):
    """A text area for JSON: monospaced, as high as its text."""

    def __init__(self, attrs: dict[str, Any] | None = None) -> None:
        super().__init__(
            {"class": "font-mono plangate-json", "rows": 6, "spellcheck": "false"}
            | (attrs or {})
        )


_BY_FIELD: tuple[tuple[type[forms.Field], type[forms.Widget]], ...] = (
    (JsonField, JsonWidget),
    (forms.JSONField, JsonWidget),
    (LinesField, widgets.UnfoldAdminExpandableTextareaWidget),
    (forms.MultipleChoiceField, widgets.UnfoldAdminSelectMultipleWidget),
    (forms.ModelMultipleChoiceField, widgets.UnfoldAdminSelectMultipleWidget),
    (forms.ChoiceField, widgets.UnfoldAdminSelectWidget),
    (forms.ModelChoiceField, widgets.UnfoldAdminSelectWidget),
    (forms.NullBooleanField, widgets.UnfoldAdminNullBooleanSelectWidget),
    (forms.BooleanField, widgets.UnfoldBooleanSwitchWidget),
    (forms.SplitDateTimeField, widgets.UnfoldAdminSplitDateTimeWidget),
    (forms.DateField, widgets.UnfoldAdminSingleDateWidget),
    (forms.TimeField, widgets.UnfoldAdminSingleTimeWidget),
    (forms.FileField, widgets.UnfoldAdminFileFieldWidget),
    (forms.EmailField, widgets.UnfoldAdminEmailInputWidget),
    (forms.URLField, widgets.UnfoldAdminURLInputWidget),
    (forms.UUIDField, widgets.UnfoldAdminUUIDInputWidget),
    (forms.FloatField, widgets.UnfoldAdminDecimalFieldWidget),
    (forms.DecimalField, widgets.UnfoldAdminDecimalFieldWidget),
    (forms.IntegerField, widgets.UnfoldAdminBigIntegerFieldWidget),
)
"""The first match wins, so a subclass stands before its parent."""

_BY_WIDGET: tuple[tuple[type[forms.Widget], type[forms.Widget]], ...] = (
    (forms.CheckboxSelectMultiple, widgets.UnfoldAdminCheckboxSelectMultipleWidget),
    (forms.RadioSelect, widgets.UnfoldAdminRadioSelectWidget),
    (forms.PasswordInput, widgets.UnfoldAdminPasswordWidget),
    (forms.Textarea, widgets.UnfoldAdminTextareaWidget),
)
"""What a field says by its widget outranks its type."""


def dress(form: forms.BaseForm) -> None:
    """Give every field of `form` the theme's widget for its type.

    A widget that the theme already styles, and a hidden one, stay as they are.
    """
    for field in form.fields.values():
        if not is_dressed(field.widget):
            field.widget = _dressed(field)


DASHES = "---------"
"""What the framework offers as no choice, where a form says nothing better."""


def is_dressed(widget: forms.Widget) -> bool:
    """Return whether `widget` shows in the theme, or is meant to be hidden."""
    return (
        widget.is_hidden
        or isinstance(widget, (*_STYLED_ELSEWHERE, JsonWidget))
        or any(kind.__module__.startswith("unfold.") for kind in type(widget).__mro__)
    )


def _dressed(field: forms.Field) -> forms.Widget:
    plain = field.widget
    if isinstance(field, forms.ModelChoiceField) and field.empty_label == DASHES:
        field.empty_label = "Choose…"
    kind: type[forms.Widget] = _kind(field, plain)
    widget = kind(attrs=dict(plain.attrs))
    widget.is_required = field.required
    widget.is_localized = plain.is_localized
    choices = getattr(field, "choices", None)
    if choices is not None and hasattr(widget, "choices"):
        widget.choices = choices
    widget.attrs.update(field.widget_attrs(widget))
    return widget


def _kind(field: forms.Field, plain: forms.Widget) -> type[forms.Widget]:
    for given, themed in _BY_WIDGET:
        if isinstance(plain, given) and not isinstance(field, forms.JSONField):
            return themed
    for described, themed in _BY_FIELD:
        if isinstance(field, described):
            return themed
    return widgets.UnfoldAdminTextInputWidget
