"""Many requests of one user in one call."""

import pytest
from vlunaai.generated import gate_models as wire

from billing.services.users import change_user
from gating.models import Lease, Rating


@pytest.fixture
def priced(gate):
    gate.feature(price=10)
    gate.quota(500)
    gate.credit(100_000)
    return gate


def ask(key, estimate=None, **given):
    item = {"idempotency_key": key, "feature_code": "chat", **given}
    return item | ({"estimated_quantity_minor": str(estimate)} if estimate else {})


def use(key, lease, quantity, **given):
    return {
        "idempotency_key": key,
        "lease": lease,
        "feature_code": "chat",
        "quantity_minor": str(quantity),
        **given,
    }


def authorize(signed, *items):
    response = signed.post("gate/authorize/batch", {"items": list(items)})
    assert response.status_code == 200, response.content
    return response.json()["data"]


def commit(signed, *items):
    response = signed.post("gate/commits/batch", {"items": list(items)})
    assert response.status_code == 200, response.content
    wire.BatchCommitEnvelope.model_validate(response.json())
    return response.json()["data"]


def leases(signed, count, estimate):
    """Leases as of now, which is when the API commits."""
    data = authorize(signed, *(ask(f"of-{n}", estimate) for n in range(count)))
    return [item["authorization"]["lease"] for item in data["items"]]


def statuses(data):
    return [item["status"] for item in data["items"]]


def test_items_are_decided_in_their_order(priced, signed):
    data = authorize(signed, *(ask(f"k-{n}", 200) for n in range(3)), ask("small", 100))

    assert statuses(data) == ["admitted", "admitted", "denied", "admitted"]
    assert (data["admitted_count"], data["failed_count"]) == (3, 1)
    assert data["items"][2]["error"]["code"] == "QUOTA.EXHAUSTED"
    assert data["items"][2]["error"]["hints"][0]["max_quantity_minor"] == 100
    assert priced.used() == (0, 500)
    assert [row.reason for row in priced.denials()] == ["quota_exhausted"]


@pytest.mark.parametrize(
    ("feature", "status"), [("draw", "admitted"), ("ghost", "denied")]
)
def test_items_beside_one_that_must_be_looked_up_are_told_once(
    priced, signed, feature, status
):
    priced.feature("draw")
    assert statuses(authorize(signed, ask("before", 1))) == ["admitted"]

    data = authorize(signed, ask("k", 1), ask("other", 1, feature_code=feature))

    assert statuses(data) == ["admitted", status]


def test_an_item_is_answered_as_it_would_be_alone(priced, signed):
    batch = authorize(signed, ask("k", 75, lease="mine"))["items"][0]
    alone = signed.post(
        "gate/authorize",
        {"feature_code": "chat", "estimated_quantity_minor": "75", "lease": "mine"},
        key="k",
    ).json()

    assert batch["authorization"] == alone["data"]
    assert priced.used() == (0, 75)


def test_a_batch_sent_again_repeats_its_answers(priced, signed):
    items = [ask(f"k-{n}", 75) for n in range(10)]

    first, again = authorize(signed, *items), authorize(signed, *items)

    assert statuses(first) == ["admitted"] * 6 + ["denied"] * 4
    assert statuses(again) == ["duplicate"] * 6 + ["denied"] * 4
    assert [item.get("authorization") for item in again["items"]] == [
        item.get("authorization") for item in first["items"]
    ]
    assert priced.used() == (0, 450)


def test_a_key_twice_in_one_batch_is_one_admission(priced, signed):
    data = authorize(signed, ask("k", 75), ask("k", 75), ask("k", 76), ask("l", 1))

    assert statuses(data) == ["admitted", "duplicate", "failed", "admitted"]
    assert data["items"][2]["error"]["code"] == "WRITE.INVALID_PAYLOAD"
    assert priced.used() == (0, 76)
    assert Lease.objects.filter(realm=priced.realm).count() == 2


def test_an_invalid_item_does_not_stop_the_others(priced, signed):
    data = authorize(
        signed,
        ask("a", 1),
        {"idempotency_key": "b"},
        ask("c", 1, estimated="1"),
        ask("d", 1) | {"feature_code": "unheard-of"},
        ask("e", 1),
    )

    assert statuses(data) == ["admitted", "invalid", "invalid", "denied", "admitted"]
    assert data["items"][1]["error"]["field"] == "feature_code"


@pytest.mark.parametrize("items", [[], [{}] * 101, "no", [1]])
def test_a_batch_has_1_to_100_objects(signed, priced, items):
    for path in ("gate/authorize/batch", "gate/commits/batch"):
        response = signed.post(path, {"items": items})
        assert response.status_code == 422
        assert response.json()["meta"]["field"].startswith("items")


def test_commits_of_a_batch_are_rated_counted_and_paid(priced, signed):
    held = leases(signed, 4, 100)
    items = [use(f"c-{n}", lease, 60) for n, lease in enumerate(held)]

    data = commit(signed, *items)

    assert statuses(data) == ["committed"] * 4
    assert data["items"][0]["commit"]["amount_xusd"] == "600"
    assert priced.used() == (240, 0)
    assert priced.balance() == (100_000 - 2400, 0, 2400)
    again = commit(signed, *items)
    assert statuses(again) == ["duplicate"] * 4
    assert [item["commit"] for item in again["items"]] == [
        item["commit"] for item in data["items"]
    ]
    assert Rating.objects.filter(realm=priced.realm).count() == 4


def test_a_lease_takes_one_commit_in_a_batch_too(priced, signed):
    (lease,) = leases(signed, 1, 100)

    data = commit(signed, use("a", lease, 60), use("b", lease, 30), use("c", "none", 1))

    assert statuses(data) == ["committed", "committed", "invalid"]
    told = [item["commit"]["application_status"] for item in data["items"][:2]]
    assert told == ["applied", "quarantined"]
    assert priced.used() == (60, 0)


def test_a_rejected_item_is_evaluated_again(priced, signed):
    assert statuses(commit(signed, use("a", "mine", 1))) == ["invalid"]
    authorize(signed, ask("of", 10, lease="mine"))

    assert statuses(commit(signed, use("a", "mine", 1))) == ["committed"]


def test_remainders_are_carried_from_item_to_item(gate, signed):
    gate.feature(price=1, per=3)
    gate.credit(1000)
    held = leases(signed, 6, 1)

    data = commit(signed, *(use(f"c-{n}", lease, 1) for n, lease in enumerate(held)))

    assert [item["commit"]["amount_xusd"] for item in data["items"]] == list("001001")


def free(gate, code):
    gate.feature(code, price=10)
    gate.quota(500, feature=code)


@pytest.mark.parametrize("first", ["chat", "video"])
def test_order_is_kept_where_only_some_were_asked_for_lately(gate, signed, first):
    """The balance has enough for one: the first has it, whichever is known already."""
    for code in ("chat", "video"):
        free(gate, code)
    gate.credit(60)
    signed.post("gate/preflight", {"feature_code": "chat"})
    other = {"chat": "video", "video": "chat"}[first]

    data = authorize(
        signed,
        ask("a", 5, feature_code=first),
        ask("b", 5, feature_code=other),
    )

    assert statuses(data) == ["admitted", "denied"]
    assert (Lease.objects.get(user=gate.user).feature_code, gate.balance()) == (
        first,
        (10, 50, 0),
    )


def test_a_refused_item_says_what_it_would_alone(priced, signed):
    (told,) = authorize(signed, ask("k", 501))["items"]
    alone = signed.post(
        "gate/authorize", {"feature_code": "chat", "estimated_quantity_minor": "501"}
    ).json()

    error = told["error"]
    assert (error["type"], error["status"]) == (alone["error"]["type"], 402)
    assert (error["code"], error["message"]) == (alone["code"], alone["message"])
    assert error["reason"] == alone["meta"]["reason"]
    assert error["decision_id"] == alone["meta"]["decision_id"]


@pytest.mark.parametrize("verb", ["authorize", "commits"])
def test_nothing_but_faults_is_not_told_to_one_who_may_not_ask(priced, signed, verb):
    known = signed.post(f"gate/{verb}/batch", {"items": [{}]})
    change_user(user=priced.user, status="disabled", at=priced.at, by=priced.by)
    response = signed.post(f"gate/{verb}/batch", {"items": [{}]})

    assert (known.status_code, statuses(known.json()["data"])) == (200, ["invalid"])
    assert (response.status_code, response.json()["code"]) == (
        403,
        "AUTH.BILLING_USER_DISABLED",
    )
