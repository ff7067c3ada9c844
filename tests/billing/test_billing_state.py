"""The state that governs an account or user, over HTTP."""

from datetime import timedelta

import pytest
from vlunaai.generated import billing_mgt_models as wire

from billing.services.accounts import ensure_account
from billing.services.assignment_changes import end_assignment, pause_assignment
from billing.services.assignments import Identity, assign_plan
from billing.services.users import ensure_user
from config.kernel.ids import new_id
from config.kernel.windows import Window, format_instant
from tests.billing.answers import queries_of, read, refusal

DAY = timedelta(days=1)


@pytest.fixture
def state(api, account):
    """Return the reader of the account's state: `state(as_of=…)`."""

    def read_state(**query):
        answer = api.get(f"billing-accounts/{account.pk}/billing-state", **query)
        return read(answer, wire.BillingStateEnvelope)

    return read_state


@pytest.fixture
def give(account, at, by):
    """Return the giver of plans: `give(plan, start, end, user=…)`."""

    def assign(plan, start, end=None, *, user=None, ref=None, **values):
        assignment, _outcome = assign_plan(
            identity=Identity(account, user, plan, "ops.manual", ref or plan.plan_code),
            window=Window(start, end),
            at=at,
            by=by,
            **values,
        )
        return assignment

    return assign


def codes(state):
    plans = state["plans"]
    base = plans["base"]
    return (
        base and base["plan_code"],
        [plan["plan_code"] for plan in plans["add_ons"]],
        [plan["plan_code"] for plan in plans["promotions"]],
    )


def text(when):
    return format_instant(when)


def test_account_without_plans_has_an_empty_state(state, account):
    found = state()

    assert codes(found) == (None, [], [])
    assert (found["view_scope"], found["billing_user_id"], found["user_id"]) == (
        "account",
        None,
        None,
    )
    assert (
        found["wallet_balance"],
        found["subscriptions"],
        found["next_change_at"],
    ) == (None, [], None)
    assert (found["billing_mode"], found["billing_mode_source"]) == (
        "prepaid",
        {"kind": "system_default"},
    )


def test_state_shows_every_effective_plan_once(state, give, make_plan, at):
    basic, pro = make_plan("basic"), make_plan("pro", priority=5)
    seats, spring = make_plan("seats", kind="addon"), make_plan("spring", kind="promo")
    for plan in (basic, pro, seats, spring):
        give(plan, at)

    found = state()

    assert codes(found) == ("pro", ["seats"], ["spring"])
    assert found["plans"]["base"]["source"] == {
        "kind": "ops.manual",
        "kind_exact": "ops.manual",
        "source_ref": "pro",
        "subscription_item_id": None,
    }


def test_user_view_adds_the_users_own_plans(
    api, state, account, user, give, make_plan, at
):
    give(make_plan("basic", priority=1), at)
    own = give(make_plan("own", priority=1), at - DAY, user=user)

    of_account = state()
    of_user = state(user_id="u-1")
    by_id = state(billing_user_id=str(user.pk))

    assert codes(of_account)[0] == "basic"
    assert codes(of_user)[0] == "own"
    assert (of_user["view_scope"], of_user["user_id"]) == ("user", "u-1")
    assert of_user["plans"]["base"]["assignment_id"] == str(own.pk)
    assert of_user["wallet_balance"]["available_balance"] == {"xusd": "0"}
    assert codes(by_id) == codes(of_user)


def test_billing_mode_names_where_it_comes_from(state, give, make_plan, at):
    pro = make_plan(
        "pro", metadata={"billing_defaults": {"period": {"billing_mode": "postpaid"}}}
    )
    assignment = give(pro, at)

    of_plan = state()
    give(pro, at, metadata={"billing": {"period": {"billing_mode": "hybrid"}}})
    of_assignment = state()

    source = {
        "assignment_id": str(assignment.pk),
        "plan_id": str(pro.pk),
        "plan_code": "pro",
    }
    assert (of_plan["billing_mode"], of_plan["billing_mode_source"]) == (
        "postpaid",
        {"kind": "plan", **source},
    )
    assert (of_assignment["billing_mode"], of_assignment["billing_mode_source"]) == (
        "hybrid",
        {"kind": "assignment", **source},
    )


def test_state_is_read_as_of_any_instant(state, give, make_plan, at):
    give(make_plan("old"), at, at + DAY)
    give(make_plan("new"), at + DAY, at + 3 * DAY)

    found = {
        offset: (
            codes(state(as_of=text(at + offset)))[0],
            state(as_of=text(at + offset))["next_change_at"],
        )
        for offset in (
            -DAY,
            timedelta(0),
            DAY - timedelta(microseconds=1),
            DAY,
            3 * DAY,
        )
    }

    assert found == {
        -DAY: (None, text(at)),
        timedelta(0): ("old", text(at + DAY)),
        DAY - timedelta(microseconds=1): ("old", text(at + DAY)),
        DAY: ("new", text(at + 3 * DAY)),
        3 * DAY: (None, None),
    }


def test_state_is_read_as_it_was_known(state, give, make_plan, at, effective):
    pro = give(make_plan("pro"), at - 10 * DAY)
    end_assignment(assignment=pro, end_at=at - 5 * DAY, at=at + DAY, by=effective(at))

    early = text(at - 2 * DAY)
    assert codes(state(as_of=early, known_at=text(at - DAY)))[0] is None
    assert codes(state(as_of=early, known_at=text(at)))[0] == "pro"
    assert codes(state(as_of=early, known_at=text(at + DAY)))[0] is None
    assert codes(state(as_of=early))[0] is None


def test_backdated_pause_changes_the_past_only_as_known_since(
    state, give, make_plan, at, effective
):
    pro = give(make_plan("pro"), at - 10 * DAY)
    pause_assignment(assignment=pro, at=at + DAY, by=effective(at - 3 * DAY))

    def base(as_of, known_at):
        return codes(state(as_of=text(as_of), known_at=text(known_at)))[0]

    assert base(at - 4 * DAY, at + DAY) == "pro"
    assert base(at - 3 * DAY, at + DAY) is None
    assert base(at - 3 * DAY, at) == "pro"


def test_status_recorded_by_a_slow_clock_is_known_with_the_row(
    state, give, make_plan, at, effective
):
    pro = give(make_plan("pro"), at - 10 * DAY)
    slow = at - timedelta(seconds=1)
    pause_assignment(assignment=pro, at=slow, by=effective(slow))

    between = slow + timedelta(milliseconds=500)
    assert codes(state(as_of=text(slow), known_at=text(between))) == (None, [], [])
    assert codes(state(as_of=text(slow), known_at=text(at)))[0] is None
    assert pro.statuses.order_by("sequence").last().recorded_at == at


def test_campaign_is_told_as_the_official_client_knows_it(
    state, account, make_plan, at, by
):
    assign_plan(
        identity=Identity(account, None, make_plan("spring"), "ops.campaign", "c"),
        window=Window(at), at=at, by=by,
    )  # fmt: skip

    source = state()["plans"]["base"]["source"]
    assert (source["kind"], source["kind_exact"]) == ("ops.manual", "ops.campaign")


@pytest.mark.parametrize(
    ("query", "status", "field"),
    [
        ({"as_of": "yesterday"}, 422, "as_of"),
        ({"as_of": "2026-03-10T12:00:00"}, 422, "as_of"),
        ({"known_at": "2026-13-10T12:00:00Z"}, 422, "known_at"),
        ({"user_id": "nobody"}, 404, None),
        ({"billing_user_id": "nobody"}, 404, None),
        ({"billing_user_id": str(new_id())}, 404, None),
        ({"when": "now"}, 422, "when"),
    ],
)
def test_bad_question_is_refused(api, account, query, status, field):
    answer = api.get(f"billing-accounts/{account.pk}/billing-state", **query)

    found_status, _code, found_field = refusal(answer)
    assert (found_status, found_field) == (status, field)


def test_two_ids_must_name_one_user(api, account, user, at, by):
    other = ensure_user(account=account, business_user_id="u-2", at=at, by=by)

    answer = api.get(
        f"billing-accounts/{account.pk}/billing-state",
        user_id="u-1",
        billing_user_id=str(other.pk),
    )

    assert refusal(answer)[0] == 404


def test_user_of_another_account_is_not_found(api, realm, account, at, by):
    globex = ensure_account(realm=realm, principal_id="globex", at=at, by=by)
    ensure_user(account=globex, business_user_id="hank", at=at, by=by)

    answer = api.get(f"billing-accounts/{account.pk}/billing-state", user_id="hank")

    assert refusal(answer)[0] == 404


def test_reading_creates_nothing(state, account):
    state()

    assert not account.users.exists()
    assert not account.assignments.exists()


def test_state_needs_the_same_queries_for_one_and_three_plans(
    state, give, make_plan, at
):
    give(make_plan("plan-1"), at)
    past = text(at + DAY)
    for query in ({}, {"as_of": past, "known_at": past}):
        state(**query)
        for_one = queries_of(lambda query=query: state(**query))
        give(make_plan("plan-2", kind="addon"), at)
        give(make_plan("plan-3", kind="promo"), at)

        assert queries_of(lambda query=query: state(**query)) == for_one


def test_far_instants_are_answered(state, give, make_plan, at):
    give(make_plan("pro"), at)

    assert codes(state(as_of="9999-12-31T23:59:59Z"))[0] == "pro"
    assert codes(state(as_of="0001-01-01T00:00:00Z"))[0] is None
    assert codes(state(known_at="0001-01-01T00:00:00Z"))[0] is None
    assert codes(state(known_at="9999-12-31T23:59:59Z"))[0] == "pro"
