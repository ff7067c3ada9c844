from datetime import UTC, datetime

import pytest
from django import forms
from unfold.widgets import UnfoldAdminTextInputWidget

from config.admin.fields import JsonField, LinesField, UtcDateTimeField
from config.admin.widgets import JsonWidget, dress, is_dressed

CHOICES = [("a", "A")]
EVERY_FIELD = {
    "text": forms.CharField(),
    "prose": forms.CharField(widget=forms.Textarea),
    "secret": forms.CharField(widget=forms.PasswordInput),
    "email": forms.EmailField(),
    "url": forms.URLField(assume_scheme="https"),
    "uuid": forms.UUIDField(),
    "slug": forms.SlugField(),
    "whole": forms.IntegerField(),
    "decimal": forms.DecimalField(),
    "number": forms.FloatField(),
    "yes_no": forms.BooleanField(),
    "yes_no_unknown": forms.NullBooleanField(),
    "one_of": forms.ChoiceField(choices=CHOICES),
    "typed_one_of": forms.TypedChoiceField(choices=CHOICES),
    "radio": forms.ChoiceField(choices=CHOICES, widget=forms.RadioSelect),
    "some_of": forms.MultipleChoiceField(choices=CHOICES),
    "boxes": forms.MultipleChoiceField(
        choices=CHOICES, widget=forms.CheckboxSelectMultiple
    ),
    "date": forms.DateField(),
    "time": forms.TimeField(),
    "instant": UtcDateTimeField(),
    "plain_instant": forms.DateTimeField(),
    "duration": forms.DurationField(),
    "file": forms.FileField(),
    "json": JsonField(),
    "lines": LinesField(),
}


@pytest.mark.parametrize("name", EVERY_FIELD)
def test_every_kind_of_field_gets_a_widget_of_the_theme(name):
    form = type("Form", (forms.Form,), {name: EVERY_FIELD[name]})()

    dress(form)

    assert is_dressed(form.fields[name].widget)
    assert "class=" in str(form[name])


def test_dressing_keeps_choices_requirement_and_attributes():
    class Form(forms.Form):
        one = forms.ChoiceField(choices=CHOICES)
        text = forms.CharField(
            max_length=7, widget=forms.TextInput({"placeholder": "x"})
        )

    form = Form()
    dress(form)

    assert list(form.fields["one"].widget.choices) == CHOICES
    assert form.fields["text"].widget.attrs["maxlength"] == "7"
    assert form.fields["text"].widget.attrs["placeholder"] == "x"
    assert form.fields["text"].widget.is_required


def test_hidden_and_dressed_widgets_stay():
    class Form(forms.Form):
        hidden = forms.CharField(widget=forms.HiddenInput)
        dressed = forms.CharField(widget=UnfoldAdminTextInputWidget({"class": "mine"}))

    form = Form()
    kept = {name: field.widget for name, field in form.fields.items()}
    dress(form)

    assert {name: field.widget for name, field in form.fields.items()} == kept


def test_json_is_shown_indented_and_read_strictly():
    field = JsonField()

    assert (
        field.prepare_value({"b": [1], "a": "é"})
        == '{\n  "b": [\n    1\n  ],\n  "a": "é"\n}'
    )
    assert field.clean(' {"a": 1.5} ') == {"a": 1.5}
    with pytest.raises(forms.ValidationError, match="The key 'a' appears twice"):
        field.clean('{"a": 1, "a": 2}')
    with pytest.raises(forms.ValidationError, match="NaN is not a JSON number"):
        field.clean('{"a": NaN}')


def test_json_widget_is_monospaced():
    class Form(forms.Form):
        document = JsonField(required=False)

    form = Form()
    dress(form)

    assert isinstance(form.fields["document"].widget, JsonWidget)
    assert "plangate-json" in str(form["document"])


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("", []),
        ("one", ["one"]),
        ("one\r\n\r\n  two  \n", ["one", "two"]),
    ],
)
def test_lines_are_a_list_without_blanks(typed, expected):
    assert LinesField(required=False).clean(typed) == expected


def test_too_many_lines_are_refused():
    with pytest.raises(forms.ValidationError, match="201 lines; the most is 200"):
        LinesField().clean("x\n" * 201)


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["2026-03-10", "12:30"], datetime(2026, 3, 10, 12, 30, tzinfo=UTC)),
        (["2026-03-10", ""], datetime(2026, 3, 10, tzinfo=UTC)),
    ],
)
def test_instants_are_utc_and_a_date_alone_is_its_first_moment(typed, expected):
    assert UtcDateTimeField(required=False).clean(typed) == expected
    assert UtcDateTimeField().clean(typed) == expected


def test_time_without_a_date_is_refused():
    with pytest.raises(forms.ValidationError, match="Enter a date as well"):
        UtcDateTimeField(required=False).clean(["", "12:30"])
