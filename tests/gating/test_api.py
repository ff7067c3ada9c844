import pytest
from vlunaai.gate_results import (
    GatePreflightError,
    GatePreflightSuccess,
    parse_gate_preflight_result,
)
from vlunaai.generated import billing_mgt_models as mgt
from vlunaai.generated import gate_models as wire

from config.tenancy.models import Scope
from config.tenancy.services.service_keys import create_service_key
from gating.models import Lease, Rating
from tests.gating.gate import row_counts
from tests.tools.client import SignedClient


def good(response, envelope, status=200):
    assert response.status_code == status, response.content
    envelope.model_validate(response.json())
    return response.json()


def bad(response, status, code):
    assert (response.status_code, response.json()["code"]) == (status, code), (
        response.content
    )
    wire.AuthorizeEnvelope.model_validate(response.json())
    return response.json()


@pytest.fixture
def priced(gate):
    gate.feature(price=10, cost=4)
    gate.credit(10_000)
    gate.quota(500)
    gate.rate(100)
    return gate


# Authorize, commit, cancel


def test_authorize_then_commit(priced, signed):
    body = {
        "feature_code": " Chat ",
        "estimated_quantity_minor": "75",
        "labels": {"team": " a ", "empty": " ", "n": 1},
    }
    data = good(signed.post("gate/authorize", body), wire.AuthorizeEnvelope)["data"]
    assert set(data) == {
        "lease",
        "feature_code",
        "feature_family_code",
        "window_start",
        "window_end",
        "expires_at",
    }
    assert priced.row(data["lease"]).labels == {"team": "a", "n": "1"}

    commit = {
        "lease": data["lease"],
        "feature_code": "chat",
        "quantity_minor": "60",
        "meters": [{"meter_code": "chat", "quantity_minor": "60", "unit": "call"}],
    }
    document = good(signed.post("gate/commits", commit), wire.CommitEnvelope)

    assert (document["data"]["amount_xusd"], document["data"]["cost_xusd"]) == (
        "600",
        "240",
    )
    assert document["data"]["lines"][0]["rating_status"] == "priced"
    assert "hints" not in document


def test_the_older_name_of_a_lease_is_understood(priced, signed):
    lease = signed.post(
        "gate/authorize", {"feature_code": "chat", "lease": "job/7"}
    ).json()["data"]["lease"]
    assert lease == "job/7"

    good(
        signed.post(
            "gate/commits",
            {"lease_token": lease, "feature_code": "chat", "quantity_minor": 1},
        ),
        wire.CommitEnvelope,
    )
    ended = signed.post("gate/cancel", {"lease_token": lease}).json()["data"]
    assert ended == {"cancelled": False, "released_cap": "0"}


def test_cancel_tells_what_it_gave_back_and_says_so_again(priced, signed):
    lease = signed.post(
        "gate/authorize", {"feature_code": "chat", "estimated_quantity_minor": "75"}
    ).json()["data"]["lease"]

    first = signed.post("gate/cancel", {"lease": lease}, key="k")
    again = signed.post("gate/cancel", {"lease": lease}, key="k")

    assert first.json()["data"] == {"cancelled": True, "released_cap": "75"}
    assert again.content == first.content
    bad(signed.post("gate/cancel", {"lease": "lease.none"}), 422, "RESOURCE.NOT_FOUND")


def test_a_repeat_has_the_same_data_and_hints(priced, signed):
    priced.rate(2, name="tight")
    body = {"feature_code": "chat", "estimated_quantity_minor": "75"}

    first, again = (
        signed.post("gate/authorize", body, key="k").json() for _ in range(2)
    )

    assert first["hints"][0]["type"] == "rate.limit"
    assert {k: v for k, v in first.items() if k != "trace_id"} == {
        k: v for k, v in again.items() if k != "trace_id"
    }
    document = bad(
        signed.post("gate/authorize", {"feature_code": "chat"}, key="k"),
        409,
        "WRITE.INVALID_PAYLOAD",
    )
    assert document["error"]["type"] == "conflict"


def test_denials_tell_code_sentence_hints_and_meta(priced, signed):
    document = bad(
        signed.post(
            "gate/authorize",
            {"feature_code": "chat", "estimated_quantity_minor": "501"},
        ),
        402,
        "QUOTA.EXHAUSTED",
    )

    assert "501 asked" in document["message"]
    assert document["hints"] == [{"type": "quota.remaining", "max_quantity_minor": 500}]
    assert document["meta"] == {
        "status": 402,
        "as_of": document["meta"]["as_of"],
        "resource_type": "feature",
        "feature_code": "chat",
        "feature_family_code": "ai",
        "reason": "quota_exhausted",
    }
    assert document["error"] == {
        "type": "insufficient_budget",
        "details": document["message"],
    }


def test_a_rate_denial_says_when_to_come_back(gate, signed):
    gate.feature()
    gate.rate(1)
    signed.post("gate/authorize", {"feature_code": "chat"})

    response = signed.post("gate/authorize", {"feature_code": "chat"})

    document = bad(response, 429, "LIMIT.RATE_EXCEEDED")
    assert (
        int(response["Retry-After"])
        == document["error"]["retry_after"]
        == document["hints"][0]["seconds"]
    )


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("gate/authorize", {}, "feature_code"),
        ("gate/authorize", {"feature_code": "a b"}, "feature_code"),
        (
            "gate/authorize",
            {"feature_code": "chat", "estimated_quantity_minor": "-1"},
            "estimated_quantity_minor",
        ),
        (
            "gate/authorize",
            {"feature_code": "chat", "estimated_quantity_minor": "1.5"},
            "estimated_quantity_minor",
        ),
        (
            "gate/authorize",
            {"feature_code": "chat", "estimated_quantity_minor": str(2**63)},
            "estimated_quantity_minor",
        ),
        ("gate/authorize", {"feature_code": "chat", "lease": " "}, "lease"),
        ("gate/authorize", {"feature_code": "chat", "lease": "a\nb"}, "lease"),
        ("gate/authorize", {"feature_code": "chat", "lease": "x" * 256}, "lease"),
        ("gate/authorize", {"feature_code": "chat", "quota": 1}, "quota"),
        ("gate/preflight", {"feature_code": "chat", "lease": "mine"}, "lease"),
        ("gate/commits", {"feature_code": "chat", "quantity_minor": "1"}, "lease"),
        (
            "gate/commits",
            {"lease": "l", "feature_code": "chat", "quantity_minor": "0"},
            "quantity_minor",
        ),
        (
            "gate/commits",
            {
                "lease": "l",
                "feature_code": "chat",
                "quantity_minor": "1",
                "meters": [{"meter_code": "chat", "quantity_minor": "-1"}],
            },
            "meters.0.quantity_minor",
        ),
        ("gate/cancel", {}, "lease"),
    ],
)
def test_what_is_malformed_names_its_field(priced, signed, path, body, field):
    document = bad(signed.post(path, body), 422, "VALIDATION.INVALID_INPUT")

    assert document["meta"]["field"] == field


def test_a_budget_is_unknown_as_yet(priced, signed):
    document = bad(
        signed.post("gate/authorize", {"feature_code": "chat", "budget": "b-1"}),
        422,
        "RESOURCE.NOT_FOUND",
    )

    assert document["message"] == "there is no budget b-1."


def test_a_call_names_its_user(priced, api):
    for client in (api, api.bound(principal_id="acme")):
        assert (
            client.post("gate/authorize", {"feature_code": "chat"}).status_code == 401
        )


def test_a_runtime_key_suffices_and_manages_nothing(priced, at, by):
    key = create_service_key(realm=priced.realm, scopes=[Scope.RUNTIME], at=at, by=by)
    client = SignedClient(priced.realm, key, principal_id="acme", user_id="u-1")

    assert client.post("gate/authorize", {"feature_code": "chat"}).status_code == 200
    assert client.get("gate/policies").status_code == 403


# Preflight


def test_preflight_answers_the_official_client(priced, signed):
    before = row_counts()

    admitted = signed.post(
        "gate/preflight", {"feature_code": "chat", "estimated_quantity_minor": "500"}
    )
    denied = signed.post(
        "gate/preflight", {"feature_code": "chat", "estimated_quantity_minor": "501"}
    )
    unknown = signed.post("gate/preflight", {"feature_code": "other"})

    assert isinstance(
        parse_gate_preflight_result(admitted.status_code, admitted.json()),
        GatePreflightSuccess,
    )
    for response in (denied, unknown):
        error = parse_gate_preflight_result(response.status_code, response.json())
        assert isinstance(error, GatePreflightError)
        wire.PreflightDecisionErrorEnvelope.model_validate(response.json())
    assert (denied.status_code, unknown.status_code) == (402, 422)
    assert row_counts() == before


def test_preflight_denies_as_authorize_does(priced, signed):
    for body in (
        {"feature_code": "chat", "estimated_quantity_minor": "501"},
        {"feature_code": "other"},
        {"feature_code": "chat", "budget": "b"},
    ):
        said, done = (
            signed.post("gate/preflight", body),
            signed.post("gate/authorize", body),
        )
        assert (said.status_code, said.json()["code"], said.json()["message"]) == (
            done.status_code,
            done.json()["code"],
            done.json()["message"],
        )


# Limits


def test_limits_list_what_the_user_is_entitled_to(priced, signed):
    priced.feature("video", family="media")
    signed.post(
        "gate/authorize", {"feature_code": "chat", "estimated_quantity_minor": "75"}
    )

    plain = good(signed.get("gate/limits"), wire.FeatureLimitListEnvelope)["data"]
    one = good(
        signed.get("gate/limits", feature_code="chat", expand="quotas,rates"),
        wire.FeatureLimitListEnvelope,
    )["data"]

    assert plain == [
        {
            "feature_code": "chat",
            "feature_family_code": "ai",
            "unit": "unit",
            "meters": ["chat"],
        },
        {
            "feature_code": "video",
            "feature_family_code": "media",
            "unit": "unit",
            "meters": ["video"],
        },
    ]
    window = one[0]["quotas"][0]
    assert (window["limit_minor"], window["used_minor"], window["reserved_minor"]) == (
        "500",
        "0",
        "75",
    )
    assert (one[0]["rates"][0]["limit_minor"], one[0]["rates"][0]["used_minor"]) == (
        "100",
        "1",
    )
    assert [
        each["feature_code"]
        for each in signed.get("gate/limits", feature_family_code="media").json()[
            "data"
        ]
    ] == ["video"]


def test_an_unlimited_quota_is_minus_one(gate, signed):
    gate.feature()

    assert (
        signed.get("gate/limits", expand="quotas").json()["data"][0]["quotas"][0][
            "limit_minor"
        ]
        == "-1"
    )


def test_without_entitlement_the_lists_are_empty(priced, signed):
    from billing.models import PlanEntitlement
    from config.tenancy.history import auditing

    with auditing(priced.by, at=priced.at):
        PlanEntitlement.objects.filter(realm=priced.realm).delete()

    assert signed.get("gate/limits").json()["data"] == []
    assert signed.get("gate/meters").json()["data"] == []


def test_meters_show_price_limits_and_coverage(priced, signed):
    everything = "expand[]=limits&expand[]=pricing&expand[]=coverage"
    data = good(signed.get(f"gate/meters?{everything}"), wire.MeterLimitListEnvelope)[
        "data"
    ]

    meter = data[0]
    assert (meter["meter_code"], meter["features"], meter["feature_family_codes"]) == (
        "chat",
        ["chat"],
        ["ai"],
    )
    assert meter["pricing"]["unit_price_xusd"] == "10"
    assert meter["coverage"] | {"as_of": None} == {
        "basis": "xusd",
        "balance_xusd": "10000",
        "balance_limited": True,
        "max_quantity_minor_estimated": "1000",
        "optimistic_quantity_minor": "1000",
        "advisory": True,
        "as_of": None,
    }
    assert len(meter["quotas"]) == len(meter["rates"]) == 1


def test_a_free_price_is_not_limited_by_balance(gate, signed):
    gate.feature(price=0)

    coverage = good(
        signed.get("gate/meters", expand="coverage"), wire.MeterLimitListEnvelope
    )["data"][0]["coverage"]

    assert (coverage["balance_limited"], coverage["max_quantity_minor_estimated"]) == (
        False,
        None,
    )


def test_an_unpriced_meter_has_no_price_to_show(gate, signed):
    gate.feature()

    assert set(
        signed.get("gate/meters", expand="pricing,coverage").json()["data"][0]
    ) == {"meter_code", "unit", "features", "feature_family_codes"}


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("expand=nothing", "VALIDATION.INVALID_INPUT"),
        ("coverage_basis=budget", "VALIDATION.INVALID_INPUT"),
        ("coverage_basis=budget&coverage_budget_id=b", "RESOURCE.NOT_FOUND"),
        ("nothing=1", "VALIDATION.INVALID_INPUT"),
    ],
)
def test_bad_meter_queries_are_refused(gate, signed, query, code):
    bad(signed.get(f"gate/meters?{query}"), 422, code)


def test_the_shown_fingerprint_is_the_etag_of_a_commit(priced, signed):
    etag = signed.get("gate/meters", expand="pricing").json()["data"][0]["pricing"][
        "fingerprint"
    ]
    lease = signed.post("gate/authorize", {"feature_code": "chat"}).json()["data"][
        "lease"
    ]
    meters = [
        {"meter_code": "chat", "quantity_minor": "1", "client_pricing_etag": etag}
    ]

    document = good(
        signed.post(
            "gate/commits",
            {
                "lease": lease,
                "feature_code": "chat",
                "quantity_minor": "1",
                "meters": meters,
            },
        ),
        wire.CommitEnvelope,
    )

    assert "hints" not in document
    assert document["data"]["lines"][0]["rate_identity"] == etag


@pytest.mark.parametrize(
    "path",
    ["gate/limits?expand=quotas,rates", "gate/meters?expand=limits,pricing,coverage"],
)
def test_a_list_costs_the_same_with_more_features(
    gate, signed, django_assert_max_num_queries, path
):
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    counts = []
    for codes in (["a"], ["b", "c"]):
        for code in codes:
            gate.feature(code, price=1)
            gate.quota(5, feature=code)
            signed.post("gate/authorize", {"feature_code": code})
        with CaptureQueriesContext(
            connection,
        ) as queries:
            assert signed.get(path).status_code == 200
        counts.append(len(queries))

    assert counts[0] == counts[1]


# Bundles and policies


def test_bundles_are_created_changed_read_and_deleted(gate, api):
    made = good(
        api.post("gate/policy-bundles", {"bundle_key": "Pro", "name": "Pro"}),
        mgt.GatePolicyBundleEnvelope,
        201,
    )["data"]
    again = good(
        api.post("gate/policy-bundles", {"bundle_key": "pro", "metadata": {"note": 1}}),
        mgt.GatePolicyBundleEnvelope,
    )["data"]
    address = f"gate/policy-bundles/{made['bundle_id']}"

    assert (made["bundle_key"], made["status"], again["name"], again["metadata"]) == (
        "pro",
        "active",
        "Pro",
        {"note": 1},
    )
    changed = good(
        api.patch(address, {"status": "disabled"}), mgt.GatePolicyBundleEnvelope
    )["data"]
    assert (changed["status"], changed["name"]) == ("disabled", "Pro")
    assert good(api.get(address), mgt.GatePolicyBundleEnvelope)["data"] == changed
    assert [
        b["bundle_key"]
        for b in good(api.get("gate/policy-bundles"), mgt.GatePolicyBundleListEnvelope)[
            "data"
        ]["items"]
    ] == ["__default_bundle__", "pro"]
    assert [
        b["bundle_key"]
        for b in api.get("gate/policy-bundles", status="disabled").json()["data"][
            "items"
        ]
    ] == ["pro"]
    assert good(api.delete(address), mgt.GatePolicyBundleDeleteEnvelope)["data"] == {
        "deleted": True
    }
    bad(api.get(address), 404, "RESOURCE.NOT_FOUND")


def test_a_bundle_in_use_stays(gate, api):
    gate.plan("pro", bundle="pro")
    bundle = gate.bundle("pro")

    for refused in (bundle, gate.default_bundle()):
        document = bad(api.delete(f"gate/policy-bundles/{refused.pk}"), 409, "CONFLICT")
        assert refused.bundle_key in document["message"]


def test_a_bundle_that_an_assignment_names_stays(gate, api):
    from billing.models import PlanAssignment
    from billing.services.assignments import change_assignment

    gate.plan("plain")
    bundle = gate.bundle("special")
    row = PlanAssignment.objects.get(realm=gate.realm, plan__plan_code="plain")
    change_assignment(
        assignment=row,
        changes={"metadata": {"gate_bundle_key": "special"}},
        at=gate.at,
        by=gate.by,
    )

    bad(api.delete(f"gate/policy-bundles/{bundle.pk}"), 409, "CONFLICT")


QUOTA = {
    "bundle_key": "__default_bundle__",
    "feature_code": "Chat",
    "kind": "quota",
    "unit": "call",
    "window_sec": 86400,
    "limit_minor": "500",
}
RATE = {
    "bundle_key": "__default_bundle__",
    "feature_code": "chat",
    "kind": "rate",
    "unit": "request",
    "window_sec": 60,
    "limit_count": "10",
}
SEATS = {
    "bundle_key": "__default_bundle__",
    "feature_code": "chat",
    "kind": "seats",
    "unit": "seat",
    "window_sec": 0,
    "limit_count": "-1",
}


def test_policies_are_created_changed_read_and_deleted(gate, api):
    made = good(api.post("gate/policies", QUOTA), mgt.GatePolicyEnvelope, 201)["data"]
    address = f"gate/policies/{made['policy_id']}"

    assert (
        made["feature_code"],
        made["limit_minor"],
        made["status"],
        made["subject_scope"],
        made["enforcement_mode"],
    ) == ("chat", "500", "assignable", "user", "reserve")
    assert "limit_count" not in made
    assert (
        made["name"] == "chat quota of call per 86400 s and user (__default_bundle__)"
    )
    changed = good(
        api.patch(
            address,
            {"limit_minor": "-1", "enforcement_mode": "optimistic", "name": "mine"},
        ),
        mgt.GatePolicyEnvelope,
    )["data"]
    assert (changed["limit_minor"], changed["enforcement_mode"], changed["name"]) == (
        "-1",
        "optimistic",
        "mine",
    )
    assert good(api.get(address), mgt.GatePolicyEnvelope)["data"] == changed
    assert good(api.delete(address), mgt.GatePolicyDeleteEnvelope)["data"] == {
        "deleted": True
    }
    bad(api.get(address), 404, "RESOURCE.NOT_FOUND")


def test_policies_are_listed_and_found(gate, api):
    other = gate.bundle("pro")
    for body in (
        QUOTA,
        RATE,
        SEATS,
        {**QUOTA, "bundle_key": "pro", "bundle_id": str(other.pk)},
    ):
        assert api.post("gate/policies", body).status_code == 201

    def kinds(path, **query):
        return sorted(
            row["kind"] for row in api.get(path, **query).json()["data"]["items"]
        )

    good(api.get("gate/policies", kind="rate"), mgt.GatePolicyListEnvelope)
    assert kinds("gate/policies") == ["quota", "quota", "quota", "rate", "seats"]
    assert kinds("gate/policies", feature_code="chat", kind="quota") == [
        "quota",
        "quota",
    ]
    assert (
        kinds("gate/policies", bundle_key="pro")
        == kinds(f"gate/policy-bundles/{other.pk}/policies")
        == ["quota"]
    )
    bad(api.get("gate/policy-bundles/nothing/policies"), 404, "RESOURCE.NOT_FOUND")


@pytest.mark.parametrize(
    ("changes", "status", "field"),
    [
        ({"limit_minor": None}, 422, "limit_minor"),
        ({"limit_count": "5"}, 422, "limit_count"),
        ({"limit_minor": "-2"}, 422, "limit_minor"),
        ({"window_sec": 0}, 422, "window_sec"),
        ({"window_sec": 2**31}, 422, "window_sec"),
        ({"feature_code": "a b"}, 422, "feature_code"),
        ({"kind": "other"}, 422, "kind"),
        ({"kind": "rate"}, 422, "limit_minor"),
        ({"kind": "seats", "limit_minor": None, "limit_count": "5"}, 422, "unit"),
        (
            {"kind": "rate", "limit_minor": None, "limit_count": "-1"},
            422,
            "limit_count",
        ),
        ({"metadata": {"counter_key": 7}}, 422, "metadata.counter_key"),
        ({"bundle_key": None}, 422, "bundle_key"),
        ({"bundle_key": "nothing"}, 404, None),
        ({"name": "__base_unlimited__"}, 409, "name"),
        ({"status": "default", "feature_code": "*", "unit": "unit"}, 409, "status"),
    ],
)
def test_a_policy_that_does_not_fit_is_refused(gate, api, changes, status, field):
    body = {
        name: value for name, value in {**QUOTA, **changes}.items() if value is not None
    }

    response = api.post("gate/policies", body)

    assert response.status_code == status, response.content
    assert response.json()["meta"].get("field") == field


def test_a_policy_changes_kind_with_its_limit(gate, api):
    address = (
        f"gate/policies/{api.post('gate/policies', QUOTA).json()['data']['policy_id']}"
    )

    bad(api.patch(address, {"kind": "rate"}), 422, "VALIDATION.INVALID_INPUT")
    changed = good(
        api.patch(address, {"kind": "rate", "limit_count": "5"}), mgt.GatePolicyEnvelope
    )["data"]

    assert changed["limit_count"] == "5"
    assert "limit_minor" not in changed


def test_every_change_of_a_policy_is_history(gate, api):
    from gating.models import GatePolicy

    audit = {
        "operator": "ada",
        "reason": "launch",
        "ticket_id": "T-7",
        "effective_at": "2026-03-10T00:00:00Z",
    }
    policy_id = api.post("gate/policies", {**QUOTA, "audit": audit}).json()["data"][
        "policy_id"
    ]
    api.patch(f"gate/policies/{policy_id}", {"limit_minor": "9"})
    api.delete(f"gate/policies/{policy_id}")

    rows = (
        GatePolicy.history.filter(id=policy_id)
        .order_by("history_id")
        .values_list("history_type", "limit_minor", "operator")
    )
    assert [row[:2] for row in rows] == [("+", 500), ("~", 9), ("-", 9)]
    assert rows[0][2] == "ada"


# Other realms


def test_nothing_of_another_realm_is_seen(gate, api, other_realm, at, by):
    from billing.services.accounts import ensure_account
    from tests.gating.gate import Gate

    account = ensure_account(realm=other_realm, principal_id="acme", at=at, by=by)
    theirs = Gate(other_realm, account, None, at, by).of_user("u-1")
    theirs.feature()
    bundle, policy, lease = theirs.bundle("pro"), theirs.quota(5), theirs.lease(1)

    for method, path in (
        ("get", f"gate/policy-bundles/{bundle.pk}"),
        ("delete", f"gate/policy-bundles/{bundle.pk}"),
        ("get", f"gate/policies/{policy.pk}"),
        ("delete", f"gate/policies/{policy.pk}"),
        ("get", f"gate/policy-bundles/{bundle.pk}/policies"),
    ):
        assert getattr(api, method)(path).status_code == 404
    signed = api.bound(principal_id="acme", user_id="u-1")
    for path, body in (
        ("gate/cancel", {"lease": lease}),
        (
            "gate/commits",
            {"lease": lease, "feature_code": "chat", "quantity_minor": "1"},
        ),
        ("gate/authorize", {"feature_code": "chat"}),
    ):
        assert signed.post(path, body).status_code == 422
    assert Lease.objects.get(lease=lease).state == "active"
    assert Rating.objects.filter(realm=gate.realm).count() == 0
