import pytest
from vlunaai.generated import billing_mgt_models as mgt

from gating.models import GatePolicy
from tests.gating.answers import bad, good


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


def test_default_bundle_stays_active(gate, api):
    bundle = gate.default_bundle()

    for response in (
        api.patch(f"gate/policy-bundles/{bundle.pk}", {"status": "disabled"}),
        api.post(
            "gate/policy-bundles",
            {"bundle_key": " __DEFAULT_bundle__ ", "status": "disabled"},
        ),
    ):
        document = bad(response, 409, "CONFLICT")
        assert document["meta"]["field"] == "status"
        assert "so it cannot be disabled" in document["message"]
    bundle.refresh_from_db()
    assert bundle.status == "active"
    renamed = api.patch(
        f"gate/policy-bundles/{bundle.pk}", {"name": "Everybody", "status": "active"}
    )
    assert renamed.status_code == 200


def test_policy_of_last_resort_stays(gate, api):
    policy = GatePolicy.objects.get(realm=gate.realm, name="__base_unlimited__")
    address = f"gate/policies/{policy.pk}"

    document = bad(api.delete(address), 409, "CONFLICT")
    assert "it cannot be deleted" in document["message"]
    for change in (
        {"name": "other"},
        {"feature_code": "chat"},
        {"status": "disabled"},
        {"status": "assignable"},
        {"kind": "rate", "limit_count": "5"},
    ):
        document = bad(api.patch(address, change), 409, "CONFLICT")
        assert document["meta"]["field"] == next(iter(change))
    for metadata in ({"feature_code": "chat"}, {"params": {"feature_code": "chat"}}):
        document = bad(api.patch(address, {"metadata": metadata}), 409, "CONFLICT")
        assert document["meta"]["field"] == "metadata.feature_code"
    assert GatePolicy.objects.get(pk=policy.pk).updated_at == policy.updated_at
    limited = {"limit_minor": "5", "name": "__base_unlimited__", "status": "default"}
    assert api.patch(address, limited).json()["data"]["limit_minor"] == "5"
