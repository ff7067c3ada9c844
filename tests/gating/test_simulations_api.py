"""`POST /gate/simulations`: drafts, answers in one document and in lines, refusals."""

import json

import pytest
from django.db import InternalError, connection
from django.test.utils import CaptureQueriesContext

from config.tenancy.services.realms import change_realm
from config.tenancy.services.service_keys import create_service_key
from gating.models import Lease
from gating.selectors.recorded import only_reading
from gating.services.simulations import MOST_AT_ONCE
from tests.gating.gate import row_counts
from tests.gating.refusals import refusal
from tests.gating.simulating import copies
from tests.tools.client import SignedClient
from tests.tools.world import build_world

LINES = {"accept": "application/x-ndjson"}
DAY = {"from": "2026-03-10T00:00:00Z", "to": "2026-03-11T00:00:00Z"}


@pytest.fixture
def asked(gate):
    """Four admissions of 10 against 50, and a denial of 30."""
    gate.feature(price=1)
    gate.credit(10_000)
    gate.bundle("pro")
    gate.pro = gate.plan("pro", bundle="pro", mode="prepaid")
    gate.chats = gate.quota(50, bundle=gate.bundle("pro"), name="chats")
    for minute in range(4):
        gate.later(minutes=minute).lease(10)
    refusal(gate.later(minutes=5).authorize, 30)
    return gate


def draft(gate, **values):
    entry = {"policy_id": str(gate.chats.pk), **values}
    return {"bundle": {"bundle_key": "pro", "policies": [entry]}}


def simulate(api, drafted, *, lines=False, **body):
    return api.request(
        "POST",
        "gate/simulations",
        {**DAY, "draft": drafted, **body},
        headers=LINES if lines else None,
    )


def lines_of(response):
    assert response["Content-Type"] == "application/x-ndjson"
    return [
        json.loads(line) for line in b"".join(response.streaming_content).splitlines()
    ]


def test_a_lowered_limit_is_told_by_account_and_feature(asked, api):
    response = simulate(api, draft(asked, limit_minor="25"))

    assert response.status_code == 200, response.content
    data = response.json()["data"]
    assert (data["decisions"], data["judged"], data["reproduced"]) == (5, 5, 5)
    assert (data["admitted_to_denied"], data["denied_to_admitted"]) == (2, 0)
    assert data["not_judged"] == data["not_reproduced"] == {}
    (group,) = data["groups"]
    assert (group["principal_id"], group["feature_code"]) == ("acme", "chat")
    assert group["reasons"]["admitted_to_denied"] == {"quota_exhausted": 2}
    first = group["examples"][0]
    assert (first["user_id"], first["flip"]) == ("u-1", "admitted_to_denied")
    assert first["was"] == "Admitted at 2026-03-10 12:02:00 UTC: chat, 10."
    assert first["would"].startswith(
        "Blocked at 2026-03-10 12:02:00 UTC: Quota chats: "
    )


def test_the_same_in_lines(asked, api):
    whole = simulate(api, draft(asked, limit_minor="25")).json()["data"]

    lines = lines_of(simulate(api, draft(asked, limit_minor="25"), lines=True))

    assert lines[0] == {
        "type": "progress", "done": 5, "total": 5, "admitted_to_denied": 2, "denied_to_admitted": 0,
    }  # fmt: skip
    assert [line["group"] for line in lines[1:-1]] == whole.pop("groups")
    assert whole.pop("groups_left_off") == 0
    assert lines[-1] == {"type": "summary", "summary": whole}


def test_nobody_asked_is_told_as_such(asked, api):
    body = {"from": "2026-01-01T00:00:00Z", "to": "2026-02-01T00:00:00Z"}

    data = simulate(api, draft(asked), **body).json()["data"]
    lines = lines_of(simulate(api, draft(asked), lines=True, **body))

    assert (data["decisions"], data["groups"]) == (0, [])
    assert [line["type"] for line in lines] == ["summary"]


def test_account_and_feature_narrow_the_range(asked, api):
    other = asked.of_principal("globex")
    other.credit(10)
    other.lease(10)
    asked.feature("draw")
    asked.quota(5, feature="draw", bundle=asked.bundle("pro"))
    asked.lease(1, feature="draw")
    account = str(asked.account.pk)

    def decisions(**which):
        return simulate(api, draft(asked), **which).json()["data"]["decisions"]

    assert decisions() == 7
    assert decisions(billing_account_id=account) == 6
    assert decisions(feature_code="draw") == 1
    assert decisions(feature_code="draw", billing_account_id=account) == 1


def test_a_plan_is_drafted(asked, api):
    drafted = {"plan": {"plan_id": str(asked.pro.pk), "gate_bundle_key": None}}

    data = simulate(api, drafted).json()["data"]

    assert (data["admitted_to_denied"], data["denied_to_admitted"]) == (0, 1)


def test_entitlements_are_drafted(asked, api):
    denied = {"mode": "append", "items": [{"feature_code": "chat", "effect": "deny"}]}
    drafted = {"plan": {"plan_id": str(asked.pro.pk), "entitlements": denied}}

    data = simulate(api, drafted).json()["data"]

    assert data["reasons"]["admitted_to_denied"] == {"entitlement_denied": 4}
    assert data["denied_otherwise"] == 1


def test_a_bundle_and_a_plan_are_drafted_together(asked, api):
    """The plan comes to name the bundle, and the bundle is drafted too."""
    small = asked.bundle("small")
    policy = asked.quota(1000, bundle=small, name="small chats")
    entry = {"policy_id": str(policy.pk), "limit_minor": "10"}
    plan = {"plan_id": str(asked.pro.pk), "gate_bundle_key": "small"}

    def denied(**drafted):
        return simulate(api, drafted).json()["data"]["admitted_to_denied"]

    assert denied(plan=plan) == 0
    assert denied(bundle={"bundle_key": "small", "policies": [entry]}) == 0
    assert denied(plan=plan, bundle={"bundle_key": "small", "policies": [entry]}) == 3


# --- nothing is written -------------------------------------------------------


def statements(api, drafted, **body):
    with CaptureQueriesContext(connection) as captured:
        response = simulate(api, drafted, **body)
        if response.streaming:
            lines_of(response)
    assert response.status_code == 200
    return [query["sql"] for query in captured.captured_queries]


@pytest.mark.parametrize("lines", [False, True])
def test_nothing_is_written_and_every_read_may_only_read(asked, api, lines):
    before = row_counts()

    told = statements(api, draft(asked, limit_minor="25"), lines=lines)

    assert row_counts() == before
    # Everything after the caller was authenticated and the nonce spent.
    begun = next(n for n, sql in enumerate(told) if "INSERT INTO" in sql) + 1
    depth, readable = 0, False
    for sql in told[begun:]:
        depth += sql.startswith("SAVEPOINT") - sql.startswith("RELEASE SAVEPOINT")
        readable = sql == "SET TRANSACTION READ ONLY" or (readable and depth > 0)
        if (
            sql.startswith(("SELECT", "\nSELECT", "WITH"))
            and 'gate_policy_bundles"' not in sql
        ):
            assert readable, sql
        assert not sql.lstrip().startswith(("INSERT", "UPDATE", "DELETE")), sql


def test_the_database_refuses_a_write_inside(asked):
    with pytest.raises(InternalError, match="read-only transaction"), only_reading():
        Lease.objects.filter(realm=asked.realm).update(labels={})


@pytest.mark.parametrize("kind", ["bundle", "plan"])
def test_the_number_of_statements_does_not_grow_with_decisions(asked, api, kind):
    drafted = draft(asked, limit_minor="25")
    if kind == "plan":
        drafted = {"plan": {"plan_id": str(asked.pro.pk), "billing_mode": "postpaid"}}
    statements(api, drafted)
    few = len(statements(api, drafted))
    for name in ("globex", "initech", "hooli"):
        other = asked.of_principal(name)
        other.credit(1000)
        other.plan("pro", bundle="pro", mode="prepaid")
        for minute in range(3):
            other.later(minutes=minute).lease(10)

    assert len(statements(api, drafted)) == few


# --- what is refused ----------------------------------------------------------


def refused(response):
    document = response.json()
    return response.status_code, document["code"], document["meta"].get("field")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"to": "2026-03-09T00:00:00Z"}, (422, "VALIDATION.INVALID_INPUT", "to")),
        ({"to": "2026-07-01T00:00:00Z"}, (422, "SIMULATION.RANGE_TOO_LONG", "to")),
        ({"mode": "guess"}, (422, "VALIDATION.INVALID_INPUT", "mode")),
        ({"draft": {}}, (422, "VALIDATION.INVALID_INPUT", "draft")),
        ({"draft": {"bundle": {}}}, (422, "VALIDATION.INVALID_INPUT", "draft.bundle.bundle_key")),
        ({"draft": {"bundle": {"bundle_key": "nobody"}}}, (404, "RESOURCE.NOT_FOUND", "draft.bundle")),
        ({"draft": {"bundle": {"bundle_key": "pro", "replaced_by": "nobody"}}}, (404, "RESOURCE.NOT_FOUND", "draft.bundle.replaced_by")),
        ({"draft": {"bundle": {"bundle_key": "pro", "size": 1}}}, (422, "VALIDATION.INVALID_INPUT", "draft.bundle.size")),
        ({"draft": {"plan": {"plan_id": "01890000-0000-7000-8000-000000000000"}}}, (404, "RESOURCE.NOT_FOUND", None)),
        ({"billing_account_id": "01890000-0000-7000-8000-000000000000"}, (404, "RESOURCE.NOT_FOUND", None)),
        ({"from": None}, (422, "VALIDATION.INVALID_INPUT", "from")),
    ],
)  # fmt: skip
@pytest.mark.parametrize("lines", [False, True])
def test_a_bad_request_is_refused_before_anything_is_sent(
    asked, api, body, expected, lines
):
    drafted = body.get("draft", draft(asked))
    rest = {name: value for name, value in body.items() if name != "draft"}

    response = simulate(api, drafted, lines=lines, **rest)

    assert refused(response) == expected


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"limit_minor": "-2"}, "limit_minor"),
        ({"limit_count": "5"}, "limit_count"),
        ({"window_sec": 0}, "window_sec"),
        ({"metadata": {"counter_key": 5}}, "metadata.counter_key"),
        ({"policy_id": "01890000-0000-7000-8000-000000000000"}, "policy_id"),
    ],
)
def test_a_draft_is_checked_as_saving_would(asked, api, values, field):
    response = simulate(api, draft(asked, **values))

    place = f"draft.bundle.policies.0.{field}"
    assert refused(response) == (422, "VALIDATION.INVALID_INPUT", place)


def test_too_many_decisions_are_refused_with_the_limit(asked, api):
    copies(asked, MOST_AT_ONCE)

    plain = simulate(api, draft(asked))

    assert refused(plain) == (422, "SIMULATION.TOO_MANY_DECISIONS", "from")
    assert "10,000" in plain.json()["message"]


def test_ids_of_another_realm_are_not_found(asked, api, other_realm, at, by):
    world = build_world(other_realm, at=at, by=by)
    own, foreign = draft(asked), str(world.bundle.pk)

    answers = [
        simulate(api, {"bundle": {"bundle_id": foreign}}),
        simulate(api, {"plan": {"plan_id": str(world.plan.pk)}}),
        simulate(api, own, billing_account_id=str(world.account.pk)),
    ]

    assert [answer.status_code for answer in answers] == [404, 404, 404]
    own["bundle"]["policies"][0]["policy_id"] = str(world.policy.pk)
    assert refused(simulate(api, own))[0] == 422


def test_decisions_of_another_realm_are_not_gone_through(
    asked, api, other_realm, at, by
):
    build_world(other_realm, at=at, by=by)

    assert simulate(api, draft(asked)).json()["data"]["decisions"] == 5


def test_a_realm_that_wants_writes_explained_lets_this_be_asked(asked, api, at, by):
    change_realm(
        realm=asked.realm,
        name="Realm",
        metadata={"require_audit_fields": True},
        at=at,
        by=by,
    )

    assert simulate(api, draft(asked)).status_code == 200


def test_a_key_limited_to_accounts_may_not(asked, realm, at, by):
    limited = [str(asked.account.pk)]
    key = create_service_key(realm=realm, allowed_accounts=limited, at=at, by=by)

    response = simulate(SignedClient(realm, key), draft(asked))

    assert refused(response)[:2] == (403, "AUTH.SERVICE_KEY_ACCOUNT_FORBIDDEN")


def test_a_runtime_key_may_not(asked, realm, at, by):
    key = create_service_key(realm=realm, scopes=["runtime"], at=at, by=by)

    response = simulate(SignedClient(realm, key), draft(asked))

    assert refused(response)[:2] == (403, "AUTH.INSUFFICIENT_SCOPE")


def test_what_fails_on_the_way_is_told_in_the_last_line(asked, api):
    response = simulate(api, draft(asked), lines=True)
    rows = Lease.objects.filter(realm=asked.realm)
    rows.update(rule_set_id="01890000-0000-7000-8000-000000000000")

    *_, last = lines_of(response)

    assert (last["type"], last["ok"], last["code"]) == (
        "failed",
        False,
        "SERVER.UNEXPECTED",
    )


def test_a_caller_that_leaves_ends_the_work(asked, api):
    copies(asked, 1500)
    response = simulate(api, draft(asked), lines=True)
    lines = iter(response.streaming_content)
    first = json.loads(next(lines))

    with CaptureQueriesContext(connection) as captured:
        response.close()

    assert (first["done"], first["total"]) == (500, 1505)
    assert list(lines) == []
    assert len(captured) == 0
