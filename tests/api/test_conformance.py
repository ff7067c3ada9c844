"""The API does what its own description says, for whatever the description allows.

schemathesis makes requests from the OpenAPI document, valid ones and others; every
answer must be one that the document describes, and none a bug.
"""

import json
import os
from contextlib import contextmanager
from urllib.parse import urlencode

import hypothesis
import pytest
import requests
import schemathesis
from django.db import transaction
from hypothesis import HealthCheck, Phase, given
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core import NOT_SET
from schemathesis.specs.openapi import checks

from config.api.openapi.generator import OperationsGenerator
from config.tenancy.tokens import sign_token
from tests.conftest import make_realm
from tests.tools.bodies import IDS, body_of, path_of
from tests.tools.context import AT, BY
from tests.tools.routes import routes
from tests.tools.signer import JSON, RawClient
from tests.tools.world import build_world

SOAK = bool(os.environ.get("PLANGATE_SOAK"))
EXAMPLES = 300 if SOAK else 13
"""For each operation and each of the two sorts of request."""

CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]
ROUTES = {
    (
        route.method,
        route.path(**{name: f"{{{name}}}" for name in route.parameters}),
    ): route
    for route in routes()
}


def described():
    """Return the operations of the description by method and path."""
    document = OperationsGenerator().get_schema(request=None, public=True)
    schema = schemathesis.openapi.from_dict(document)
    found = [each.ok() for each in schema.get_all_operations()]
    return {
        (operation.method.upper(), operation.path): operation for operation in found
    }


OPERATIONS = described()


def each(function):
    return pytest.mark.parametrize("name", sorted(ROUTES), ids=" ".join)(function)


@pytest.fixture(scope="module")
def world(django_db_setup, django_db_blocker):
    """A world of rows; rolled back after the module."""
    with django_db_blocker.unblock(), transaction.atomic():
        yield build_world(make_realm(AT, BY), at=AT, by=BY)
        transaction.set_rollback(True)


@contextmanager
def undone():
    """Undo what is written inside."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


class Caller:
    """Sends what was generated, signed or with a token, as the world's user."""

    def __init__(self, world, route):
        self.raw = RawClient(
            world.realm, world.key, principal_id=world.principal, user_id="u-1"
        )
        self.route = route
        self.token = sign_token(world.token.claims | {"exp": 2**33}, world.realm)

    def send(self, path, body):
        headers = self.raw.signed(self.route.method, path, body)
        if not self.route.is_management:
            headers |= {"authorization": f"Bearer {self.token}"}
        with undone():
            return self.raw.send(self.route.method, path, body, headers)


def as_schemathesis(response, path):
    """Return our answer as schemathesis sees answers."""
    prepared = requests.Request(
        response.wsgi_request.method, f"http://testserver{path}"
    ).prepare()
    return schemathesis.Response(
        status_code=response.status_code,
        headers={name.lower(): [value] for name, value in response.headers.items()},
        content=response.content,
        request=prepared,
        elapsed=0.01,
        verify=False,
    )


def bytes_of(body):
    """Return a generated body as it is sent."""
    if body is NOT_SET:
        return b""
    if isinstance(body, bytes):
        return body
    return json.dumps(body).encode("utf-8", "surrogatepass")


def path_and_query(case):
    query = urlencode(case.query or {}, doseq=True)
    return case.formatted_path + (f"?{query}" if query else "")


def test_description_is_of_every_operation():
    assert sorted(OPERATIONS) == sorted(ROUTES)


@each
def test_valid_call_is_answered_as_described(world, name):
    route, operation = ROUTES[name], OPERATIONS[name]
    caller, path = Caller(world, route), path_of(route, world)
    body = body_of(route, world)

    response = caller.send(path, b"" if body is None else json.dumps(body).encode())

    ids = {parameter: str(IDS[parameter](world)) for parameter in route.parameters}
    case = operation.Case(
        method=route.method, path_parameters=ids, body=NOT_SET, media_type=JSON
    )
    assert response.status_code < 500
    case.validate_response(as_schemathesis(response, path), checks=CHECKS)


@each
@pytest.mark.parametrize(
    "mode",
    [GenerationMode.POSITIVE, GenerationMode.NEGATIVE],
    ids=["described", "other"],
)
def test_generated_call_is_answered_as_described(world, name, mode):
    route, operation = ROUTES[name], OPERATIONS[name]
    caller = Caller(world, route)
    ids = {parameter: str(IDS[parameter](world)) for parameter in route.parameters}
    own = {"path_parameters": ids} if ids and mode is GenerationMode.POSITIVE else {}
    statuses = {}

    @hypothesis.seed(SEED)
    @hypothesis.settings(
        max_examples=EXAMPLES, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=operation.as_strategy(generation_mode=mode, **own))
    def run(case):
        path = path_and_query(case)
        response = caller.send(path, bytes_of(case.body))
        statuses[response.status_code] = statuses.get(response.status_code, 0) + 1
        case.validate_response(as_schemathesis(response, path), checks=CHECKS)

    run()

    print(
        f"\n{' '.join(name)}: seed {SEED}, {sum(statuses.values())} cases, {dict(sorted(statuses.items()))}"
    )
    assert max(statuses) < 500


SEED = int(os.environ.get("PLANGATE_SEED", "20260310"))
