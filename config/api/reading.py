"""What a request says, read strictly: its body and its query string."""

from typing import Any

from django.http import HttpRequest
from pydantic import ValidationError

from config.api.errors import UnsupportedMediaType
from config.api.faults import as_invalid
from config.api.strictjson import parse_json
from config.api.wire import WireModel
from config.kernel.errors import Invalid, Malformed


def read_body(request: HttpRequest) -> Any:
    """Return the JSON document of the body. Refuses 400, 413 or 415."""
    kind, _, rest = request.META.get("CONTENT_TYPE", "").partition(";")
    charset = rest.strip().lower().removeprefix("charset=").strip('"')
    if kind.strip().lower() != "application/json" or charset not in {"", "utf-8"}:
        raise UnsupportedMediaType(
            "Send the body as application/json; charset=utf-8.", field="Content-Type"
        )
    if not request.body:
        return {}
    return parse_json(request.body)


def read_model(model: type[WireModel], document: Any) -> WireModel:
    """Return the body as its model. Refuses (`Invalid`) naming each bad field."""
    if not isinstance(document, dict):
        raise Invalid("The body must be a JSON object.", field="body")
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise as_invalid(error) from None


def read_query(model: type[WireModel], request: HttpRequest) -> WireModel:
    """Return the query string as its model; `name[]` is another spelling of `name`.

    Refuses a NUL character (400), and (`Invalid`) a parameter that takes one value and
    is there more than once.
    """
    if "\0" in request.GET.urlencode() or "%00" in request.META.get("QUERY_STRING", ""):
        raise Malformed("A NUL character cannot be searched for.", field="query")
    values: dict[str, list[str]] = {}
    for key, found in request.GET.lists():
        values.setdefault(key.removesuffix("[]"), []).extend(found)
    return read_model(
        model, {name: _value(model, name, found) for name, found in values.items()}
    )


def _value(model: type[WireModel], name: str, found: list[str]) -> Any:
    if _takes_list(model, name):
        return found
    if len(found) > 1 and name in model.model_fields:
        raise Invalid(
            f"{name}: It takes one value, and is there {len(found)} times.", field=name
        )
    return found[-1]


def _takes_list(model: type[WireModel], name: str) -> bool:
    field = model.model_fields.get(name)
    return field is not None and "list[" in str(field.annotation)
