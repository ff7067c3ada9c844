"""Budgets through HTTP, for a bound user and for a token's."""

import json

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from vlunaai.generated import billing_models as wire

from billing.services.tokens import issue_token
from config.kernel.ids import new_id
from config.tenancy.tokens import sign_token
from grants.models import Budget

INT64_MAX = 2**63 - 1


@pytest.fixture
def signed(api, user):
    return api.bound(principal_id="acme", user_id="u-1")


@pytest.fixture
def bearer(user, at, by):
    """Return a caller with a token of the user's, with the scopes given."""

    def with_scopes(*scopes):
        token = issue_token(
            user=user,
            service_key_id="pk-1",
            scopes=list(scopes),
            ttl_seconds=900,
            traits={},
            nonce=None,
            request=str(scopes).encode(),
            at=at,
            by=by,
        )
        claims = token.claims | {"exp": 2**33}
        return Bearer(user.realm, sign_token(claims, user.realm))

    return with_scopes


class Bearer:
    def __init__(self, realm, token):
        self.headers = {"x-realm-id": realm.pk, "authorization": f"Bearer {token}"}
        self.client = Client(raise_request_exception=False)

    def get(self, path):
        return self.client.get(f"/api/v1/{path}", headers=self.headers)

    def post(self, path, document, key="k"):
        return self.client.generic(
            "POST",
            f"/api/v1/{path}",
            json.dumps(document).encode(),
            "application/json",
            headers={**self.headers, "idempotency-key": key},
        )


def body(**changed):
    return {"budget": "trip", "limit_xusd": "5000", **changed}


def good(response, envelope=wire.BudgetEnvelope, status=200):
    assert response.status_code == status, response.content
    envelope.model_validate(response.json())
    return response.json()["data"]


def test_a_budget_is_made_and_shown(signed, user):
    made = good(signed.post("budgets", body(name="Trip")), status=201)

    shown = good(signed.get(f"budgets/{made['budget_id']}"))

    assert shown == made
    assert made.pop("created_at") and made.pop("updated_at")
    assert made == {
        "budget_id": str(Budget.objects.get().pk),
        "budget": "trip",
        "billing_account_id": str(user.account_id),
        "billing_user_id": str(user.pk),
        "name": "Trip",
        "status": "active",
        "scope_kind": "global",
        "scope_payload": {},
        "limit_xusd": "5000",
        "consumed_xusd": "0",
        "reserved_xusd": "0",
        "remaining_xusd": "5000",
        "window_start": None,
        "window_end": None,
        "closed_at": None,
        "metadata": {},
    }


def test_the_same_reference_and_terms_are_the_same_budget(signed):
    made = good(signed.post("budgets", body()), status=201)
    again = good(signed.post("budgets", body()), status=200)
    other = signed.post("budgets", body(limit_xusd="5001"))

    assert again == made
    assert (other.status_code, other.json()["code"]) == (409, "CONFLICT")
    assert other.json()["meta"]["field"] == "budget"


def test_numbers_that_the_database_writes_otherwise_are_the_same_terms(signed):
    terms = body(metadata={"a": 1e18, "b": [-0.0, 1.5], "c": {"d": 2.0}}, name=" Trip ")
    made = good(signed.post("budgets", terms), status=201)

    assert good(signed.post("budgets", terms), status=200) == made
    other = signed.post("budgets", terms | {"metadata": {"a": True}})
    assert other.status_code == 409


@pytest.mark.parametrize(
    "metadata",
    [{"a": 2**63}, {"a": "x" * 65_537}, {"a": {"b": [[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]}}],
    ids=["number", "size", "depth"],
)
def test_metadata_has_the_limits_of_every_other(signed, metadata):
    made = good(signed.post("budgets", body()), status=201)
    refused = signed.post("budgets", body(budget="other", metadata=metadata))
    closing = signed.post(f"budgets/{made['budget_id']}/close", {"metadata": metadata})

    for response in (refused, closing):
        assert response.status_code == 422, response.content
        assert response.json()["meta"]["field"].startswith("metadata")


def test_the_same_key_is_the_same_answer(signed):
    first = signed.post("budgets", body(budget=None), key="ik-1")
    again = signed.post("budgets", body(budget=None), key="ik-1")

    assert (again.status_code, again.content) == (201, first.content)
    assert Budget.objects.count() == 1


@pytest.mark.parametrize("unlimited", [None, "absent"])
def test_a_budget_may_be_unlimited(signed, unlimited):
    document = body(limit_xusd=unlimited)
    if unlimited == "absent":
        del document["limit_xusd"]

    made = good(signed.post("budgets", document), status=201)

    assert (made["limit_xusd"], made["remaining_xusd"]) == (None, None)


@pytest.mark.parametrize(
    ("scope", "codes"),
    [
        (
            {"scope_kind": "feature", "scope_payload": {"feature_code": " CHAT "}},
            ["chat"],
        ),
        (
            {"scope_kind": "feature_set", "scope_payload": {"feature_set": ["chat"]}},
            ["chat"],
        ),
        ({"scope_kind": "global", "scope_payload": {}}, None),
        ({"scope_payload": None}, None),
    ],
)
def test_a_scope_names_its_features(signed, chat, scope, codes):
    made = good(signed.post("budgets", body(**scope)), status=201)

    assert Budget.objects.get().feature_codes == codes
    key = {"feature": "feature_code", "feature_set": "feature_set"}.get(
        made["scope_kind"]
    )
    expected = {
        "feature_code": {"feature_code": "chat"},
        "feature_set": {"feature_set": ["chat"]},
    }
    assert made["scope_payload"] == expected.get(key, {})


@pytest.fixture
def chat(realm, at, by):
    from catalog.services.families import upsert_feature_family
    from catalog.services.features import upsert_feature

    upsert_feature_family(realm=realm, feature_family_code="ai", at=at, by=by)
    upsert_feature(
        realm=realm, feature_code="chat", feature_family_code="ai", at=at, by=by
    )


@pytest.mark.parametrize(
    ("changed", "status", "field"),
    [
        *(({"limit_xusd": bad}, 422, "limit_xusd") for bad in ("", "-1", -1, "1.5", 1.5, True, str(INT64_MAX + 1), [], {})),
        *(({"budget": bad}, 422, "budget") for bad in ("", " ", "x" * 256, "a\nb", 5, [])),
        ({"scope_kind": "team"}, 422, "scope_kind"),
        ({"scope_kind": "feature"}, 422, "scope_payload.feature_code"),
        ({"scope_kind": "feature", "scope_payload": {"feature_code": 5}}, 422, "scope_payload.feature_code"),
        ({"scope_kind": "feature", "scope_payload": {"feature_code": "sing"}}, 404, "scope_payload"),
        ({"scope_kind": "feature", "scope_payload": {"feature_set": ["chat"]}}, 422, "scope_payload.feature_set"),
        ({"scope_kind": "feature_set"}, 422, "scope_payload.feature_set"),
        ({"scope_kind": "feature_set", "scope_payload": {"feature_set": []}}, 422, "scope_payload.feature_set"),
        ({"scope_kind": "feature_set", "scope_payload": {"feature_set": "chat"}}, 422, "scope_payload.feature_set"),
        ({"scope_kind": "feature_set", "scope_payload": {"feature_set": ["chat", "a b"]}}, 422, "scope_payload.feature_set.1"),
        ({"scope_kind": "feature_set", "scope_payload": {"feature_set": ["chat"] * 101}}, 422, "scope_payload.feature_set"),
        ({"scope_payload": {"feature_code": "chat"}}, 422, "scope_payload.feature_code"),
        ({"scope_payload": []}, 422, "scope_payload"),
        ({"window_start": "2026-03-10T12:00:00Z", "window_end": "2026-03-10T12:00:00Z"}, 422, "window_end"),
        ({"window_end": "tomorrow"}, 422, "window_end"),
        ({"metadata": []}, 422, "metadata"),
        ({"consumed_xusd": "1"}, 422, "consumed_xusd"),
    ],
)  # fmt: skip
def test_bad_terms_are_refused(signed, chat, changed, status, field):
    answer = signed.post("budgets", body(**changed))

    assert (answer.status_code, answer.json()["meta"]["field"]) == (status, field)
    assert not Budget.objects.exists()


def test_closing_tells_what_was_consumed_and_is_idempotent(signed):
    made = good(signed.post("budgets", body()), status=201)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT grants_settle_budget(%s, 0, 6000, now())", [made["budget_id"]]
        )
    path = f"budgets/{made['budget_id']}/close"

    first = good(signed.post(path, {"reason": "over"}), wire.BudgetOpEnvelope)
    again = good(signed.post(path, {}), wire.BudgetOpEnvelope)
    bare = good(signed.post(path), wire.BudgetOpEnvelope)

    assert first == again == bare
    assert first == {
        "budget_id": made["budget_id"],
        "consumed_xusd": "6000",
        "remaining_xusd": "-1000",
    }
    assert good(signed.get(f"budgets/{made['budget_id']}"))["status"] == "closed"
    assert Budget.objects.get().history.latest().reason == "over"


def test_a_list_is_paged_and_narrowed(signed, chat):
    for n in range(5):
        signed.post("budgets", body(budget=f"b-{n}", name=f"Trip {n}"))
    signed.post(
        "budgets",
        body(
            budget="chat",
            scope_kind="feature",
            scope_payload={"feature_code": "chat"},
            window_start="2026-03-01T00:00:00Z",
            window_end="2026-03-02T00:00:00Z",
        ),
    )

    def named(**query):
        data = good(signed.get("budgets", **query), wire.BudgetListEnvelope)
        return [item["budget"] for item in data["items"]], data.get("next_cursor")

    first, cursor = named(limit=4)
    rest, end = named(limit=4, cursor=cursor)
    assert (first + rest, end) == (["chat", "b-4", "b-3", "b-2", "b-1", "b-0"], None)
    assert named(feature="chat")[0] == ["chat"]
    assert named(scope_kind="feature")[0] == ["chat"]
    assert named(name="trip%203")[0] == ["b-3"]
    assert named(status="expired")[0] == ["chat"]
    assert named(status="canceled")[0] == []
    assert len(named(status="active")[0]) == 5
    assert named(window_start_ge="2026-03-01T00:00:00Z")[0] == ["chat"]
    assert named(window_start_le="2026-02-28T00:00:00Z")[0] == []
    assert named(window_end_le="2026-03-02T00:00:00Z")[0] == ["chat"]
    assert named(window_end_ge="2026-03-03T00:00:00Z")[0] == []
    assert named(created_at_ge="2100-01-01T00:00:00Z")[0] == []
    assert len(named(created_at_le="2100-01-01T00:00:00Z")[0]) == 6
    assert signed.get("budgets?status=open").status_code == 422
    assert signed.get("budgets?nothing=1").status_code == 422


def test_a_list_costs_the_same_with_one_row_and_three(signed):
    counts = []
    for names in (["a"], ["b", "c"]):
        for name in names:
            signed.post("budgets", body(budget=name))
        with CaptureQueriesContext(connection) as queries:
            signed.get("budgets")
        counts.append(len(queries))

    assert counts[0] == counts[1]


def test_another_users_budget_is_as_unknown_as_any(api, signed):
    made = good(signed.post("budgets", body()), status=201)
    other = api.bound(principal_id="acme", user_id="u-2")

    for budget_id in (made["budget_id"], str(new_id()), "trip"):
        shown = other.get(f"budgets/{budget_id}")
        closed = other.post(f"budgets/{budget_id}/close", {})
        assert [shown.status_code, closed.status_code] == [404, 404]
        assert shown.json()["code"] == "RESOURCE.NOT_FOUND"
    assert good(other.get("budgets"), wire.BudgetListEnvelope)["items"] == []
    assert Budget.objects.get().closed_at is None


def test_a_token_reads_its_own_and_writes_where_it_may(signed, bearer):
    made = good(signed.post("budgets", body()), status=201)
    reader, writer = bearer("portal"), bearer("checkout")

    assert good(reader.get(f"budgets/{made['budget_id']}")) == made
    listed = good(reader.get("budgets"), wire.BudgetListEnvelope)
    assert [item["budget"] for item in listed["items"]] == ["trip"]
    own = good(writer.post("budgets", body(budget="own"), "k-1"), status=201)
    assert own["billing_user_id"] == made["billing_user_id"]
    closed = writer.post(f"budgets/{own['budget_id']}/close", {}, "k-2")
    assert good(closed, wire.BudgetOpEnvelope)["consumed_xusd"] == "0"
    for refused in (
        reader.post("budgets", body(budget="no"), "k-3"),
        reader.post(f"budgets/{made['budget_id']}/close", {}, "k-4"),
    ):
        assert (refused.status_code, refused.json()["code"]) == (
            403,
            "AUTH.INSUFFICIENT_SCOPE",
        )
    assert Budget.objects.filter(closed_at__isnull=False).count() == 1
