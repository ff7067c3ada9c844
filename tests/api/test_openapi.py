"""The OpenAPI description: complete, valid, and the one that is published."""

import re
import warnings
from pathlib import Path
from typing import Annotated, Literal

import pytest
import yaml
from django.urls import get_resolver, path
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.validation import validate_schema
from pydantic import Field

from config.api.envelope import Answer
from config.api.openapi.generator import OperationsGenerator
from config.api.operations import operation
from config.api.views import ServiceView, TokenView
from config.api.wire import ListQuery, UInt, WireModel, WriteModel

PUBLISHED = Path(__file__).parents[2] / "docs" / "openapi.yaml"
DOCUMENTED = ("/mgt/", "/api/")


def described(patterns=None):
    """Return the document, which must come without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        document = OperationsGenerator(patterns=patterns).get_schema(
            request=None, public=True
        )
    assert not GENERATOR_STATS
    return document


@pytest.fixture(scope="module")
def document():
    return described()


def routes(patterns, prefix="/"):
    """Yield every served address with its view class."""
    for pattern in patterns:
        address = prefix + re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", str(pattern.pattern))
        if hasattr(pattern, "url_patterns"):
            yield from routes(pattern.url_patterns, address)
        elif hasattr(pattern.callback, "cls"):
            yield address, pattern.callback.cls


def operations(document):
    return [
        (address, method, operation)
        for address, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def references(value):
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def test_description_is_valid_openapi_3_1(document):
    validate_schema(document)

    assert document["openapi"] == "3.1.1"


def test_every_service_route_is_described(document):
    served = {
        (address, method)
        for address, view in routes(get_resolver().url_patterns)
        if address.startswith(DOCUMENTED)
        for method in ("get", "post", "put", "patch", "delete")
        if hasattr(view, method)
    }

    assert served == {(address, method) for address, method, _ in operations(document)}
    assert served


def test_nothing_else_is_described(document):
    assert all(address.startswith(DOCUMENTED) for address in document["paths"])


def test_operation_ids_are_unique(document):
    names = [operation["operationId"] for _, _, operation in operations(document)]

    assert len(set(names)) == len(names)


def test_every_reference_leads_somewhere(document):
    for reference in set(references(document)):
        place = document
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]


def test_every_write_takes_an_idempotency_key_and_no_read_does(document):
    key = {"$ref": "#/components/parameters/IdempotencyKey"}

    for _address, method, described_as in operations(document):
        assert (key in described_as["parameters"]) == (method != "get")


def test_every_id_of_an_address_is_a_parameter(document):
    for address, _method, described_as in operations(document):
        named = {p["name"] for p in described_as["parameters"] if p.get("in") == "path"}
        assert named == set(re.findall(r"{(\w+)}", address))


def test_every_operation_says_how_to_authenticate_and_how_it_fails(document):
    for address, _method, described_as in operations(document):
        expected = "PlatformToken" if address.startswith("/api/") else "ServiceKey"
        assert described_as["security"] == [{expected: []}]
        assert described_as["responses"]["4XX"] == {
            "$ref": "#/components/responses/Refused"
        }
        assert described_as["responses"]["5XX"] == {
            "$ref": "#/components/responses/Failed"
        }
        assert described_as["summary"]


@pytest.mark.skipif(
    not PUBLISHED.exists(), reason="docs/openapi.yaml is not written yet"
)
def test_published_description_is_current(document):
    published = yaml.safe_load(PUBLISHED.read_text())

    assert published == yaml.safe_load(yaml.safe_dump(plain(document))), (
        "docs/openapi.yaml is not what the code says: run `make openapi`."
    )


def plain(value):
    """Return the document without the types that only Python knows."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, str) else value


class Thing(WireModel):
    """Reads differently in the two directions."""

    amount_xusd: UInt
    size: Annotated[int, Field(ge=1, le=9)] = 1


class ThingChange(WriteModel):
    """A change."""

    thing: Thing
    mode: Literal["append", "replace"] = "append"


class ThingQuery(ListQuery):
    """Filters."""

    kind: Literal["a", "b"] | None = None
    ids: list[str] | None = None
    must: str


class Things(ServiceView):
    """`/things`."""

    @operation("list_things", query=ThingQuery, answer=list[Thing])
    def get(self, call, query):
        """List things.

        In the order of their making.
        """
        return Answer([])

    @operation(
        "change_thing",
        body=ThingChange,
        answer=Thing,
        statuses=(201, 200),
        scope="runtime",
    )
    def post(self, call, body):
        """Change a thing."""
        return Answer({})


class OneThing(TokenView):
    """`/things/{thing_id}`."""

    @operation("list_things")
    def post(self, call, thing_id, part):
        """Do what the other plane does, with the same name."""
        return Answer({})

    @operation("read_thing")
    def get(self, call, thing_id, part):
        return Answer({})

    def delete(self, request):
        """Not declared as an operation."""


@pytest.fixture(scope="module")
def things():
    return described(
        [
            path("mgt/v1/things", Things.as_view()),
            path("api/v1/things/<uuid:thing_id>/<part>", OneThing.as_view()),
        ]
    )


def test_method_without_a_declaration_does_not_appear(things):
    assert set(things["paths"]["/api/v1/things/{thing_id}/{part}"]) == {"get", "post"}


def test_operation_of_both_planes_has_an_id_in_each(things):
    by_key = things["paths"]["/mgt/v1/things"]["get"]
    by_token = things["paths"]["/api/v1/things/{thing_id}/{part}"]["post"]

    assert by_key["operationId"] == "list_things"
    assert by_token["operationId"] == "list_things_by_token"


def test_query_model_becomes_parameters(things):
    listed = things["paths"]["/mgt/v1/things"]["get"]
    query = {p["name"]: p for p in listed["parameters"] if p.get("in") == "query"}

    assert query["must"] == {
        "in": "query", "name": "must", "required": True, "schema": {"type": "string"},
    }  # fmt: skip
    assert query["kind"]["schema"] == {"enum": ["a", "b"], "type": "string"}
    assert query["ids"]["schema"] == {"type": "array", "items": {"type": "string"}}
    assert query["limit"]["required"] is False
    assert set(query) == {"limit", "cursor", "kind", "ids", "must"}


def test_answer_is_wrapped_in_the_envelope(things):
    changed = things["paths"]["/mgt/v1/things"]["post"]

    assert set(changed["responses"]) == {"200", "201", "4XX", "5XX"}
    schema = changed["responses"]["201"]["content"]["application/json"]["schema"]
    assert schema["allOf"][0] == {"$ref": "#/components/schemas/Success"}
    assert schema["allOf"][1]["required"] == ["data"]


def test_same_model_in_both_directions_does_not_clash(things):
    body = things["components"]["schemas"]["ThingChange"]["properties"]["thing"]["$ref"]
    listed = things["paths"]["/mgt/v1/things"]["get"]["responses"]["200"]
    data = listed["content"]["application/json"]["schema"]["allOf"][1]["properties"][
        "data"
    ]

    assert things["paths"]["/mgt/v1/things"]["post"]["requestBody"]["required"] is True
    for reference in (body, data["items"]["$ref"]):
        thing = things["components"]["schemas"][reference.rpartition("/")[2]]
        assert thing["properties"]["amount_xusd"]["pattern"] == "^(0|[1-9][0-9]{0,18})$"
        assert thing["properties"]["size"]["maximum"] == 9


def test_prose_and_scope_are_told(things):
    listed = things["paths"]["/mgt/v1/things"]["get"]
    changed = things["paths"]["/mgt/v1/things"]["post"]

    assert listed["summary"] == "List things"
    assert listed["description"] == (
        "In the order of their making.\n\nNeeds the scope `realm:admin`."
    )
    assert changed["description"] == "Needs the scope `runtime`."
    assert listed["tags"] == ["Things"]
    assert (
        things["paths"]["/api/v1/things/{thing_id}/{part}"]["get"]["summary"]
        == "Read thing"
    )


def test_ids_of_an_address_are_described_by_their_kind(things):
    read = things["paths"]["/api/v1/things/{thing_id}/{part}"]["get"]
    schemas = {
        p["name"]: p["schema"] for p in read["parameters"] if p.get("in") == "path"
    }

    assert schemas == {
        "thing_id": {"type": "string", "format": "uuid"},
        "part": {"type": "string", "minLength": 1},
    }


def test_end_users_send_no_context_headers(things):
    read = things["paths"]["/api/v1/things/{thing_id}/{part}"]["get"]

    shared = [p["$ref"].rpartition("/")[2] for p in read["parameters"] if "$ref" in p]
    assert shared == ["RealmId"]


@pytest.mark.parametrize("accept", ["*/*", "text/html", "application/json", "nonsense"])
def test_description_is_served_as_yaml_to_everybody(client, accept):
    response = client.get("/docs/openapi.yaml", headers={"accept": accept})

    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/yaml"
    assert yaml.safe_load(response.content)["openapi"] == "3.1.1"


def test_page_for_people_has_no_inline_script_and_nothing_foreign(client):
    page = client.get("/docs/", headers={"accept": "text/html"})
    script = client.get("/docs/?script=")

    assert page.status_code == script.status_code == 200
    assert re.findall(r"<script(?![^>]*\bsrc=)", page.text) == []
    assert "http" not in re.sub(
        r"http://testserver",
        "",
        " ".join(re.findall(r'(?:src|href)="([^"]+)"', page.text)),
    )
    assert script.headers["Content-Type"].startswith("application/javascript")
    assert '"validatorUrl": null' in script.text
