"""What the types of the wire make of a value."""

import pytest
from pydantic import TypeAdapter, ValidationError

from config.api.faults import as_invalid
from config.api.wire import Labels, NameOrEmpty, QueryFlag, WireModel, omitted

LABELS = TypeAdapter(Labels)


class Shape(WireModel):
    """A body."""

    labels: Labels = omitted()
    name: NameOrEmpty = omitted()
    flag: QueryFlag | None = None


def fault(document):
    """Return path and sentence of the only fault."""
    with pytest.raises(ValidationError) as refused:
        Shape.model_validate(document)
    [problem] = as_invalid(refused.value).meta["errors"]
    return problem["field"], problem["message"]


def test_labels_are_text_as_json_writes_it():
    given = {"a": True, "b": False, "c": 7, "d": 1.5, " e ": " x ", "f": " ", " ": "x"}

    assert LABELS.validate_python(given) == {
        "a": "true",
        "b": "false",
        "c": "7",
        "d": "1.5",
        "e": "x",
    }


@pytest.mark.parametrize("value", [None, [], {}, ["x"]])
def test_label_of_another_type_is_named(value):
    assert fault({"labels": {"ok": "x", "team": value}}) == (
        "labels.team",
        "A label is text, a number, or true or false.",
    )


@pytest.mark.parametrize("value", [None, [], "x", 5])
def test_labels_are_an_object(value):
    assert fault({"labels": value}) == ("labels", "Expected a JSON object.")


def test_labels_are_bounded():
    given = {f"k{number}": "v" for number in range(50)}

    assert len(LABELS.validate_python(given)) == 50
    assert fault({"labels": {**given, "one": "more"}}) == (
        "labels",
        "At most 50 labels.",
    )


@pytest.mark.parametrize(("text", "value"), [("true", True), ("false", False)])
def test_flag_of_a_query(text, value):
    assert Shape.model_validate({"flag": text}).flag is value


@pytest.mark.parametrize("text", ["", "True", "1", True, 0])
def test_flag_of_a_query_has_two_spellings(text):
    assert fault({"flag": text}) == ("flag", "Must be true or false.")


@pytest.mark.parametrize("text", ["", "  "])
def test_blank_name_stays_blank(text):
    assert Shape.model_validate({"name": text}).name == ""


def test_field_that_may_be_left_out_may_not_be_null():
    assert fault({"name": None}) == ("name", "Expected text.")
    assert Shape().given() == {}
    assert "default" not in Shape.model_json_schema()["properties"]["name"]
