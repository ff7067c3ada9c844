import pytest
from vlunaai.gate_results import (
    GatePreflightError,
    GatePreflightSuccess,
    parse_gate_preflight_result,
)
from vlunaai.generated import gate_models as wire

from config.tenancy.models import Scope
from config.tenancy.services.service_keys import create_service_key
from gating.models import Lease, Rating
from tests.gating.answers import bad, good
from tests.gating.gate import row_counts
from tests.tools.client import SignedClient

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
        "decision_id",
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
        "decision_id": document["meta"]["decision_id"],
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


def test_an_unknown_budget_is_told_as_the_client_knows_it(priced, signed):
    document = bad(
        signed.post("gate/authorize", {"feature_code": "chat", "budget": "b-1"}),
        422,
        "RESOURCE.NOT_FOUND",
    )

    assert document["message"] == "there is no budget b-1."
    assert document["meta"]["reason"] == "budget_not_found"


def test_a_budget_that_is_used_up_is_told_as_the_client_knows_it(priced, signed):
    budget = priced.budget(749)

    document = bad(
        signed.post(
            "gate/authorize",
            {
                "feature_code": "chat",
                "estimated_quantity_minor": "75",
                "budget": "trip",
            },
        ),
        402,
        "BUDGET.EXHAUSTED",
    )

    assert document["error"]["type"] == "insufficient_budget"
    assert document["hints"] == [
        {"type": "budget.shortfall", "budget_id": str(budget.pk), "shortfall_xusd": 1}
    ]


def test_a_commit_tells_what_its_budget_consumed(priced, signed):
    budget = priced.budget(1000)
    asked = {"feature_code": "chat", "budget": "trip"}
    admitted = good(signed.post("gate/authorize", asked), wire.AuthorizeEnvelope)

    document = good(
        signed.post(
            "gate/commits",
            {
                "lease": admitted["data"]["lease"],
                "feature_code": "chat",
                "quantity_minor": "60",
            },
        ),
        wire.CommitEnvelope,
    )

    data = wire.CommitEnvelope.model_validate(document).data
    assert admitted["data"]["budget_id"] == data.budget_id == str(budget.pk)
    assert (data.budget_consumed_delta_xusd, data.budget_remaining_xusd) == (
        "600",
        "400",
    )
    assert [hint["type"] for hint in document["hints"]] == ["budget.low_headroom"]


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
