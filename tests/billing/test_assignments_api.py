"""Plan assignments over HTTP, read back with the official client's models."""

import pytest
from vlunaai.generated import billing_mgt_models as wire

pytestmark = pytest.mark.django_db


@pytest.fixture
def plan(api):
    answer = api.post(
        "billing-plans",
        {"plan_code": "pro", "name": "Pro", "kind": "base", "priority": 10},
    )
    assert answer.status_code == 201, answer.content
    return answer.json()["data"]


def body(account, plan, **changes):
    return {
        "billing_account_id": str(account.pk),
        "assignment_scope": "account",
        "plan_id": plan["plan_id"],
        "source_kind": "ops.manual",
        "source_ref": "contract-1",
        "window_start": "2026-03-01T00:00:00Z",
        **changes,
    }


def test_create_then_same_identity_merges(api, account, plan):
    first = api.post(
        "billing-plan-assignments",
        body(account, plan, window_end="2026-06-01T00:00:00Z"),
    )
    again = api.post(
        "billing-plan-assignments",
        body(
            account,
            plan,
            window_start="2026-02-01T00:00:00Z",
            window_end="2026-04-01T00:00:00Z",
        ),
    )

    assert first.status_code == 201, first.content
    assert again.status_code == 201
    made = wire.BillingPlanAssignmentEnvelope.model_validate(again.json()).data
    assert made.assignment_id == first.json()["data"]["assignment_id"]
    assert again.json()["meta"]["outcome"] == "merged"
    assert again.json()["data"]["window_start"] == "2026-02-01T00:00:00.000000Z"
    assert again.json()["data"]["window_end"] == "2026-06-01T00:00:00.000000Z"


def test_same_key_replays_and_other_body_conflicts(api, account, plan):
    first = api.post("billing-plan-assignments", body(account, plan), key="k-1")
    replay = api.post("billing-plan-assignments", body(account, plan), key="k-1")
    other = api.post(
        "billing-plan-assignments", body(account, plan, source_ref="x"), key="k-1"
    )

    assert replay.content == first.content
    assert replay["Idempotency-Replayed"] == "true"
    assert other.status_code == 409
    assert other.json()["code"] == "WRITE.INVALID_PAYLOAD"


def test_reversed_window_fails_on_the_field(api, account, plan):
    answer = api.post(
        "billing-plan-assignments",
        body(account, plan, window_end="2026-02-01T00:00:00Z"),
    )

    assert answer.status_code == 422
    assert answer.json()["meta"]["field"] == "window_end"


def test_billing_state_reads_back(api, account, plan):
    api.post("billing-plan-assignments", body(account, plan))

    answer = api.get(
        f"billing-accounts/{account.pk}/billing-state", as_of="2026-03-02T00:00:00Z"
    )

    assert answer.status_code == 200, answer.content
    state = wire.BillingStateEnvelope.model_validate(answer.json()).data
    assert state.plans.base.plan_code == "pro"


def test_assignment_to_unknown_bundle_is_refused_and_undone(api, account, plan):
    answer = api.post(
        "billing-plan-assignments",
        body(account, plan, metadata={"gate_bundle_key": "nowhere"}),
    )

    assert answer.status_code == 422
    assert answer.json()["meta"]["field"] == "metadata.gate_bundle_key"
    assert not account.assignments.filter(source_ref="contract-1").exists()


def test_assignment_bundle_outranks_the_plans(api, account, plan):
    api.post("gate/policy-bundles", {"bundle_key": "vip", "name": "VIP"})
    api.post(
        "billing-plan-assignments",
        body(account, plan, metadata={"gate_bundle_key": "VIP"}),
    )

    state = api.get(f"billing-accounts/{account.pk}/billing-state").json()["data"]

    assert state["plans"]["base"]["gate_bundle_key"] == "vip"
