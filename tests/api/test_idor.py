"""No address gives away, or changes, what is another's.

Generated from the URL configuration: every operation is called with the ids of another
realm and of another account of the same realm, as several callers. One that is added
without ids here fails the run.
"""

import json
import re
import typing
from contextlib import contextmanager
from types import SimpleNamespace
from uuid import UUID

import pytest
from django.db import transaction
from django.test import Client

from billing.models import BillingAccount
from billing.services.users import ensure_user
from config.kernel.ids import new_id
from config.tenancy.models import Scope
from config.tenancy.services.service_keys import create_service_key
from config.tenancy.tokens import sign_token
from tests.conftest import make_realm
from tests.tools.bodies import BODIES, FILTER_IDS, IDS, body_of, path_of
from tests.tools.client import SignedClient
from tests.tools.context import AT, BY
from tests.tools.routes import METHODS, routes, service_views
from tests.tools.tables import columns, own_tables, rows
from tests.tools.world import build_world, neighbor

ROUTES = routes()
MANAGEMENT = [route for route in ROUTES if route.is_management]
TOKEN_ROUTES = [route for route in ROUTES if not route.is_management]
TOKEN_READS = [route for route in TOKEN_ROUTES if route.method == "GET"]
WITH_IDS = [route for route in ROUTES if route.parameters]
UNLINKED = {"subscription_item_id"}
"""Ids in bodies that stand for things outside this product."""

OF_ACCOUNTS = {"billing_account_id", "billing_user_id", "assignment_id", "decision_id", "lease_id", "grant_assignment_id", "grant_id"}  # fmt: skip
"""Ids in addresses that belong to an account."""


def each(found):
    return pytest.mark.parametrize("route", found, ids=lambda route: route.name)


@pytest.fixture(scope="module")
def worlds(django_db_setup, django_db_blocker):
    """A world, another account of its realm, and a world of another realm."""
    with django_db_blocker.unblock(), transaction.atomic():
        own = build_world(make_realm(AT, BY), at=AT, by=BY)
        yield SimpleNamespace(
            own=own,
            neighbor=neighbor(own),
            foreign=build_world(make_realm(AT, BY), at=AT, by=BY),
        )
        transaction.set_rollback(True)


@contextmanager
def undone():
    """Undo what is written inside."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def key_of(world, **options):
    return create_service_key(realm=world.realm, at=AT, by=BY, **options)


def caller(world, key=None, *, runtime=True):
    """A signed client of a world, acting for its user where the call is for one."""
    bindings = {"principal_id": world.principal, "user_id": "u-1"} if runtime else {}
    return SignedClient(world.realm, key or world.key, **bindings)


def ask(client, route, path, body):
    return client.request(route.method, path, body)


def told(response, *ids):
    """An answer without what differs from call to call: status, and text with ids hidden."""
    text = response.content.decode()
    for found in ids:
        text = text.replace(str(found), "<id>")
    document = json.loads(text)
    document.pop("trace_id", None)
    return response.status_code, document


def fingerprint(world):
    """Everything that is stored of a realm."""
    stored = {}
    for table in own_tables():
        if "realm_id" in columns(table):
            stored[table] = rows(
                f"SELECT md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {table} t WHERE realm_id = %s",
                [world.realm.pk],
            )
    return stored


# --- the list of addresses is complete ----------------------------------------


def test_every_address_has_ids_and_bodies():
    unknown = {name for route in ROUTES for name in route.parameters} - set(IDS)
    without_body = {
        route.operation.name for route in ROUTES if route.operation.body is not None
    } - set(BODIES)
    undeclared = [
        f"{method} {template}"
        for template, view in service_views()
        for method in METHODS
        if hasattr(view.cls, method)
        and not hasattr(getattr(view.cls, method), "operation")
    ]

    print(f"\n{len(ROUTES)} operations, {len(WITH_IDS)} with ids")
    assert (unknown, without_body, undeclared) == (set(), set(), [])
    assert len(ROUTES) >= 60


@each(ROUTES)
def test_own_call_is_answered(worlds, route):
    """The control: with ids of its own the call is not refused for them."""
    with undone():
        client = caller(worlds.own) if route.is_management else TokenClient(worlds.own)
        response = ask(
            client, route, path_of(route, worlds.own), body_of(route, worlds.own)
        )

        assert response.status_code in {200, 201, 409, 422}, response.content
        assert response.status_code < 400 or response.json()["code"] in ACCEPTABLE, (
            response.content
        )


ACCEPTABLE = {"CONFLICT", "ASSIGNMENT.ALREADY_DONE", "HOLD.ENDED"}
"""What may be in the way of a valid call: the bundle is in use, nothing is paused, the
world's holds ran out long ago."""


# --- another realm's rows -----------------------------------------------------


@each(WITH_IDS)
def test_another_realms_id_is_as_unknown_as_any(worlds, route):
    body = body_of(route, worlds.own)
    foreign = {name: IDS[name](worlds.foreign) for name in route.parameters}
    unknown = {name: new_id() for name in route.parameters}
    before = fingerprint(worlds.foreign)

    with undone():
        client = caller(worlds.own) if route.is_management else TokenClient(worlds.own)
        answers = [
            told(ask(client, route, route.path(**ids), body), *ids.values())
            for ids in (foreign, unknown)
        ]

        assert answers[0] == answers[1]
        assert answers[0][0] == 404
        assert fingerprint(worlds.foreign) == before


OTHERS = {
    "plan_id": lambda world: world.higher_plan.pk,
    "billing_user_id": lambda world: colleague(world).pk,
}
"""By name of an outer id: another one that the caller may see."""


def colleague(world):
    """Another user of the world's account."""
    return ensure_user(
        account=world.account, business_user_id="u-2", at=world.at, by=world.by
    )


@each([route for route in WITH_IDS if len(route.parameters) > 1])
def test_another_realms_id_below_an_own_one_is_unknown(worlds, route):
    outer, inner = route.parameters
    with undone():
        client = caller(worlds.own)
        mixed = {outer: IDS[outer](worlds.own), inner: IDS[inner](worlds.foreign)}
        below_another = {
            outer: OTHERS[outer](worlds.own),
            inner: IDS[inner](worlds.own),
        }

        statuses = [
            ask(
                client, route, route.path(**ids), body_of(route, worlds.own)
            ).status_code
            for ids in (mixed, below_another)
        ]

    assert statuses == [404, 404]


def mentions(annotation, kind):
    """Whether a type is made of `kind`, however wrapped."""
    return annotation is kind or any(
        mentions(part, kind) for part in typing.get_args(annotation)
    )


def id_fields(model):
    """The fields of a body that hold ids."""
    return [
        name
        for name, field in model.model_fields.items()
        if mentions(field.annotation, UUID) and name not in UNLINKED
    ]


BODY_IDS = [
    (route, field)
    for route in ROUTES
    if route.operation.body is not None
    for field in id_fields(route.operation.body)
]


@pytest.mark.parametrize(
    ("route", "field"),
    BODY_IDS,
    ids=[f"{route.operation.name}.{field}" for route, field in BODY_IDS],
)
def test_another_realms_id_in_a_body_is_as_unknown_as_any(worlds, route, field):
    before = fingerprint(worlds.foreign)
    with undone():
        client = caller(worlds.own, runtime=False)
        answers = []
        for value in (IDS[field](worlds.foreign), new_id()):
            body = {**body_of(route, worlds.own), field: str(value)}
            answers.append(
                told(ask(client, route, path_of(route, worlds.own), body), value)
            )

        assert answers[0] == answers[1]
        assert answers[0][0] in {404, 422}, answers
        assert fingerprint(worlds.foreign) == before


def test_bodies_with_ids_are_found():
    names = {(route.operation.name, field) for route, field in BODY_IDS}

    print(f"\n{len(names)} ids in bodies")
    assert names >= {
        ("create_billing_plan_assignment", "billing_account_id"), ("create_billing_plan_assignment", "billing_user_id"),
        ("create_billing_plan_assignment", "plan_id"), ("upgrade_billing_plan_assignment", "plan_id"),
        ("upsert_feature", "feature_family_id"), ("create_gate_policy", "bundle_id"),
    }  # fmt: skip
    assert {field for _, field in names} <= set(IDS)


LISTS = [
    route
    for route in MANAGEMENT
    if route.method == "GET"
    and not route.parameters
    and route.operation.scope == Scope.REALM_ADMIN
]
FILTERS = [
    (route, name)
    for route in LISTS
    for name in (route.operation.query.model_fields if route.operation.query else ())
    if name in IDS
]


@pytest.mark.parametrize(
    ("route", "name"),
    FILTERS,
    ids=[f"{route.operation.name}?{name}" for route, name in FILTERS],
)
def test_filter_by_another_realms_id_finds_nothing(worlds, route, name):
    client = caller(worlds.own, runtime=False)
    row = FILTER_IDS.get((route.operation.name, name), IDS[name])
    found = {}
    for whose, value in (
        ("own", row(worlds.own)),
        ("foreign", row(worlds.foreign)),
        ("unknown", new_id()),
    ):
        with undone():
            response = client.get(f"{route.path()}?{name}={value}")
            found[whose] = response.status_code, len(response.json()["data"]["items"])

    assert found["foreign"] == found["unknown"] == (200, 0)
    assert found["own"][1] > 0


def every_id(world):
    """Every id stored of a realm, and the names its rows are known by."""
    found = {world.realm.pk}
    for table in own_tables():
        if {"realm_id", "id"} <= set(columns(table)):
            found |= {
                str(row)
                for (row,) in rows(
                    f"SELECT id FROM {table} WHERE realm_id = %s", [world.realm.pk]
                )
            }
    return found


@each([route for route in ROUTES if route.method == "GET" and not route.parameters])
def test_list_shows_nothing_of_another_realm(worlds, route):
    with undone():
        client = caller(worlds.own) if route.is_management else TokenClient(worlds.own)
        text = ask(client, route, route.path(), None).content.decode()

    shown = set(re.findall(r"[0-9a-f]{8}-[0-9a-f-]{27}", text))
    assert shown & every_id(worlds.foreign) == set()
    assert shown - every_id(worlds.own) == set()
    if route.operation.name not in {
        "gate_list_feature_limits",
        "gate_list_meter_limits",
        "list_features_needing_config",
    }:
        assert shown != set()


# --- who calls ----------------------------------------------------------------


class TokenClient:
    """Calls `/api/v1` as the user of a world."""

    def __init__(self, world):
        self.headers = {
            "x-realm-id": world.realm.pk,
            "authorization": f"Bearer {sign_token(world.token.claims | {'exp': 2**33}, world.realm)}",
        }
        self.client = Client(raise_request_exception=False)

    def request(self, method, path, body=None):
        return self.client.generic(
            method,
            path,
            b"" if body is None else json.dumps(body).encode(),
            "application/json",
            headers=self.headers | {"idempotency-key": str(new_id())},
        )


def refused(response):
    """Status and code of a refusal in the envelope."""
    document = response.json()
    assert set(document) >= {"ok", "code", "message", "trace_id", "meta", "error"}
    assert document["ok"] is False
    return response.status_code, document["code"]


@each(ROUTES)
def test_call_without_credentials_is_refused(worlds, route):
    body = json.dumps(body_of(route, worlds.own) or {}).encode()
    with undone():
        headers = {"x-realm-id": worlds.own.realm.pk, "idempotency-key": "k"}
        response = Client(raise_request_exception=False).generic(
            route.method,
            path_of(route, worlds.own),
            body,
            "application/json",
            headers=headers,
        )

    assert response.status_code == 401
    assert refused(response)[1] in {
        "AUTH.INVALID_SERVICE_SIGNATURE",
        "AUTH.UNAUTHORIZED",
    }


@each(MANAGEMENT)
def test_bearer_token_is_no_service_key(worlds, route):
    with undone():
        response = ask(
            TokenClient(worlds.own),
            route,
            path_of(route, worlds.own),
            body_of(route, worlds.own),
        )

    assert refused(response) == (403, "AUTH.INSUFFICIENT_SCOPE")


@each(TOKEN_ROUTES)
def test_service_key_is_no_bearer_token(worlds, route):
    with undone():
        response = ask(
            caller(worlds.own),
            route,
            path_of(route, worlds.own),
            body_of(route, worlds.own),
        )

    assert refused(response) == (401, "AUTH.UNAUTHORIZED")


@each(ROUTES)
def test_caller_of_another_realm_is_refused(worlds, route):
    with undone():
        if route.is_management:
            client = SignedClient(
                worlds.own.realm, worlds.foreign.key, principal_id="acme", user_id="u-1"
            )
            expected = (403, "AUTH.SERVICE_KEY_REALM_FORBIDDEN")
        else:
            client = TokenClient(worlds.foreign)
            client.headers["x-realm-id"] = worlds.own.realm.pk
            expected = (403, "AUTH.TOKEN_REALM_MISMATCH")
        response = ask(
            client, route, path_of(route, worlds.own), body_of(route, worlds.own)
        )

    assert refused(response) == expected


@each(MANAGEMENT)
def test_key_without_the_scope_is_refused(worlds, route):
    """A runtime key manages nothing; a key without scopes does nothing at all."""
    found = {}
    for scopes in ([Scope.RUNTIME.value], []):
        with undone():
            client = caller(worlds.own, key_of(worlds.own, scopes=scopes))
            response = ask(
                client, route, path_of(route, worlds.own), body_of(route, worlds.own)
            )
            found[len(scopes)] = (
                (200, "OK") if response.status_code < 300 else refused(response)
            )

    forbidden = (403, "AUTH.INSUFFICIENT_SCOPE")
    assert found[0] == forbidden
    assert found[1] == (
        (200, "OK") if route.operation.scope == Scope.RUNTIME else forbidden
    )


# --- another account's rows, for a key that is limited to some -----------------


FORBIDDEN = (403, "AUTH.SERVICE_KEY_ACCOUNT_FORBIDDEN")


@pytest.fixture
def limited(worlds):
    """A key that may act for the own account only."""
    return lambda **bindings: SignedClient(
        worlds.own.realm,
        key_of(worlds.own, allowed_accounts=[str(worlds.own.account.pk)]),
        **bindings,
    )


@each([route for route in WITH_IDS if OF_ACCOUNTS & set(route.parameters)])
def test_limited_key_may_not_name_another_account(worlds, limited, route):
    before = fingerprint(worlds.own)
    with undone():
        refusal = ask(
            limited(),
            route,
            path_of(route, worlds.neighbor),
            body_of(route, worlds.own),
        )
        own = ask(
            limited(), route, path_of(route, worlds.own), body_of(route, worlds.own)
        )

        assert refused(refusal) == FORBIDDEN
        assert own.status_code != 403, own.content
    assert fingerprint(worlds.own) == before


@each([route for route in MANAGEMENT if route.operation.scope == Scope.RUNTIME])
def test_limited_key_may_not_act_for_another_account(worlds, limited, route):
    with undone():
        known = limited(principal_id=worlds.neighbor.principal, user_id="u-1")
        invented = limited(principal_id="nobody-yet", user_id="u-1")
        body = body_of(route, worlds.neighbor)
        answers = [refused(ask(client, route, path_of(route, worlds.own), {**body, **named} if body else body)) for client, named in (
            (known, {}), (invented, {"principal_id": "nobody-yet"} if route.operation.name == "issue_platform_token" else {})
        )]  # fmt: skip

        assert answers == [FORBIDDEN, FORBIDDEN]
        assert not BillingAccount.objects.filter(
            realm=worlds.own.realm, billing_principal_id="nobody-yet"
        ).exists()


@each(
    [
        route
        for route in ROUTES
        if route.operation.body
        and "billing_account_id" in route.operation.body.model_fields
    ]
)
def test_limited_key_may_not_write_for_another_account(worlds, limited, route):
    with undone():
        assert (
            refused(
                ask(
                    limited(),
                    route,
                    path_of(route, worlds.own),
                    body_of(route, worlds.neighbor),
                )
            )
            == FORBIDDEN
        )


@each(LISTS)
def test_limited_key_sees_its_own_accounts_only(worlds, limited, route):
    with undone():
        text = ask(limited(), route, route.path(), None).content.decode()

    others = {
        str(row.pk)
        for row in (
            worlds.neighbor.account,
            worlds.neighbor.user,
            worlds.neighbor.assignment,
            worlds.neighbor.user_assignment,
        )
    }
    assert [found for found in others if found in text] == []


def test_limited_key_may_not_bind_another_account_by_id(worlds, limited):
    with undone():
        response = limited(billing_account_id=str(worlds.neighbor.account.pk)).get(
            "meters"
        )

    assert refused(response) == FORBIDDEN


# --- a token ------------------------------------------------------------------


@each(TOKEN_READS)
def test_token_shows_its_own_account_only(worlds, route):
    with undone():
        own, other = (
            ask(TokenClient(world), route, path_of(route, world), None)
            for world in (worlds.own, worlds.neighbor)
        )

    mine, theirs = str(worlds.own.account.pk), str(worlds.neighbor.account.pk)
    assert (mine in own.content.decode(), theirs in own.content.decode()) == (
        True,
        False,
    )
    assert (mine in other.content.decode(), theirs in other.content.decode()) == (
        False,
        True,
    )


@each([route for route in TOKEN_ROUTES if route.parameters])
def test_token_reaches_nothing_of_another_account(worlds, route):
    before = fingerprint(worlds.own)
    with undone():
        client, body = TokenClient(worlds.own), body_of(route, worlds.own)
        theirs = {name: IDS[name](worlds.neighbor) for name in route.parameters}
        unknown = {name: new_id() for name in route.parameters}
        answers = [
            told(ask(client, route, route.path(**ids), body), *ids.values())
            for ids in (theirs, unknown)
        ]

        assert answers[0] == answers[1]
        assert answers[0][0] == 404
        assert fingerprint(worlds.own) == before


@each(TOKEN_READS)
@pytest.mark.parametrize("name", ["user_id", "billing_user_id", "billing_account_id"])
def test_token_may_not_ask_for_another(worlds, route, name):
    value = {
        "user_id": "u-1",
        "billing_user_id": worlds.neighbor.user.pk,
        "billing_account_id": worlds.neighbor.account.pk,
    }[name]
    with undone():
        response = ask(
            TokenClient(worlds.own),
            route,
            f"{path_of(route, worlds.own)}?{name}={value}",
            None,
        )

    text = response.content.decode()
    assert response.status_code in {200, 403, 404, 422}
    assert str(worlds.neighbor.account.pk) not in text.replace(str(value), "")
    # A parameter that the call does not know is refused, or changes nothing.
    assert response.status_code != 200 or str(worlds.own.user.pk) in text
