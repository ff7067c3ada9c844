"""`/grant-assignments` through HTTP."""

import pytest
from vlunaai.generated import admin_models as wire

from billing.services.accounts import ensure_account
from billing.services.users import ensure_user
from config.kernel.ids import new_id
from config.kernel.windows import Window
from config.tenancy.services.service_keys import create_service_key
from grants.models import GrantAssignment, GrantLot
from grants.services.assignments import GrantIdentity, assign_grant
from tests.billing.answers import invalid, paged, queries_of, read, refusal
from tests.grants.make import make_event_campaign, make_program
from tests.tools.client import SignedClient

WINDOW = "2026-03-01T00:00:00Z"


@pytest.fixture
def program(realm, at, by):
    return make_program(realm, at=at, by=by)


@pytest.fixture
def body(user, program):
    """Return a maker of bodies."""

    def make(**changed):
        return {
            "billing_account_id": str(user.account_id),
            "billing_user_id": str(user.pk),
            "program_id": str(program.pk),
            "source_kind": "ops.manual",
            "window_start": WINDOW,
            "amount_xusd": "900",
            **changed,
        }

    return make


def created(api, document, key=None, status=201):
    answer = api.post("grant-assignments", document, key)
    return read(answer, wire.GrantAssignmentEnvelope, status)


def test_assignment_is_created_and_issued(api, user, program, body):
    data = created(api, body(source_ref="T-1", metadata={"note": "x"}))

    path = f"grant-assignments/{data['assignment_id']}"
    assert read(api.get(path), wire.GrantAssignmentEnvelope) == data
    assert data.pop("created_at") and data.pop("updated_at")
    assert data == {
        "assignment_id": data["assignment_id"],
        "billing_account_id": str(user.account_id),
        "billing_user_id": str(user.pk),
        "program_id": str(program.pk),
        "grant_program_code": "welcome",
        "billing_payment_id": None,
        "billing_plan_assignment_id": None,
        "campaign_id": None,
        "source_kind": "ops.manual",
        "source_kind_exact": "ops.manual",
        "source_ref": "T-1",
        "window_start": "2026-03-01T00:00:00.000000Z",
        "window_end": None,
        "status": "active",
        "amount_xusd": "900",
        "outstanding_application_policy_override": None,
        "metadata": {"note": "x"},
    }
    lot = GrantLot.objects.get(user=user)
    assert (lot.amount_xusd, str(lot.assignment_id)) == (900, data["assignment_id"])


def test_same_reference_is_the_same_assignment(api, user, body):
    first = created(api, body(source_ref="T-1"))
    again = created(api, body(source_ref="T-1"), status=200)
    other = api.post("grant-assignments", body(source_ref="T-1", amount_xusd="901"))

    assert again["assignment_id"] == first["assignment_id"]
    assert refusal(other)[0] == 409
    assert GrantLot.objects.filter(user=user).count() == 1


def test_without_a_reference_the_idempotency_key_is_one(api, user, body):
    first = created(api, body(), key="k-1")
    replayed = created(api, body(), key="k-1")
    other = created(api, body(), key="k-2")

    assert first == replayed
    assert other["assignment_id"] != first["assignment_id"]
    assert GrantAssignment.objects.filter(user=user).count() == 2


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"amount_xusd": "-1"}, "amount_xusd"),
        ({"amount_xusd": None}, "amount_xusd"),
        ({"amount_xusd": str(2**63)}, "amount_xusd"),
        ({"source_kind": "ops.campaign"}, "source_kind"),
        ({"source_ref": " "}, "source_ref"),
        ({"source_ref": "r" * 256}, "source_ref"),
        ({"window_end": WINDOW}, "window_end"),
        ({"window_start": None}, "window_start"),
        (
            {"outstanding_application_policy_override": "x"},
            "outstanding_application_policy_override",
        ),
        (
            {"metadata": {"grant_override": {"priority_override": "x"}}},
            "metadata.grant_override.priority_override",
        ),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_bad_assignment_is_refused(api, body, changed, field):
    assert refusal(api.post("grant-assignments", body(**changed))) == invalid(field)
    assert not GrantAssignment.objects.exists()


@pytest.mark.parametrize(
    "name", ["billing_account_id", "billing_user_id", "program_id"]
)
def test_unknown_ids_are_unknown(api, body, name):
    answer = api.post("grant-assignments", body(**{name: str(new_id())}))

    assert refusal(answer)[:2] == (404, "RESOURCE.NOT_FOUND")


def test_user_of_another_account_is_unknown(api, realm, body, at, by):
    other = ensure_account(realm=realm, principal_id="globex", at=at, by=by)

    answer = api.post("grant-assignments", body(billing_account_id=str(other.pk)))

    assert refusal(answer) == (404, "RESOURCE.NOT_FOUND", "billing_user_id")


def test_inactive_program_binds_nobody(api, realm, body, at, by):
    idle = make_program(realm, "idle", active=False, at=at, by=by)

    answer = api.post("grant-assignments", body(program_id=str(idle.pk)))

    assert refusal(answer)[:2] == (422, "GRANT.PROGRAM_INACTIVE")


def test_patch_changes_what_is_given(api, body):
    path = f"grant-assignments/{created(api, body())['assignment_id']}"

    data = read(
        api.patch(
            path,
            {
                "window_end": "2031-01-01T00:00:00Z",
                "amount_xusd": "5",
                "status": "paused",
                "outstanding_application_policy_override": "apply_to_outstanding",
                "metadata": {"a": 1},
            },
        ),
        wire.GrantAssignmentEnvelope,
    )
    again = read(
        api.patch(
            path, {"window_end": None, "outstanding_application_policy_override": None}
        ),
        wire.GrantAssignmentEnvelope,
    )

    assert data["window_end"] == "2031-01-01T00:00:00.000000Z"
    assert (data["amount_xusd"], data["status"]) == ("5", "paused")
    assert data["outstanding_application_policy_override"] == "apply_to_outstanding"
    assert data["metadata"] == {"a": 1}
    assert again["window_end"] is None
    assert again["outstanding_application_policy_override"] is None


def test_canceled_assignment_ends_now_and_keeps_its_grants(api, user, body):
    path = f"grant-assignments/{created(api, body())['assignment_id']}"

    data = read(api.patch(path, {"status": "canceled"}), wire.GrantAssignmentEnvelope)

    assert data["status"] == "canceled"
    assert data["window_end"] is not None
    assert GrantLot.objects.get(user=user).status == "ready"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"status": "gone"}, "status"),
        ({"status": None}, "status"),
        ({"amount_xusd": "x"}, "amount_xusd"),
        ({"window_end": "2026-01-01T00:00:00Z"}, "window_end"),
        ({"metadata": []}, "metadata"),
        ({"program_id": str(new_id())}, "program_id"),
        ({"window_start": WINDOW}, "window_start"),
    ],
)
def test_bad_change_is_refused(api, body, changes, field):
    path = f"grant-assignments/{created(api, body())['assignment_id']}"

    assert refusal(api.patch(path, changes)) == invalid(field)


def test_list_pages_and_filters(api, realm, user, program, body, at, by):
    second = make_program(realm, "second", at=at, by=by)
    elsewhere = ensure_account(realm=realm, principal_id="globex", at=at, by=by)
    stranger = ensure_user(account=elsewhere, business_user_id="s", at=at, by=by)
    campaign = make_event_campaign(realm, "billing_user.activated", at=at, by=by)
    newcomer = ensure_user(account=elsewhere, business_user_id="n", at=at, by=by)
    a = created(api, body(source_ref="a", window_end="2030-01-01T00:00:00Z"))
    b = created(api, body(source_ref="b", program_id=str(second.pk)))
    c = created(
        api,
        body(
            source_ref="c",
            billing_account_id=str(elsewhere.pk),
            billing_user_id=str(stranger.pk),
        ),
    )
    api.patch(f"grant-assignments/{b['assignment_id']}", {"status": "paused"})
    d = GrantAssignment.objects.get(user=newcomer)
    names = {
        a["assignment_id"]: "a",
        b["assignment_id"]: "b",
        c["assignment_id"]: "c",
        str(d.pk): "d",
    }

    def found(**query):
        keys = paged(api, "grant-assignments", "assignment_id", **query)
        return "".join(sorted(names[key] for key in keys))

    assert found() == "abcd"
    assert found(billing_account_id=str(user.account_id)) == "ab"
    assert found(billing_user_id=str(stranger.pk)) == "c"
    assert found(program_id=str(second.pk)) == "b"
    assert found(grant_program_code="Second") == "b"
    assert found(campaign_id=str(campaign.pk)) == "d"
    assert found(status="paused") == "b"
    assert found(source_kind="ops.campaign") == "d"
    assert found(source_kind="billing_payment") == ""
    assert found(source_ref="a") == "a"
    assert found(window_end_before="2030-06-01T00:00:00Z") == "a"
    assert found(window_end_after="2030-06-01T00:00:00Z") == "bcd"
    assert found(billing_user_id="nonsense") == ""
    answer = api.get("grant-assignments?status=active&status=paused")
    assert len(answer.json()["data"]["items"]) == 4
    assert refusal(api.get("grant-assignments", status="x")) == invalid("status.0")


@pytest.mark.parametrize(
    "kind",
    ["provider.subscription", "provider.subscription_item", "provider.one_time",
     "billing_payment", "wallet.cash"],
)  # fmt: skip
def test_what_was_paid_for_is_one_kind_on_the_wire(api, user, program, kind, at, by):
    identity = GrantIdentity(user.account, user, program, kind, "order-1")
    assign_grant(identity=identity, window=Window(at, None), at=at, by=by)

    answer = api.get("grant-assignments", source_kind="billing_payment")
    [data] = read(answer, wire.GrantAssignmentListEnvelope)["items"]

    assert (data["source_kind"], data["source_kind_exact"]) == ("billing_payment", kind)


def test_list_takes_as_many_queries_for_many_as_for_one(api, body):
    created(api, body())
    api.get("grant-assignments")
    one = queries_of(lambda: api.get("grant-assignments"))
    for _ in range(4):
        created(api, body())

    assert queries_of(lambda: api.get("grant-assignments")) == one


def test_limited_key_reaches_its_own_accounts_only(api, realm, user, body, at, by):
    other = ensure_account(realm=realm, principal_id="globex", at=at, by=by)
    mine = created(api, body())
    key = create_service_key(
        realm=realm, allowed_accounts=[str(other.pk)], at=at, by=by
    )
    limited = SignedClient(realm, key)
    forbidden = (403, "AUTH.SERVICE_KEY_ACCOUNT_FORBIDDEN")
    path = f"grant-assignments/{mine['assignment_id']}"

    assert limited.get("grant-assignments").json()["data"]["items"] == []
    assert refusal(limited.get(path))[:2] == forbidden
    assert refusal(limited.patch(path, {"status": "paused"}))[:2] == forbidden
    assert refusal(limited.post("grant-assignments", body()))[:2] == forbidden
