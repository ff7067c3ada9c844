"""Assigning plans over HTTP, and the merge of a repeated commercial identity."""

from datetime import UTC, datetime, timedelta

import pytest

from billing.models import PlanAssignment, PlanAssignmentStatus
from billing.services.accounts import ensure_account
from billing.services.assignments import Identity, assign_plan
from billing.services.users import ensure_user
from config.kernel.errors import Invalid, NotFound
from config.kernel.ids import new_id
from config.kernel.windows import Window
from config.tenancy.models import DomainEvent
from tests.billing.answers import invalid, refusal
from tests.billing.assigning import (
    AUDIT,
    END,
    LIST,
    START,
    assigned,
    body,
    text,
)
from tests.billing.races import race


def test_assignment_is_created_for_a_user(api, account, user, pro):
    answer = api.post(
        LIST,
        body(account, pro, assignment_scope="user", billing_user_id=str(user.pk),
             source_kind="ops.campaign", window_end=text(END), status="paused",
             subscription_item_id=str(new_id()), metadata={"team": 7}),
    )  # fmt: skip

    data = assigned(answer, 201)
    assert answer.json()["meta"] == {"outcome": "created"}
    assert (data["assignment_scope"], data["billing_user_id"]) == ("user", str(user.pk))
    assert (data["source_kind"], data["source_kind_exact"]) == (
        "ops.manual",
        "ops.campaign",
    )
    assert (data["window_start"], data["window_end"], data["status"]) == (
        text(START),
        text(END),
        "paused",
    )
    assert data["metadata"] == {"team": 7}
    assert assigned(api.get(f"{LIST}/{data['assignment_id']}")) == data


@pytest.mark.parametrize(
    ("existing", "incoming", "merged"),
    [
        ((0, 9), (2, 5), (0, 9)),
        ((2, 5), (0, 9), (0, 9)),
        ((2, 5), (3, None), (2, 5)),
        ((2, None), (3, 5), (2, 5)),
        ((2, None), (0, None), (0, None)),
        ((5, None), (0, 3), (0, 3)),
    ],
)
def test_same_identity_merges(api, account, pro, existing, incoming, merged):
    def window(days):
        start, end = (
            None if n is None else text(START + timedelta(days=n)) for n in days
        )
        return {"window_start": start, "window_end": end}

    first = assigned(
        api.post(
            LIST, body(account, pro, **window(existing), metadata={"a": 1, "b": 1})
        ),
        201,
    )
    again = api.post(LIST, body(account, pro, **window(incoming), metadata={"b": 2}))

    data = assigned(again, 201)
    assert again.json()["meta"]["outcome"] == "merged"
    assert {**window(merged), "id": first["assignment_id"], "metadata": {"b": 2}} == {
        "window_start": data["window_start"],
        "window_end": data["window_end"],
        "id": data["assignment_id"],
        "metadata": data["metadata"],
    }


def test_repeating_exactly_changes_nothing(api, account, pro):
    api.post(LIST, body(account, pro))

    again = api.post(LIST, body(account, pro))

    row = PlanAssignment.objects.get(account=account)
    assert again.json()["meta"] == {"outcome": "unchanged"}
    assert row.history.count() == 1
    assert DomainEvent.objects.filter(subject_id=str(row.pk)).count() == 1


def test_repeating_reactivates_and_says_since_when(api, account, pro):
    api.post(LIST, body(account, pro, status="paused"))

    data = assigned(api.post(LIST, body(account, pro, audit=AUDIT)), 201)

    given = PlanAssignmentStatus.objects.filter(
        assignment=data["assignment_id"]
    ).order_by("sequence")
    assert [(row.status, row.effective_at) for row in given] == [
        ("paused", START),
        ("active", datetime(2026, 2, 1, tzinfo=UTC)),
    ]


def test_true_is_not_one(api, account, pro):
    api.post(LIST, body(account, pro, metadata={"beta": 1}))

    data = assigned(api.post(LIST, body(account, pro, metadata={"beta": True})), 201)

    assert PlanAssignment.objects.get(pk=data["assignment_id"]).metadata["beta"] is True


@pytest.mark.parametrize(
    ("changes", "refused"),
    [
        ({"billing_account_id": None}, invalid("billing_account_id")),
        ({"billing_account_id": "acme"}, invalid("billing_account_id")),
        ({"billing_account_id": str(new_id())}, (404, "RESOURCE.NOT_FOUND", None)),
        ({"plan_id": "pro"}, invalid("plan_id")),
        ({"plan_id": str(new_id())}, (404, "RESOURCE.NOT_FOUND", None)),
        ({"assignment_scope": "realm"}, invalid("assignment_scope")),
        ({"assignment_scope": "user"}, invalid("billing_user_id")),
        ({"billing_user_id": str(new_id())}, invalid("billing_user_id")),
        (
            {"assignment_scope": "user", "billing_user_id": str(new_id())},
            (404, "RESOURCE.NOT_FOUND", None),
        ),
        ({"source_kind": "wire"}, invalid("source_kind")),
        ({"source_ref": " "}, invalid("source_ref")),
        ({"source_ref": "x" * 256}, invalid("source_ref")),
        ({"window_start": None}, invalid("window_start")),
        ({"window_start": "2026-01-01"}, invalid("window_start")),
        ({"window_end": text(START)}, invalid("window_end")),
        ({"status": "ended"}, invalid("status")),
        ({"status": None}, invalid("status")),
        ({"metadata": None}, invalid("metadata")),
        (
            {"metadata": {"billing": {"period": {"billing_mode": "free"}}}},
            invalid("metadata.billing.period.billing_mode"),
        ),
        ({"subscription_item_id": "x"}, invalid("subscription_item_id")),
        ({"plan_code": "pro"}, invalid("plan_code")),
    ],
)
def test_bad_assignment_is_refused(api, account, pro, changes, refused):
    answer = api.post(LIST, {**body(account, pro), **changes})

    assert refusal(answer) == refused
    assert not account.assignments.exists()


@pytest.mark.parametrize(
    "name",
    [
        "billing_account_id",
        "plan_id",
        "source_ref",
        "window_start",
        "source_kind",
        "assignment_scope",
    ],
)
def test_missing_field_is_refused(api, account, pro, name):
    document = body(account, pro)
    del document[name]

    assert refusal(api.post(LIST, document)) == invalid(name)


def test_user_of_another_account_is_not_found(api, realm, account, pro, at, by):
    globex = ensure_account(realm=realm, principal_id="globex", at=at, by=by)
    hank = ensure_user(account=globex, business_user_id="hank", at=at, by=by)

    answer = api.post(
        LIST, body(account, pro, assignment_scope="user", billing_user_id=str(hank.pk))
    )

    assert refusal(answer) == (404, "RESOURCE.NOT_FOUND", "billing_user_id")


def test_plan_of_another_realm_is_refused_by_the_verb(account, other_realm, at, by):
    from billing.services.plans import default_plan

    identity = Identity(account, None, default_plan(other_realm), "ops.manual", "x")
    with pytest.raises(NotFound) as refused:
        assign_plan(identity=identity, window=Window(START), at=at, by=by)

    assert refused.value.field == "plan_id"


@pytest.mark.parametrize(
    ("kind", "ref", "field"),
    [("wire", "x", "source_kind"), ("ops.manual", " ", "source_ref")],
)
def test_verb_checks_the_source_for_itself(account, pro, at, by, kind, ref, field):
    with pytest.raises(Invalid) as refused:
        assign_plan(
            identity=Identity(account, None, pro, kind, ref),
            window=Window(START),
            at=at,
            by=by,
        )

    assert refused.value.field == field


def test_same_identity_at_once_makes_one_row(committed_api, committed_realm, at, by):
    account = ensure_account(realm=committed_realm, principal_id="acme", at=at, by=by)
    plan_id = committed_api.post(
        "billing-plans", {"plan_code": "pro", "name": "Pro", "kind": "base"}
    ).json()["data"]["plan_id"]

    def attempt(number):
        document = body(
            account,
            account,
            plan_id=plan_id,
            window_start=text(START + timedelta(days=number)),
        )
        return committed_api.post(LIST, document).status_code

    assert race(attempt) == [201] * 16
    row = PlanAssignment.objects.get(account=account)
    assert row.window_start == START
    assert [given.status for given in row.statuses.all()] == ["active"]


def test_same_key_at_once_is_performed_once(committed_api, committed_realm, at, by):
    account = ensure_account(realm=committed_realm, principal_id="acme", at=at, by=by)
    plan_id = committed_api.post(
        "billing-plans", {"plan_code": "pro", "name": "Pro", "kind": "base"}
    ).json()["data"]["plan_id"]
    document = body(account, account, plan_id=plan_id)

    answers = race(lambda _: committed_api.post(LIST, document, "k-1"))

    assert {answer.content for answer in answers} == {answers[0].content}
    assert sorted(answer.get("Idempotency-Replayed", "") for answer in answers) == [
        "",
        *["true"] * 15,
    ]
