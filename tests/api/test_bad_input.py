"""Whatever is sent: an answer in the envelope, never a bug, never stored by mistake.

Every field of every body, found through the operations' own declarations, is given
every value below; then bodies, addresses, queries and headers as a whole.
"""

import copy
import json
import os
import random
import time
import typing
from contextlib import contextmanager, suppress
from urllib.parse import quote

import pytest
from django.db import transaction
from pydantic import BaseModel, TypeAdapter

from config.api.pagination import page_limit
from config.api.strictjson import parse_json
from config.kernel.errors import Malformed
from config.tenancy.services.realms import set_realm_status
from config.tenancy.tokens import sign_token
from tests.conftest import make_realm
from tests.tools.bodies import IDS, body_of, path_of
from tests.tools.context import AT, BY
from tests.tools.routes import routes
from tests.tools.signer import JSON, RawClient
from tests.tools.world import build_world

ROUTES = routes()
WRITES = [route for route in ROUTES if route.operation.body is not None]
WITH_IDS = [route for route in ROUTES if route.parameters]
QUERIES = [
    route
    for route in ROUTES
    if route.operation.query is not None and route.is_management
]
LISTS = [route for route in QUERIES if "cursor" in route.operation.query.model_fields]

AUDIT = {
    "operator": "ada",
    "reason": "asked",
    "ticket_id": "T-1",
    "effective_at": "2026-03-10T12:00:00Z",
}


def each(found):
    return pytest.mark.parametrize(
        "route", found, ids=lambda route: f"{route.operation.name} {route.template}"
    )


@pytest.fixture(scope="module")
def world(django_db_setup, django_db_blocker):
    """A world of rows; rolled back after the module."""
    with django_db_blocker.unblock(), transaction.atomic():
        yield build_world(make_realm(AT, BY), at=AT, by=BY)
        transaction.set_rollback(True)


@pytest.fixture(scope="module")
def raw(world):
    """A client that sends bytes as they are, for the world's user."""
    return RawClient(
        world.realm,
        world.key,
        token=sign_token(world.token.claims | {"exp": 2**33}, world.realm),
        principal_id=world.principal,
        user_id="u-1",
    )


@contextmanager
def undone():
    """Undo what is written inside."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def send(raw, route, path, body=b"", **headers):
    """Send, check what every answer must have, and return status and document."""
    with undone():
        response = raw.request(route.method, path, body, **headers)
    return checked(response)


def checked(response):
    """Check what every answer must have; return status and document."""
    text = response.content.decode()
    assert response.status_code < 500, text
    assert response["Content-Type"] == "application/json"
    document = json.loads(text)
    assert len(document["trace_id"]) == 32
    if response.status_code >= 400:
        assert document["ok"] is False
        assert document["code"]
        assert document["message"].strip()
        assert document["meta"]["status"] == response.status_code
        assert len(text) < 20_000
    return response.status_code, document


# --- every field --------------------------------------------------------------


class Raw(str):
    """JSON text that the standard writer would not write."""

    __slots__ = ()


def nested(depth):
    return Raw('{"a":' * depth + "1" + "}" * depth)


def many_keys(count):
    return Raw("{" + ",".join(f'"{number:x}":0' for number in range(count)) + "}")


VALUES = {
    "null": None, "empty": "", "blank": " ", "word": "x", "list": [], "object": {}, "one": 1, "minus one": -1, "fraction": 5.5, "true": True,
    "NUL": Raw('"a\\u0000b"'), "surrogate": Raw('"a\\ud800b"'), "2^63": 2**63, "-2^63-1": -(2**63) - 1, "1e400": Raw("1e400"), "NaN": Raw("NaN"),
    "grouped": "1_000", "Arabic": "\u0665", "spaced": " 5 ", "nested 40": nested(40), "100 kB": "x" * 100_000,
    "year 9999": "9999-12-31T23:59:59.999999+00:00", "unknown id": "01890000-0000-7000-8000-000000000000",
}  # fmt: skip
MORE = {
    "line break": "\n", "list of lists": [[]], "odd object": {"a": 1}, "zero": 0, "whole fraction": 5.0, "false in words": "false",
    "bare NUL": Raw('"\\u0000"'), "reversed pair": Raw('"\\udc00\\ud800"'), "2^63 in words": str(2**63), "twenty-one digits": 10**20,
    "-1e400": Raw("-1e400"), "1e-400": Raw("1e-400"), "Infinity": Raw("Infinity"), "-0": Raw("-0"), "-0.0": Raw("-0.0"),
    "full width": "\uff15", "plus": "+5", "exponent": "5e2", "hexadecimal": "0x10", "right to left": "a\u202eb", "zero width": "a\u200bb",
    "emoji": "\U0001f600", "combining": "e\u0301" * 40, "date": "2026-02-30T00:00:00Z", "leap second": "2026-06-30T23:59:60Z",
    "year 0": "0000-01-01T00:00:00Z", "before year 1": "0001-01-01T00:00:00+23:59", "naive": "2026-01-01T00:00:00",
    "braced id": "{01890000-0000-7000-8000-000000000000}", "quote": "'; DROP TABLE realms; --", "format": "%s %(a)s {0} {x.__class__}",
    "markup": "<script>alert(1)</script>", "backslash": "\\",
}  # fmt: skip
HEAVY = {
    "nested 5000": nested(5000), "100 000 keys": many_keys(100_000), "900 kB": "x" * 900_000, "long list": Raw("[" + "0," * 200_000 + "0]"),
}  # fmt: skip
SOAK = bool(os.environ.get("PLANGATE_SOAK"))
if SOAK:
    VALUES |= MORE


def values_for(where, model, route, heavy):
    """Return the values to give a field."""
    if not SOAK and FIRST_USES.get((model, where[-1]), route) is not route:
        return {name: VALUES[name] for name in ("word", "blank", "2^63")}
    return VALUES | MORE | HEAVY if where in heavy else VALUES


NEVER = {
    "NUL",
    "bare NUL",
    "surrogate",
    "reversed pair",
    "1e400",
    "-1e400",
    "NaN",
    "Infinity",
    "twenty-one digits",
    "nested 40",
    "nested 5000",
}
"""Values that no field of any body takes."""
NO_NUMBERS = {
    "grouped", "Arabic", "full width", "spaced", "plus", "exponent", "hexadecimal", "true", "2^63", "-2^63-1", "2^63 in words", "fraction",
    "empty", "blank", "word", "100 kB", "list", "object", "line break", "false in words", "quote",
}  # fmt: skip
NO_FLAGS = NO_NUMBERS - {"true"} | {"zero", "one", "minus one", "whole fraction"}
EMPTY = {"empty", "blank", "line break"}
NO_TEXTS = {
    "list",
    "list of lists",
    "object",
    "odd object",
    "zero",
    "one",
    "fraction",
    "true",
    "2^63",
    "empty",
    "blank",
    "line break",
}


def write(body, path, value):
    """Return the body as JSON bytes, with `value` at `path`."""
    document = copy.deepcopy(body)
    place = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = "\0here\0" if isinstance(value, Raw) else value
    text = json.dumps(document)
    if isinstance(value, Raw):
        text = text.replace(json.dumps("\0here\0"), value)
    return text.encode()


def inner_model(annotation):
    """Return the model that a field holds, and whether in a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    for part in typing.get_args(annotation):
        found, in_list = inner_model(part)
        if found is not None:
            return found, in_list or typing.get_origin(annotation) is list
    return None, False


def fields(model, prefix=()):
    """Yield (path, field, model) of every field, also inside inner models."""
    for name, field in model.model_fields.items():
        wire = field.validation_alias.choices[0] if field.validation_alias else name
        path = (*prefix, wire)
        yield path, field, model
        inner, in_list = inner_model(field.annotation)
        if inner is not None:
            yield from fields(inner, (*path, 0) if in_list else path)


def first_uses():
    """Return, for each field of an inner model, the first operation that has it.

    There it is given every value: it is the same field in all the others.
    """
    found = {}
    for route in WRITES:
        for path, _, model in fields(route.operation.body):
            if len(path) > 1:
                found.setdefault((model, path[-1]), route)
    return found


def kind_of(field):
    """Return what a field takes: number, boolean, string, prose or another thing."""
    annotation = (
        typing.Annotated[field.annotation, *field.metadata]
        if field.metadata
        else field.annotation
    )
    schema = TypeAdapter(annotation).json_schema()
    options = [
        option
        for option in schema.get("anyOf", [schema])
        if option.get("type") != "null"
    ]
    kinds = {_kind_of(option) for option in options}
    return kinds.pop() if len(kinds) == 1 else "other"


def _kind_of(schema):
    if schema.get("type") == "integer" or "0-9" in schema.get("pattern", ""):
        return "number"
    if schema.get("type") == "string" and not {
        "minLength",
        "enum",
        "const",
        "format",
    } & set(schema):
        # A text that may be empty.
        return "prose"
    return schema.get("type")


def complete(route, world):
    """Return a valid body in which every inner model is present."""
    body = {"audit": AUDIT} if "audit" in route.operation.body.model_fields else {}
    return body | body_of(route, world)


def names_the_field(document, path):
    """Whether a refusal names the field, something inside it, or what it stands in.

    Or the field beside it, of which the two together break a rule.
    """
    dotted = ".".join(map(str, path))
    beside = ".".join(map(str, path[:-1]))
    told = {
        document["meta"].get("field"),
        *(error["field"] for error in document["meta"].get("errors", [])),
    }
    return any(
        each
        and (
            each == dotted
            or each.startswith(f"{dotted}.")
            or dotted.startswith(f"{each}.")
            or (
                each.rpartition(".")[0] == beside
                and each.rpartition(".")[2] in TOGETHER.get(path[-1], ())
            )
        )
        for each in told
    )


TOGETHER = {
    "from": {"to"},
    "window_start": {"window_end"},
    "effective_at": {"window_end"},
    "unit_price_base_xusd": {"unit_price_xusd"},
    "unit_price_dynamic_xusd": {"unit_price_xusd"},
}
"""Fields that a rule holds against another one, which the refusal names."""


FIRST_USES = first_uses()


def never_for(kind):
    return {
        "number": NO_NUMBERS,
        "boolean": NO_FLAGS,
        "string": NO_TEXTS,
        "prose": NO_TEXTS - EMPTY,
    }.get(kind, set()) | NEVER


SLOW_SECONDS = 3
SEMANTIC = {404, 403, 409, 402}
"""Refusals of a value that was read: what it names is not there, or may not be."""


@each(WRITES)
def test_every_field_refuses_what_it_cannot_hold(world, raw, route):
    body, path = complete(route, world), path_of(route, world)
    found = list(fields(route.operation.body))
    # Every value, however long it takes to read, for one field and for one of any keys.
    objects = [where for where, field, _ in found if kind_of(field) == "object"]
    heavy = {found[0][0], *objects[:1]}
    cases, wrong = 0, []
    for where, field, model in found:
        refused = never_for(kind_of(field))
        for name, value in values_for(where, model, route, heavy).items():
            cases += 1
            sent = write(body, where, value)
            problem = what_is_wrong(raw, route, path, sent, where, refused, name)
            if problem is not None:
                wrong.append((".".join(map(str, where)), name, problem))

    print(f"\n{route.operation.name}: {len(found)} fields, {cases} cases")
    assert wrong == []


def what_is_wrong(raw, route, path, sent, where, refused, name):
    """Send one body; return what is wrong with the answer, None where nothing is."""
    began = time.perf_counter()
    status, document = send(raw, route, path, sent)
    seconds = time.perf_counter() - began
    if seconds > SLOW_SECONDS:
        return f"{seconds:.1f} s"
    if status < 400:
        return "accepted" if name in refused else None
    if status not in {400, 422} | SEMANTIC:
        return status, document["message"]
    unnamed = name not in NEVER and not names_the_field(document, where)
    if document["code"] == "VALIDATION.INVALID_INPUT" and unnamed:
        return status, document["message"], document["meta"]
    return None


def test_complete_body_is_accepted(world, raw):
    """The control: the cases above change a body that is fine, and reach every field."""
    refused = {}
    for route in WRITES:
        body = complete(route, world)
        status, document = send(
            raw, route, path_of(route, world), json.dumps(body).encode()
        )
        if status >= 400:
            refused[route.operation.name] = document["code"]
        for where, _, _ in fields(route.operation.body):
            write(body, where, None)

    assert refused == {
        "resume_billing_plan_assignment": "ASSIGNMENT.ALREADY_DONE",
        "delete_gate_policy_bundle": "CONFLICT",
        # The world's holds ran out long ago.
        "commit_gate_hold": "HOLD.ENDED",
    }


def with_number(raw, number):
    """Create a plan with a number in its metadata, and read it back."""
    body = (
        b'{"plan_code": "odd", "name": "Odd", "kind": "base", "metadata": {"n": %s}}'
        % number.encode()
    )
    with undone():
        status, made = checked(raw.request("POST", "/mgt/v1/billing-plans", body))
        if status >= 400:
            return status, made["meta"]["field"]
        read_status, read = checked(
            raw.request("GET", f"/mgt/v1/billing-plans/{made['data']['plan_id']}")
        )
    assert (status, read_status) == (201, 200)
    assert made["data"]["metadata"] == read["data"]["metadata"]
    return status, read["data"]["metadata"]["n"]


@pytest.mark.parametrize(
    "number",
    [
        "1e300",
        "-1e300",
        "1.5e22",
        "1e19",
        "1e-300",
        "0.1",
        "-0.0",
        "9223372036854775807",
    ],
)
def test_number_in_metadata_is_given_back(world, raw, number):
    """The database gives 1e300 back as its digits; they must be writable again."""
    status, found = with_number(raw, number)

    assert (status, float(found)) == (201, float(number))


@pytest.mark.parametrize(
    "number",
    [
        "99999999999999999999",
        "-9223372036854775809",
        "18446744073709551616",
        "9223372036854775808",
    ],
)
def test_integer_beyond_64_bits_in_metadata_is_refused(world, raw, number):
    assert with_number(raw, number) == (422, "metadata.n")


@each(WRITES)
def test_unknown_field_is_named(world, raw, route):
    status, document = send(
        raw,
        route,
        path_of(route, world),
        json.dumps({**body_of(route, world), "is_staff": True}).encode(),
    )

    assert (status, document["meta"]["field"]) == (422, "is_staff")
    assert document["message"] == "is_staff: There is no such field."


MODEL_FIELDS = [
    "id",
    "realm_id",
    "realm",
    "created_at",
    "updated_at",
    "history_id",
    "granted_xusd",
    "used_minor",
    "is_fallback",
    "is_primary",
]


@each(WRITES)
def test_columns_are_no_fields(world, raw, route):
    """No body reaches a column that only verbs write."""
    for name in MODEL_FIELDS:
        status, document = send(
            raw,
            route,
            path_of(route, world),
            json.dumps({**body_of(route, world), name: "x"}).encode(),
        )

        assert (status, document["meta"]["field"]) == (422, name)


@each(WRITES)
def test_repeated_key_is_named(world, raw, route):
    name = next(iter(route.operation.body.model_fields))
    body = f'{{"{name}": 1, "{name}": 2}}'.encode()

    status, document = send(raw, route, path_of(route, world), body)

    assert (status, document["meta"]["field"]) == (400, name)
    assert document["message"] == f"The key '{name}' appears twice."


# --- the body as a whole ------------------------------------------------------


BODIES = {
    "list": (b"[]", 422), "list of objects": (b"[{}]", 422), "number": (b"5", 422), "text": (b'"x"', 422), "null": (b"null", 422), "true": (b"true", 422),
    "garbage": (b"{", 400), "words": (b"hello", 400), "trailing": (b"{} {}", 400), "trailing comma": (b'{"a":1,}', 400), "comment": (b"{/**/}", 400), "quotes": (b"{'a':1}", 400),
    "spaces": (b"   ", 400), "BOM": (b"\xef\xbb\xbf{}", 400), "UTF-16": ("{}".encode("utf-16"), 400), "UTF-16 without BOM": ("{}".encode("utf-16-le"), 400), "UTF-32": ("{}".encode("utf-32"), 400),
    "latin-1": ('{"a":"\xe9"}'.encode("latin-1"), 400), "cut UTF-8": (b'{"a":"\xe2\x82"}', 400), "overlong UTF-8": (b'{"a":"\xc0\xaf"}', 400), "encoded surrogate": (b'{"a":"\xed\xa0\x80"}', 400),
    "raw NUL": (b'{"a":"\x00"}', 400), "raw line break": (b'{"a":"\n"}', 400), "only NUL": (b"\x00", 400), "gzip": (b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xab\xae\x05\x00C\xbf\xa6\xa3\x02\x00\x00\x00", 400),
    "form": (b"a=1&b=2", 400), "deep list": (b"[" * 5000 + b"]" * 5000, 400), "deep unclosed": (b"[" * 100_000, 400), "closing only": (b"]" * 100_000, 400), "long number": (b"1" * 5000, 400), "long exponent": (b"1e" + b"9" * 5000, 400),
}  # fmt: skip


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize(
    "operation",
    ["upsert_meter", "gate_authorize", "issue_platform_token", "delete_feature"],
)
def test_body_that_is_no_object_is_refused(world, raw, operation, name):
    [route] = [each for each in WRITES if each.operation.name == operation]
    body, expected = BODIES[name]

    status, document = send(raw, route, path_of(route, world), body)

    assert (status, document["code"]) == (expected, "VALIDATION.INVALID_INPUT")


@each(WRITES)
def test_empty_body_is_an_empty_object(world, raw, route):
    status, _ = send(raw, route, path_of(route, world), b"")
    explicit, _ = send(raw, route, path_of(route, world), b"{}")

    assert status == explicit


@each(WRITES)
def test_body_over_the_limit_is_refused(world, raw, route):
    status, document = send(
        raw, route, path_of(route, world), b'{"a":"' + b"x" * 2**21 + b'"}'
    )

    assert (status, document["code"]) == (413, "VALIDATION.BODY_TOO_LARGE")


@each([route for route in WRITES if route.is_management])
def test_body_with_the_wrong_digest_is_refused(world, raw, route):
    path = path_of(route, world)
    headers = raw.signed(route.method, path, b"{}")

    with undone():
        status, document = checked(raw.send(route.method, path, b'{"a":1}', headers))

    assert (status, document["code"]) == (401, "AUTH.INVALID_SERVICE_SIGNATURE")


TYPES = {
    "": 415, "text/plain": 415, "application/x-www-form-urlencoded": 415, "multipart/form-data; boundary=x": 415, "application/xml": 415,
    "application/json; charset=latin-1": 415, "application/json; charset=utf-16": 415, "application/json; charset=iso-8859-1": 415, "application/json;charset": 415, "json": 415, ";": 415,
    "application/json": 201, "application/json; charset=utf-8": 201, "application/json;charset=UTF-8": 201, 'Application/JSON; charset="utf-8"': 201,
}  # fmt: skip


@pytest.mark.parametrize("content_type", TYPES)
def test_type_of_the_body(world, raw, content_type):
    [route] = [each for each in WRITES if each.operation.name == "upsert_meter"]

    status, document = send(
        raw,
        route,
        route.path(),
        b'{"meter_code": "images"}',
        content_type=content_type or None,
    )

    assert status == TYPES[content_type], document
    if status == 415:
        assert (document["code"], document["meta"]["field"]) == (
            "VALIDATION.UNSUPPORTED_MEDIA_TYPE",
            "Content-Type",
        )


@pytest.mark.parametrize("route", WRITES, ids=lambda route: route.operation.name)
def test_type_of_every_body(world, raw, route):
    for content_type in (None, "text/plain", "application/json; charset=latin-1"):
        status, _ = send(
            raw, route, path_of(route, world), b"{}", content_type=content_type
        )

        assert status == 415


HOSTILE = {
    "an unclosed text of escapes": b"[" * 40 + b'"' + b'\\"' * 500_000,
    "a hundred thousand texts": b"[" * 33 + b'"",' * 300_000,
    "backslashes": b"[" * 40 + b'"' + b"\\" * 1_000_000,
    "equal keys at the end": b"{"
    + b",".join(b'"%x":0' % number for number in range(100_000))
    + b',"1869f":1}',
    "brackets in a text": b'{"a":"' + b"[{" * 500_000 + b'"}',
    "digits": b'{"a":' + b"1" * 1_000_000 + b"}",
    "colons": b'{"a":1' + b":" * 1_000_000 + b"}",
    "escapes": b'{"a":"' + b"\\u0041" * 170_000 + b'"}',
    "spaces": b"{" + b" " * 1_000_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_body_is_read_quickly(name):
    body = HOSTILE[name]
    assert len(body) <= 2**20 + 100

    began = time.perf_counter()
    with suppress(Malformed):
        parse_json(body)
    seconds = time.perf_counter() - began

    print(f"\n{name}: {seconds * 1000:.0f} ms")
    assert seconds < 1.5


# --- ids in addresses ---------------------------------------------------------


PATHS = {
    "garbage": "x", "NUL": "%00", "NUL inside": "a%00b", "5 kB": "a" * 5000, "unescaped brace": "{x}", "2^63": str(2**63), "slash": "a%2Fb",
    "not UTF-8": "%FF%FE", "line break": "a%0D%0ASet-Cookie:%20x", "emoji": "%F0%9F%98%80", "surrogate": "%ED%A0%80",
    "braced": "%7B01890000-0000-7000-8000-000000000000%7D", "unhyphenated": "01890000000070008000000000000000",
}  # fmt: skip
MORE_PATHS = {
    "dash": "-", "id and more": "01890000-0000-7000-8000-000000000000x", "number": "1", "null": "null", "space": "%20",
    "dots": "..%2F..%2Fetc%2Fpasswd", "quote": "%27%20OR%201=1", "percent": "%25", "upper case": "01890000-0000-7000-8000-0000000000AB",
}  # fmt: skip
if SOAK:
    PATHS |= MORE_PATHS
NOWHERE = {(404, "RESOURCE.NOT_FOUND"), (400, "VALIDATION.INVALID_INPUT")}
UNSIGNABLE = {"not UTF-8", "surrogate"}
"""Octets that are no text cannot be read back as they were signed: 401."""


@each(WITH_IDS)
def test_id_that_is_none_is_not_found(world, raw, route):
    body = (
        b""
        if route.operation.body is None
        else json.dumps(body_of(route, world)).encode()
    )
    found = {}
    for name, text in PATHS.items():
        for parameter in route.parameters:
            path = path_of(route, world, **{parameter: text})
            status, document = send(raw, route, path, body)
            expected = NOWHERE | (
                {(401, "AUTH.INVALID_SERVICE_SIGNATURE")}
                if name in UNSIGNABLE and route.is_management
                else set()
            )
            if (status, document["code"]) not in expected:
                found[name, parameter] = status, document["code"], document["message"]

    assert found == {}


@each(WITH_IDS)
def test_id_of_another_sort_is_not_found(world, raw, route):
    body = (
        b""
        if route.operation.body is None
        else json.dumps(body_of(route, world)).encode()
    )
    parameter = route.parameters[-1]
    for name, value in IDS.items():
        # A lease's id is also that of the decision which admitted it.
        if value(world) == IDS[parameter](world):
            continue
        status, document = send(
            raw, route, path_of(route, world, **{parameter: value(world)}), body
        )

        assert (status, document["code"]) == (404, "RESOURCE.NOT_FOUND"), name


@pytest.mark.parametrize(
    "path",
    [
        "/mgt/v1/",
        "/mgt/v1/nowhere",
        "/mgt/v1/meters/",
        "/mgt/v1//meters",
        "/mgt/v1/METERS",
        "/api/v1/",
        "/mgt/v2/meters",
        "/mgt/v1/meters/a/b",
        "/mgt/v1/%00",
    ],
)
def test_address_that_leads_nowhere(raw, path):
    status, document = checked(raw.request("GET", path))

    assert (status, document["code"]) in {
        (404, "RESOURCE.NOT_FOUND"),
        (400, "VALIDATION.INVALID_INPUT"),
    }


@pytest.mark.parametrize(
    "method", ["PUT", "DELETE", "PATCH", "TRACE", "OPTIONS", "BREW"]
)
def test_method_that_is_not_taken(raw, method):
    status, document = checked(raw.request(method, "/mgt/v1/meters"))

    assert (status, document["code"]) == (405, "REQUEST.METHOD_NOT_ALLOWED")


def test_head_is_answered_as_get(raw):
    with undone():
        response = raw.request("HEAD", "/mgt/v1/meters")

    assert response.status_code in {200, 405}


# --- queries ------------------------------------------------------------------


TEXTS = {
    "garbage": "x", "empty": "", "NUL": "%00", "5 kB": "a" * 5000, "not UTF-8": "%ff", "emoji": "%F0%9F%98%80", "quote": "%27%3B--",
    "2^63": str(2**63), "negative": "-1", "date": "2026-02-30T00:00:00Z", "year 9999": "9999-12-31T23:59:59Z",
    "id": "01890000-0000-7000-8000-000000000000",
}  # fmt: skip
MORE_TEXTS = {
    "space": "%20", "bad escape": "%zz", "percent": "%25", "underscore": "_", "backslash": "%5C", "comma": ",", "list": "a,b,c",
    "braces": "%7B%7D", "line break": "%0a", "null": "null", "right to left": "%E2%80%AE",
}  # fmt: skip
if SOAK:
    TEXTS |= MORE_TEXTS


@each(QUERIES)
def test_every_parameter_takes_or_refuses(world, raw, route):
    cases, wrong = 0, []
    for name in route.operation.query.model_fields:
        forms = {label: f"{name}={text}" for label, text in TEXTS.items()}
        forms["twice"] = f"{name}=a&{name}=b"
        forms["brackets"] = f"{name}[]=a&{name}[]=b"
        for label, form in forms.items():
            cases += 1
            status, document = send(raw, route, f"{path_of(route, world)}?{form}")
            expected = {400} if label == "NUL" else {200, 400, 404, 422}
            field = document["meta"].get("field") or "" if status >= 400 else ""
            if status not in expected or (status == 422 and name not in field):
                wrong.append((form[:80], status, document.get("message"), field))

    print(f"\n{route.operation.name}: {cases} cases")
    assert wrong == []


@each(QUERIES)
def test_unknown_parameter_is_named(world, raw, route):
    status, document = send(raw, route, f"{path_of(route, world)}?nonsense=1")

    assert (status, document["meta"]["field"]) == (422, "nonsense")


@each(QUERIES)
def test_parameter_of_one_value_is_there_once(world, raw, route):
    for name, field in route.operation.query.model_fields.items():
        several = "list[" in str(field.annotation)
        for form in ("{0}=1&{0}=1", "{0}=1&{0}=2", "{0}=1&{0}[]=2"):
            query = form.format(name)
            status, document = send(raw, route, f"{path_of(route, world)}?{query}")

            assert several or (status, document["meta"]["field"]) == (422, name), query
            assert several or "is there 2 times" in document["message"]


LIMITS = {
    "1000000000": 200, "201": 200, "200": 200, "1": 1, "0": 50, "-1": 50, "x": 50, "": 50, "1e3": 50, "1_0": 50, " 5": 50, "\u0665": 50,
    "9" * 400: 200,
}  # fmt: skip


@each(LISTS)
def test_limit_is_held(world, raw, route):
    for limit, most in LIMITS.items():
        status, document = send(
            raw, route, f"{path_of(route, world)}?limit={quote(limit)}"
        )

        assert status == 200, limit
        assert len(document["data"]["items"]) <= most
        assert page_limit(limit) == most


@pytest.fixture(scope="module")
def cursor(world, raw):
    """A valid cursor of the meter list."""
    with undone():
        document = raw.request("GET", "/mgt/v1/meters?limit=1").json()
    return document["data"]["next_cursor"]


def flipped(text):
    """Return the text with one letter changed."""
    place = random.Random(7).randrange(len(text))
    return text[:place] + ("A" if text[place] != "A" else "B") + text[place + 1 :]


@each(LISTS)
def test_cursor_of_another_list_is_refused(world, raw, cursor, route):
    made = f"{path_of(route, world)}?cursor={cursor}"
    if route.operation.name == "list_meters":
        assert send(raw, route, made)[0] == 200
        made = f"{made}&active=true"

    status, document = send(raw, route, made)

    assert (status, document["meta"]["field"]) == (422, "cursor")


@each(LISTS)
def test_forged_cursor_is_refused(world, raw, cursor, route):
    forgeries = [
        flipped(cursor), cursor[:-1], cursor + "=", cursor + cursor, cursor.split(":")[0], f":{cursor}", "x", "a" * 5000, "%F0%9F%98%80",
    ]  # fmt: skip
    for forgery in forgeries:
        status, document = send(raw, route, f"{path_of(route, world)}?cursor={forgery}")

        assert (status, document["meta"]["field"]) == (422, "cursor"), forgery


def test_cursor_of_another_realm_is_refused(world, raw, cursor):
    with undone():
        other = build_world(make_realm(AT, BY), at=AT, by=BY)
        stranger = RawClient(other.realm, other.key)
        status, document = checked(
            stranger.request("GET", f"/mgt/v1/meters?cursor={cursor}")
        )

    assert (status, document["meta"]["field"]) == (422, "cursor")


def test_cursor_leads_on(world, raw, cursor):
    """The control."""
    with undone():
        first = raw.request("GET", "/mgt/v1/meters?limit=1").json()["data"]["items"]
        following = raw.request(
            "GET", f"/mgt/v1/meters?limit=1&cursor={cursor}"
        ).json()["data"]["items"]

    assert len(first) == len(following) == 1
    assert first != following


def test_too_many_parameters_are_refused(raw):
    """With a charset in the content type Django raises earlier: test_raw_http.py."""
    query = "&".join(f"a{number}=1" for number in range(3000))
    with undone():
        status, document = checked(
            raw.request(
                "GET", f"/mgt/v1/meters?{query}", content_type="application/json"
            )
        )

    assert (status, document["code"]) == (400, "VALIDATION.INVALID_INPUT")


# --- headers ------------------------------------------------------------------


NAMES = [
    "x-realm-id",
    "x-principal-id",
    "x-user-id",
    "x-billing-account-id",
    "x-billing-user-id",
    "idempotency-key",
    "content-digest",
]
HEADERS = {
    "CR LF": "a\r\nX-Admin: 1",
    "LF": "a\nb",
    "NUL": "a\0b",
    "control": "a\x1bb",
    "513 characters": "a" * 513,
    "8 kB": "a" * 8000,
    "right to left": "a\u202eb",
    "line separator": "a\u2028b",
}


@pytest.mark.parametrize("value", HEADERS.values(), ids=HEADERS)
@pytest.mark.parametrize("name", NAMES)
def test_header_that_cannot_be_read_is_refused(raw, name, value):
    headers = raw.signed(
        "POST", "/mgt/v1/meters", b"{}", **{name.replace("-", "_"): value}
    )

    with undone():
        status, document = checked(raw.send("POST", "/mgt/v1/meters", b"{}", headers))

    assert (status, document["code"]) == (400, "VALIDATION.INVALID_INPUT")
    assert document["meta"]["field"].lower() == name


@pytest.mark.parametrize("name", NAMES)
def test_header_that_is_not_utf8_is_refused(raw, name):
    headers = raw.signed("GET", "/mgt/v1/meters")
    environ = {f"HTTP_{name.upper().replace('-', '_')}": "a\xff"}

    with undone():
        status, document = checked(
            raw.client.generic(
                "GET",
                "/mgt/v1/meters",
                headers={k: v for k, v in headers.items() if k != name},
                CONTENT_TYPE=JSON,
                **environ,
            )
        )

    assert (status, document["code"]) == (400, "VALIDATION.INVALID_INPUT")
    assert "not UTF-8" in document["message"]


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_realm_is_needed_everywhere(world, raw, route):
    path = path_of(route, world)
    found = {}
    for name, value in (
        ("missing", None),
        ("empty", ""),
        ("unknown", "nowhere"),
        ("odd", "a b"),
        ("long", "r" * 512),
    ):
        with undone():
            found[name] = checked(
                raw.request(route.method, path, b"{}", x_realm_id=value)
            )

    assert [(status, document["code"]) for status, document in found.values()] == [
        (400, "VALIDATION.INVALID_INPUT"), (400, "VALIDATION.INVALID_INPUT"), (404, "AUTH.UNKNOWN_REALM"), (404, "AUTH.UNKNOWN_REALM"), (404, "AUTH.UNKNOWN_REALM"),
    ]  # fmt: skip
    assert found["missing"][1]["message"].startswith("missing_realm")
    assert found["unknown"][1]["meta"] == {
        "status": 404,
        "realm_id": "nowhere",
        "clear_cached_realm": True,
    }


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_suspended_realm_is_closed_everywhere(world, raw, route):
    with undone():
        set_realm_status(realm=world.realm, status="suspended", at=AT, by=BY)
        status, document = checked(
            raw.request(route.method, path_of(route, world), b"{}")
        )
    world.realm.refresh_from_db()

    assert (status, document["code"]) == (403, "AUTH.REALM_INACTIVE")
    assert document["message"].startswith("realm_inactive")


@each(WRITES)
def test_write_needs_its_key(world, raw, route):
    body = json.dumps(body_of(route, world)).encode()
    found = [
        send(raw, route, path_of(route, world), body, idempotency_key=key)
        for key in (None, "", "k" * 256)
    ]

    assert [(status, document["meta"]["field"]) for status, document in found] == [
        (400, "Idempotency-Key")
    ] * 3
    assert found[0][1]["message"].startswith("missing_idempotency_key")


TRACES = {
    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01": "0af7651916cd43dd8448eb211c80319c", "00-" + "0" * 32 + "-b7ad6b7169203331-01": None, "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01": None,
    "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01": None, "a\r\nb": None, "x" * 10_000: None, "": None,
}  # fmt: skip


@pytest.mark.parametrize("parent", TRACES)
def test_trace_id_is_taken_from_a_valid_parent(raw, parent):
    with undone():
        response = raw.request("GET", "/mgt/v1/meters", traceparent=parent)

    trace_id = response.json()["trace_id"]
    assert response["X-Trace-Id"] == trace_id
    assert (trace_id == TRACES[parent]) is (TRACES[parent] is not None)


def test_accept_changes_nothing(raw):
    with undone():
        for accept in ("text/html", "application/xml", "*/*;q=0", "x" * 5000, ""):
            status, _ = checked(raw.request("GET", "/mgt/v1/meters", accept=accept))

            assert status == 200
