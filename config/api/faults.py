"""What is wrong with an input, as sentences with the path of each field."""

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from config.kernel.errors import Invalid

_SENTENCES = {
    "missing": "This field is required.",
    "extra_forbidden": "There is no such field.",
    "string_type": "Expected text.",
    "bool_type": "Expected true or false.",
    "bool_parsing": "Expected true or false.",
    "int_type": "Expected a whole number.",
    "int_parsing": "Expected a whole number.",
    "int_from_float": "Expected a whole number.",
    "dict_type": "Expected a JSON object.",
    "model_type": "Expected a JSON object.",
    "model_attributes_type": "Expected a JSON object.",
    "list_type": "Expected a list.",
    "none_required": "Must be null.",
}


def sentence_of(error: ErrorDetails) -> str:
    """Return one validation error as a sentence a person understands."""
    kind = error["type"]
    context = error.get("ctx", {})
    if kind == "literal_error":
        return f"Must be one of {context['expected']}."
    if kind == "greater_than_equal":
        return f"Must be at least {context['ge']}."
    if kind == "less_than_equal":
        return f"Must be at most {context['le']}."
    if kind == "too_long":
        return f"At most {context['max_length']} items."
    if kind == "too_short":
        return f"At least {context['min_length']} item."
    return _SENTENCES.get(kind) or error["msg"]


def as_invalid(error: ValidationError) -> Invalid:
    """Return every field error as one refusal; `field` is the first one's path."""
    problems = [
        {
            "field": ".".join(str(part) for part in problem["loc"]) or "body",
            "message": sentence_of(problem),
        }
        for problem in error.errors(include_url=False, include_input=False)[:20]
    ]
    first = problems[0]
    return Invalid(
        f"{first['field']}: {first['message']}",
        field=first["field"],
        meta={"errors": problems},
    )
