"""One effect per key, and the first answer for good: every operation, every change since.

A key belongs to a realm, an account, a user and an operation. Over HTTP, to the byte.
"""

from datetime import timedelta

import pytest
from django.db.models import Sum

from billing.models import PlanAssignment, PlanEntitlement
from billing.services.assignment_changes import end_assignment
from billing.services.entitlements import remove_entitlement
from billing.services.users import change_user
from catalog.models import Feature
from catalog.services.features import change_feature, delete_feature
from config.kernel.clock import now
from config.tenancy.services.service_keys import create_service_key
from gating.models import Lease, Rating
from gating.services.policies import change_policy
from tests.gating.gate import Gate, row_counts
from tests.tools.client import SignedClient
from tests.tools.purse import purse

OPERATIONS = ("authorize", "commit", "authorize_batch", "commit_batch", "cancel")
operations = pytest.mark.parametrize("operation", OPERATIONS)


class Caller:
    """A user who calls each operation of the gate, on a lease made before."""

    def __init__(self, gate, client):
        user = gate.user.business_user_id
        names = {"principal_id": gate.account.billing_principal_id, "user_id": user}
        self.gate, self.client = gate, client.bound(**names)
        made = self.post("authorize", self.asking(10), "made before")
        self.lease = made.json()["data"]["lease"]

    def post(self, path, document, key):
        return self.client.post(f"gate/{path}", document, key=key)

    def asking(self, quantity):
        return {"feature_code": "chat", "estimated_quantity_minor": str(quantity)}

    def using(self, quantity):
        used = {"feature_code": "chat", "quantity_minor": str(quantity)}
        return used | {"lease": self.lease}

    def call(self, operation, key, quantity=10):
        """Call once; return status, and what must be the same another time."""
        if operation == "authorize":
            return self.whole(self.post("authorize", self.asking(quantity), key))
        if operation == "commit":
            return self.whole(self.post("commits", self.using(quantity), key))
        if operation == "cancel":
            lease = self.lease if quantity == 10 else f"{self.lease}-"
            return self.whole(self.post("cancel", {"lease": lease}, key))
        path = {"authorize_batch": "authorize", "commit_batch": "commits"}[operation]
        written = self.asking if path == "authorize" else self.using
        item = written(quantity) | {"idempotency_key": key}
        answer = self.post(f"{path}/batch", {"items": [item]}, None)
        return self.item(answer)

    def whole(self, answer):
        return answer.status_code, answer.content

    def item(self, answer):
        """Return an item's part: `duplicate` is what a batch calls a repeat."""
        if answer.status_code != 200:
            return self.whole(answer)
        (item,) = answer.json()["data"]["items"]
        if item["status"] == "failed" and item["error"]["type"] == "conflict":
            return 409, item["error"]["code"]
        told = item.get("authorization") or item.get("commit")
        return (200 if told else 400), (told, item.get("hints"), item.get("error"))


@pytest.fixture
def priced(gate):
    """The gate on a plan, with a priced feature, a quota, a rate and some money."""
    gate.feature(price=10)
    gate.quota(100)
    gate.rate(100)
    gate.plan("pro", feature_codes=["chat"])
    gate.credit(200)
    return gate


@pytest.fixture
def caller(priced, api):
    return Caller(priced, api)


def counts(caller):
    """What the gate has of the caller: leases, ratings, credit that is free."""
    user = caller.gate.user
    leases = Lease.objects.filter(user=user).count()
    return leases, Rating.objects.filter(user=user).count(), left(caller.gate)


# Whose a key is


@operations
@pytest.mark.parametrize("other", ["user", "account", "realm"])
def test_the_key_of_another_is_another_key(
    caller, api, other_realm, at, by, operation, other
):
    gate, client = caller.gate, api
    if other == "user":
        theirs = gate.of_user("u-2")
    elif other == "account":
        theirs = gate.of_principal("globex")
    else:
        theirs = Gate(other_realm, gate.account, gate.user, at, by).of_principal("acme")
        theirs.feature(price=10)
        theirs.quota(100)
        client = SignedClient(
            other_realm, create_service_key(realm=other_realm, at=at, by=by)
        )
    theirs.credit(200)
    them = Caller(theirs, client)

    mine, its = caller.call(operation, "k"), them.call(operation, "k", quantity=10)

    assert mine[0] == its[0] == 200
    if operation != "cancel":
        assert mine[1] != its[1]
    assert counts(caller) == counts(them)
    assert caller.call(operation, "k") == mine
    assert them.call(operation, "k") == its


def test_the_key_of_another_operation_is_another_key(caller):
    assert [
        caller.call(operation, "k")[0]
        for operation in ("authorize", "commit", "cancel")
    ] == [200, 200, 200]
    assert counts(caller)[:2] == (2, 1)


@pytest.mark.parametrize(
    ("alone", "batch"),
    [("authorize", "authorize_batch"), ("commit", "commit_batch")],
)
def test_a_key_is_the_same_alone_and_in_a_batch(caller, alone, batch):
    status, content = caller.call(alone, "k")
    before = row_counts()

    assert caller.call(batch, "k")[0] == status == 200
    assert caller.call(batch, "k", quantity=9) == (409, "WRITE.INVALID_PAYLOAD")
    assert caller.call(alone, "k") == (200, content)
    assert row_counts() == before


@operations
def test_a_key_with_another_body_is_refused_and_stays(caller, operation):
    first = caller.call(operation, "k")
    before = row_counts()

    assert caller.call(operation, "k", quantity=9)[0] == 409
    assert row_counts() == before
    assert caller.call(operation, "k") == first


# What has changed since


def left(gate):
    return purse(gate.user).available_xusd


def leave_nothing(gate):
    """Use up the balance, and lower quota and rate to 0."""
    if affordable := left(gate) // 10:
        gate.commit(gate.lease(affordable), affordable)
    assert left(gate) == 0
    for policy in gate.default_bundle().policies.exclude(feature_code="*"):
        limit = "limit_minor" if policy.kind == "quota" else "limit_count"
        change_policy(policy=policy, at=gate.at, by=gate.by, **{limit: 0})


def end_the_plan(gate):
    held = PlanAssignment.objects.get(account=gate.account, source_kind="ops.manual")
    moment = now()
    end_assignment(assignment=held, end_at=moment, at=moment, by=gate.by)


def change_the_price(gate):
    gate.at_instant(now()).price("chat", 99)


def switch_the_feature_off(gate):
    feature = Feature.objects.get(realm=gate.realm, feature_code="chat")
    change_feature(feature=feature, active=False, at=gate.at, by=gate.by)


def delete_the_feature(gate):
    feature = Feature.objects.get(realm=gate.realm, feature_code="chat")
    for rule in PlanEntitlement.objects.filter(feature=feature):
        remove_entitlement(entitlement=rule, at=gate.at, by=gate.by)
    assert delete_feature(feature=feature, at=gate.at, by=gate.by)


CHANGES = (
    leave_nothing,
    end_the_plan,
    change_the_price,
    switch_the_feature_off,
    delete_the_feature,
)


@operations
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_success_stays_the_same_success(caller, operation, change):
    first = caller.call(operation, "k")
    change(caller.gate)
    before = counts(caller)

    assert first[0] == 200
    assert caller.call(operation, "k") == first
    assert caller.call(operation, "k", quantity=9)[0] == 409
    assert counts(caller) == before


@operations
def test_a_user_disabled_since_is_refused_and_back_again_has_the_first_answer(
    caller, operation, at, by
):
    """Authorize and commit ask for an active user first; a stored answer does not."""
    first = caller.call(operation, "k")
    before = counts(caller)

    change_user(user=caller.gate.user, status="disabled", at=at, by=by)
    amid = caller.call(operation, "k")
    change_user(user=caller.gate.user, status="active", at=at, by=by)

    assert first[0] == 200
    assert amid == first if operation == "cancel" else amid[0] == 403
    assert caller.call(operation, "k") == first
    assert counts(caller) == before


@pytest.mark.parametrize(
    "shift", [timedelta(days=1), timedelta(hours=12, seconds=61), timedelta(days=400)]
)
def test_a_success_outlives_its_window_and_its_lease(priced, shift):
    used, open_still = priced.lease(1), priced.authorize(1, key="a")
    committed = priced.commit(used, 1, key="c")
    later = priced.at_instant(priced.at + shift)

    for first, again in (
        (open_still, later.authorize(1, key="a")),
        (committed, later.commit(used, 1, key="c")),
    ):
        assert again.replayed
        assert (again.data, list(again.hints)) == (first.data, list(first.hints))
    rated = Rating.objects.filter(user=priced.user)
    assert rated.aggregate(n=Sum("applied_quantity_minor"))["n"] == 1


# What is not kept


@pytest.mark.parametrize("operation", ["authorize", "authorize_batch"])
def test_a_denial_is_decided_anew_for_its_key(caller, operation):
    denied = caller.call(operation, "k", quantity=50)
    caller.gate.credit(1000)

    assert denied[0] != 200
    first = caller.call(operation, "k", quantity=50)
    assert first[0] == 200
    assert caller.call(operation, "k", quantity=50) == first


@pytest.mark.parametrize("operation", ["commit", "commit_batch", "cancel"])
def test_a_refusal_leaves_its_key_free(caller, operation):
    lease, caller.lease = caller.lease, "lease.none"
    refused = caller.call(operation, "k")
    caller.lease = lease

    assert refused[0] in {400, 422}
    assert caller.call(operation, "k")[0] == 200
