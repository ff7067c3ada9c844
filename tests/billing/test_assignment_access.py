"""Who may see and change an assignment, and which ones a list shows."""

from datetime import timedelta

import pytest
from vlunaai.generated import billing_mgt_models as wire

from billing.services.accounts import ensure_account
from billing.services.assignments import Identity, assign_plan
from billing.services.users import ensure_user
from config.kernel.ids import new_id
from config.kernel.windows import Window
from tests.billing.answers import invalid, paged, queries_of, read, refusal
from tests.billing.assigning import (
    END,
    LIST,
    START,
    body,
    text,
    window_and_status,
)

VERBS = ["extend", "end", "pause", "resume", "cancel", "upgrade", "downgrade"]
BODIES = {"extend": {"window_end": None}}


def calls(client, assignment, plan):
    """Return the answer of every address of an assignment, by name."""
    switch = {"plan_id": str(plan.pk), "source_ref": "c-2"}
    address = f"{LIST}/{assignment}"
    return {
        "get": client.get(address),
        "patch": client.patch(address, {"window_end": None}),
        **{
            verb: client.post(
                f"{address}/{verb}", switch if "grade" in verb else BODIES.get(verb)
            )
            for verb in VERBS
        },
    }


def test_unknown_assignment_is_not_found(api, other_realm, pro, at, by):
    elsewhere = ensure_account(realm=other_realm, principal_id="acme", at=at, by=by)
    stranger = ensure_user(
        account=elsewhere, business_user_id="u", at=at, by=by
    ).assignments.get()

    for assignment in (stranger.pk, new_id(), "x"):
        found = {
            name: refusal(answer)
            for name, answer in calls(api, assignment, pro).items()
        }
        assert set(found.values()) == {(404, "RESOURCE.NOT_FOUND", None)}, found
    assert stranger.history.count() == 1


def test_assignment_outside_the_keys_list_is_forbidden(limited_api, realm, pro, at, by):
    globex = ensure_account(realm=realm, principal_id="globex", at=at, by=by)
    other, _outcome = assign_plan(
        identity=Identity(globex, None, pro, "ops.manual", "g"),
        window=Window(START),
        at=at,
        by=by,
    )

    found = {
        name: refusal(answer)
        for name, answer in calls(limited_api, other.pk, pro).items()
    }

    assert set(found.values()) == {(403, "AUTH.SERVICE_KEY_ACCOUNT_FORBIDDEN", None)}, (
        found
    )
    assert refusal(limited_api.post(LIST, body(globex, pro)))[:2] == (
        403,
        "AUTH.SERVICE_KEY_ACCOUNT_FORBIDDEN",
    )
    assert (
        read(limited_api.get(LIST), wire.BillingPlanAssignmentListEnvelope)["items"]
        == []
    )
    assert other.history.count() == 1


@pytest.mark.parametrize("named", ["principal_id", "billing_account_id"])
def test_caller_bound_to_another_account_is_forbidden(
    api, realm, account, bounded, pro, at, by, named
):
    globex = ensure_account(realm=realm, principal_id="globex", at=at, by=by)
    bound = api.bound(
        **{
            named: {"principal_id": "globex", "billing_account_id": str(globex.pk)}[
                named
            ]
        }
    )

    found = {
        name: answer
        for name, answer in calls(bound, bounded.pk, pro).items()
        if name != "get"
    }
    found["create"] = bound.post(LIST, body(account, pro, source_ref="c-9"))

    assert {refusal(answer) for answer in found.values()} == {
        (403, "AUTH.INSUFFICIENT_SCOPE", "billing_account_id")
    }
    assert window_and_status(bounded) == (START, END, "active")
    assert account.assignments.count() == 1


@pytest.fixture
def five(account, user, pro, make_plan, at, by):
    """Assignments by reference, beside the user's default plan."""
    basic = make_plan(
        "basic",
        metadata={"grants": [{"grant_program_code": "bonus", "amount_xusd": "1"}]},
    )
    rows = {
        "a": (None, pro, Window(START, END), {}),
        "b": (None, pro, Window(END), {}),
        "c": (None, basic, Window(START, END), {"status": "paused"}),
        "d": (user, basic, Window(START), {}),
        "e": (
            user,
            pro,
            Window(END, END + timedelta(days=9)),
            {"subscription_item_id": new_id()},
        ),
    }
    return {
        ref: assign_plan(
            identity=Identity(account, owner, plan, "ops.campaign" if ref == "e" else "ops.manual", ref),
            window=window, at=START, by=by, **values,
        )[0]
        for ref, (owner, plan, window, values) in rows.items()
    }  # fmt: skip


def refs(answer):
    data = read(answer, wire.BillingPlanAssignmentListEnvelope)
    return "".join(
        row["source_ref"][0]
        for row in data["items"]
        if row["source_kind"] != "signup.default"
    )


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, "edcba"),
        ({"billing_account_id": "ACCOUNT"}, "edcba"),
        ({"billing_account_id": str(new_id())}, ""),
        ({"billing_account_id": "acme"}, ""),
        ({"billing_user_id": "USER"}, "ed"),
        ({"assignment_scope": "account"}, "cba"),
        ({"plan_id": "PRO"}, "eba"),
        ({"plan_code": "basic"}, "dc"),
        ({"status": "paused"}, "c"),
        ({"source_kind": "ops.campaign"}, "e"),
        ({"source_kind": "ops.manual"}, "dcba"),
        ({"source_ref": "b"}, "b"),
        ({"subscription_item_id": "ITEM"}, "e"),
        ({"grant_program_code": "bonus"}, "dc"),
        ({"window_start": text(END)}, "eb"),
        ({"window_end": text(END)}, "dcba"),
        ({"as_of": "2026-06-01T00:00:00Z"}, "da"),
        ({"as_of": text(END)}, "edb"),
        ({"provider": "stripe"}, ""),
        ({"status": "paused", "plan_code": "pro"}, ""),
        ({"limit": "2"}, "ed"),
    ],
)
def test_assignment_list_filters(api, account, user, pro, five, query, expected):
    known = {
        "ACCOUNT": account.pk,
        "USER": user.pk,
        "PRO": pro.pk,
        "ITEM": five["e"].subscription_item_id,
    }
    query = {name: str(known.get(value, value)) for name, value in query.items()}

    assert refs(api.get(LIST, **query)) == expected


def test_assignment_pages_lose_and_repeat_nothing(api, five):
    found = paged(api, LIST, "source_ref")

    assert found == ["e", "d", "c", "b", "a", "default_billing_plan"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"status": "ended"}, "status"),
        ({"window_start": "x"}, "window_start"),
        ({"as_of": "2026"}, "as_of"),
        ({"plan": "pro"}, "plan"),
    ],
)
def test_bad_assignment_filter_is_refused(api, query, field):
    assert refusal(api.get(LIST, **query)) == invalid(field)


def test_list_needs_the_same_queries_for_one_and_three_rows(
    api, account, user, make_plan, pro, at, by
):
    def listed():
        return api.get(LIST, source_kind="ops.manual")

    def assign(ref, plan, owner=None):
        assign_plan(
            identity=Identity(account, owner, plan, "ops.manual", ref),
            window=Window(START),
            at=at,
            by=by,
        )

    assign("a", pro)
    listed()
    for_one = queries_of(listed)
    assign("b", make_plan("basic"), user)
    assign("c", make_plan("other"))

    assert queries_of(listed) == for_one
