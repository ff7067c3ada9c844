"""Changing assignments over HTTP: named verbs, the raw change, and who explains it."""

from datetime import UTC, datetime, timedelta

import pytest
from vlunaai.generated import billing_mgt_models as wire

from billing.models import PlanAssignment, PlanAssignmentStatus
from billing.services.accounts import ensure_account
from billing.services.assignments import Identity, assign_plan, change_assignment
from billing.services.users import ensure_user
from config.kernel.errors import Invalid, NotFound
from config.kernel.ids import new_id
from config.kernel.windows import Window, format_instant
from config.tenancy.models import DomainEvent
from config.tenancy.services.realms import change_realm
from tests.billing.answers import explained, invalid, paged, queries_of, read, refusal
from tests.billing.races import race

START, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
LIST = "billing-plan-assignments"
AUDIT = {
    "operator": "ada",
    "reason": "signed contract",
    "ticket_id": "T-7",
    "effective_at": "2026-02-01T00:00:00Z",
}
EXPLAINED = ("ada", "signed contract", "T-7", datetime(2026, 2, 1, tzinfo=UTC))


def text(when):
    return None if when is None else format_instant(when)


def body(account, plan, **changes):
    return {
        "billing_account_id": str(account.pk),
        "assignment_scope": "account",
        "plan_id": str(plan.pk),
        "source_kind": "ops.manual",
        "source_ref": "contract-1",
        "window_start": text(START),
        **changes,
    }


@pytest.fixture
def pro(make_plan):
    return make_plan("pro", priority=5)


@pytest.fixture
def bounded(account, pro, at, by):
    """An assignment of pro for the year 2026."""
    assignment, _outcome = assign_plan(
        identity=Identity(account, None, pro, "ops.manual", "contract-1"),
        window=Window(START, END),
        at=START,
        by=by,
    )
    return assignment


@pytest.fixture
def change(api, bounded):
    """Return the caller of a verb on `bounded`: `change("extend", {…})`."""

    def call(verb, document=None, key=None):
        return api.post(f"{LIST}/{bounded.pk}/{verb}", document, key)

    return call


def window_and_status(assignment):
    assignment.refresh_from_db()
    return assignment.window_start, assignment.window_end, assignment.status


def assigned(answer, status=200):
    return read(answer, wire.BillingPlanAssignmentEnvelope, status)


# Creating


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


# The raw change


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, (START, END, "active")),
        ({"window_end": None}, (START, None, "active")),
        (
            {"window_end": "2026-06-01T00:00:00Z"},
            (START, datetime(2026, 6, 1, tzinfo=UTC), "active"),
        ),
        (
            {"window_start": "2025-06-01T02:00:00+02:00"},
            (datetime(2025, 6, 1, tzinfo=UTC), END, "active"),
        ),
        ({"status": "canceled"}, (START, END, "canceled")),
        ({"status": "expired", "window_end": None}, (START, None, "expired")),
    ],
)
def test_patch_changes_what_it_names(api, bounded, changes, expected):
    assigned(api.patch(f"{LIST}/{bounded.pk}", changes))

    assert window_and_status(bounded) == expected


def test_patch_replaces_metadata_and_item(api, bounded):
    item = str(new_id())

    first = assigned(
        api.patch(
            f"{LIST}/{bounded.pk}", {"subscription_item_id": item, "metadata": {"a": 1}}
        )
    )
    second = assigned(
        api.patch(
            f"{LIST}/{bounded.pk}", {"subscription_item_id": None, "metadata": {"b": 2}}
        )
    )

    assert (first["subscription_item_id"], first["metadata"]) == (item, {"a": 1})
    assert (second["subscription_item_id"], second["metadata"]) == (None, {"b": 2})


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"window_start": None}, "window_start"),
        ({"status": None}, "status"),
        ({"metadata": None}, "metadata"),
        ({"status": "ended"}, "status"),
        ({"window_end": text(START)}, "window_end"),
        ({"window_start": text(END)}, "window_end"),
        ({"metadata": {"gate_bundle_key": 1}}, "metadata.gate_bundle_key"),
        ({"metadata": {"gate_bundle_key": "nowhere"}}, "metadata.gate_bundle_key"),
        ({"plan_id": str(new_id())}, "plan_id"),
        ({"source_ref": "other"}, "source_ref"),
    ],
)
def test_bad_patch_is_refused(api, bounded, changes, field):
    answer = api.patch(f"{LIST}/{bounded.pk}", changes)

    assert refusal(answer) == invalid(field)
    assert window_and_status(bounded) == (START, END, "active")
    assert bounded.history.count() == 1


def test_status_in_the_future_is_refused(api, bounded):
    audit = {**AUDIT, "effective_at": "2999-01-01T00:00:00Z"}

    for answer in (
        api.patch(f"{LIST}/{bounded.pk}", {"status": "paused", "audit": audit}),
        api.post(f"{LIST}/{bounded.pk}/pause", {"audit": audit}),
        api.post(f"{LIST}/{bounded.pk}/cancel", {"audit": audit}),
    ):
        assert refusal(answer) == (422, "ASSIGNMENT.STATUS_IN_FUTURE", "effective_at")
    assert window_and_status(bounded) == (START, END, "active")


def test_window_change_may_be_meant_for_the_future(api, bounded):
    audit = {**AUDIT, "effective_at": "2999-01-01T00:00:00Z"}

    answer = api.patch(
        f"{LIST}/{bounded.pk}", {"window_end": None, "status": "active", "audit": audit}
    )

    assert answer.status_code == 200
    assert explained(bounded)[-1][3] == datetime(2999, 1, 1, tzinfo=UTC)


def test_nearly_known_keys_are_warned_of(api, account, pro):
    sent = {"gate_bundle": "x", "billing_mode": "prepaid", "operator": "ada"}
    warnings = [
        ("metadata.gate_bundle", "gate_bundle_key"),
        ("metadata.billing_mode", "billing.period.billing_mode"),
    ]

    created = api.post(LIST, body(account, pro, metadata=sent))
    patched = api.patch(
        f"{LIST}/{created.json()['data']['assignment_id']}", {"metadata": sent}
    )

    for answer in (created, patched):
        found = answer.json()["meta"]["warnings"]
        assert [(miss["path"], miss["did_you_mean"]) for miss in found] == warnings


# Named verbs


def test_extend_moves_the_end(change, bounded):
    later = assigned(change("extend", {"window_end": "2027-06-01T00:00:00Z"}))
    opened = assigned(change("extend", {"window_end": None}))

    assert (later["window_end"], opened["window_end"]) == (
        "2027-06-01T00:00:00.000000Z",
        None,
    )


def test_end_closes_the_window(change, bounded):
    data = assigned(change("end", {"end_at": "2026-03-01T00:00:00Z"}))

    assert (data["window_end"], data["status"]) == (
        "2026-03-01T00:00:00.000000Z",
        "active",
    )


def test_end_without_an_instant_is_now(change, bounded):
    before = datetime.now(UTC)

    assigned(change("end"))

    _start, end, status = window_and_status(bounded)
    assert before <= end <= datetime.now(UTC)
    assert status == "active"


def test_pause_resume_and_cancel(change, bounded):
    statuses = [
        assigned(change(verb, {"audit": AUDIT}))["status"]
        for verb in ("pause", "resume", "pause", "cancel")
    ]

    assert statuses == ["paused", "active", "paused", "canceled"]
    given = bounded.statuses.order_by("sequence")
    assert [(row.sequence, row.status) for row in given] == list(
        enumerate(["active", *statuses], start=1)
    )
    assert {row.effective_at for row in given[1:]} == {datetime(2026, 2, 1, tzinfo=UTC)}


@pytest.mark.parametrize(
    ("verb", "priority"),
    [("upgrade", 9), ("upgrade", 5), ("downgrade", 1), ("downgrade", 5)],
)
def test_switch_ends_one_plan_where_the_next_begins(
    change, bounded, make_plan, verb, priority
):
    target = make_plan("target", priority=priority)

    answer = change(
        verb,
        {
            "plan_id": str(target.pk),
            "source_ref": "c-2",
            "switch_at": "2026-06-01T00:00:00Z",
            "metadata": {"team": 1},
        },
    )

    made = assigned(answer, 201)
    june = datetime(2026, 6, 1, tzinfo=UTC)
    assert window_and_status(bounded) == (START, june, "active")
    assert (made["plan_code"], made["window_start"], made["window_end"]) == (
        "target",
        text(june),
        text(END),
    )
    assert (made["source_ref"], made["metadata"], made["status"]) == (
        "c-2",
        {"team": 1},
        "active",
    )


def test_switch_of_a_users_plan_stays_with_the_user(
    api, account, user, pro, make_plan, at, by
):
    own, _outcome = assign_plan(
        identity=Identity(account, user, pro, "ops.manual", "u"),
        window=Window(START),
        at=at,
        by=by,
    )

    made = assigned(
        api.post(
            f"{LIST}/{own.pk}/upgrade",
            {"plan_id": str(make_plan("max", priority=9).pk), "source_ref": "u2"},
        ),
        201,
    )

    assert (made["assignment_scope"], made["billing_user_id"], made["window_end"]) == (
        "user",
        str(user.pk),
        None,
    )


JUNE = "2026-06-01T00:00:00Z"
REFUSED = [
    (
        "extend",
        {"window_end": text(END)},
        "ASSIGNMENT.NOT_AN_EXTENSION",
        "window_end",
        "runs until 2027-01-01 00:00 UTC",
    ),
    (
        "extend",
        {"window_end": JUNE},
        "ASSIGNMENT.NOT_AN_EXTENSION",
        "window_end",
        "must be later",
    ),
    (
        "end",
        {"end_at": text(END)},
        "ASSIGNMENT.ALREADY_DONE",
        "end_at",
        "already ends 2027-01-01 00:00 UTC",
    ),
    (
        "end",
        {"end_at": text(START)},
        "ASSIGNMENT.OUTSIDE_WINDOW",
        "end_at",
        "after the start (2026-01-01 00:00 UTC)",
    ),
    (
        "end",
        {"end_at": "2027-01-02T00:00:00Z"},
        "ASSIGNMENT.OUTSIDE_WINDOW",
        "end_at",
        "present end (2027-01-01 00:00 UTC)",
    ),
    ("resume", {}, "ASSIGNMENT.ALREADY_DONE", "status", "is active; only paused ones"),
    (
        "upgrade",
        {"switch_at": text(START)},
        "ASSIGNMENT.OUTSIDE_WINDOW",
        "switch_at",
        "2026-01-01 00:00 UTC to 2027-01-01 00:00 UTC",
    ),
    (
        "upgrade",
        {"switch_at": text(END)},
        "ASSIGNMENT.OUTSIDE_WINDOW",
        "switch_at",
        "inside the window",
    ),
    (
        "downgrade",
        {},
        "ASSIGNMENT.WRONG_DIRECTION",
        "plan_id",
        "max (priority 9) is no downgrade from pro (priority 5)",
    ),
    (
        "upgrade",
        {"plan_id": "low"},
        "ASSIGNMENT.WRONG_DIRECTION",
        "plan_id",
        "low (priority 1) is no upgrade",
    ),
    (
        "upgrade",
        {"plan_id": "pro"},
        "ASSIGNMENT.WRONG_DIRECTION",
        "plan_id",
        "is no upgrade",
    ),
    (
        "upgrade",
        {"plan_id": "off"},
        "ASSIGNMENT.NOT_ACTIVE",
        "plan_id",
        "The plan off is not active",
    ),
    (
        "upgrade",
        {"plan_id": "seats"},
        "ASSIGNMENT.OTHER_KIND",
        "plan_id",
        "seats is of kind addon, pro of kind base",
    ),
]


@pytest.fixture
def plans(pro, make_plan):
    return {
        "pro": pro,
        "max": make_plan("max", priority=9),
        "low": make_plan("low", priority=1),
        "off": make_plan("off", priority=9, active=False),
        "seats": make_plan("seats", priority=9, kind="addon"),
    }


@pytest.mark.parametrize(("verb", "document", "code", "field", "sentence"), REFUSED)
def test_verb_refuses(change, bounded, plans, verb, document, code, field, sentence):
    if verb in {"upgrade", "downgrade"}:
        named = plans[document.get("plan_id", "max")]
        document = {
            "source_ref": "c-2",
            "switch_at": JUNE,
            **document,
            "plan_id": str(named.pk),
        }

    answer = change(verb, document)

    assert refusal(answer) == (422, code, field)
    assert sentence in answer.json()["message"]
    assert window_and_status(bounded) == (START, END, "active")
    assert bounded.history.count() == 1


@pytest.mark.parametrize(
    ("status", "verb", "code"),
    [
        ("paused", "pause", "ASSIGNMENT.ALREADY_DONE"),
        ("canceled", "pause", "ASSIGNMENT.ALREADY_DONE"),
        ("canceled", "resume", "ASSIGNMENT.ALREADY_DONE"),
        ("canceled", "cancel", "ASSIGNMENT.ALREADY_DONE"),
        ("expired", "resume", "ASSIGNMENT.ALREADY_DONE"),
        ("paused", "upgrade", "ASSIGNMENT.NOT_ACTIVE"),
        ("canceled", "upgrade", "ASSIGNMENT.NOT_ACTIVE"),
    ],
)
def test_verb_refuses_by_status(change, bounded, plans, at, by, status, verb, code):
    change_assignment(assignment=bounded, changes={"status": status}, at=at, by=by)
    document = (
        {"plan_id": str(plans["max"].pk), "source_ref": "c-2"}
        if verb == "upgrade"
        else {}
    )

    assert refusal(change(verb, document)) == (422, code, "status")
    assert window_and_status(bounded) == (START, END, status)


def test_open_assignment_cannot_be_extended(change, bounded, at, by):
    change_assignment(assignment=bounded, changes={"window_end": None}, at=at, by=by)

    answer = change("extend", {"window_end": "2030-01-01T00:00:00Z"})

    assert refusal(answer) == (422, "ASSIGNMENT.NOT_AN_EXTENSION", "window_end")
    assert answer.json()["message"] == "The assignment has no end that could be moved."


def test_switch_needs_a_reference_of_its_own(api, change, account, bounded, plans):
    api.post(LIST, body(account, plans["max"], source_ref="c-2"))

    answer = change(
        "upgrade",
        {"plan_id": str(plans["max"].pk), "source_ref": "c-2", "switch_at": JUNE},
    )

    assert refusal(answer) == (409, "ASSIGNMENT.SOURCE_REF_TAKEN", "source_ref")
    assert window_and_status(bounded) == (START, END, "active")


@pytest.mark.parametrize(
    ("verb", "document", "field"),
    [
        ("extend", {}, "window_end"),
        ("extend", {"window_end": "soon"}, "window_end"),
        ("end", {"end_at": "soon"}, "end_at"),
        ("end", {"window_end": text(END)}, "window_end"),
        ("pause", {"effective_at": JUNE}, "effective_at"),
        ("upgrade", {}, "plan_id"),
        ("upgrade", {"plan_id": str(new_id())}, "source_ref"),
        (
            "upgrade",
            {
                "plan_id": str(new_id()),
                "source_ref": "x",
                "source_kind": "signup.default",
            },
            "source_kind",
        ),
    ],
)
def test_bad_body_of_a_verb_is_refused(change, verb, document, field):
    assert refusal(change(verb, document)) == invalid(field)


def test_repeated_verb_with_its_key_is_the_same_success(change, bounded):
    first = change("pause", {}, "k-1")
    again = change("pause", {}, "k-1")

    assert (first.status_code, again.status_code) == (200, 200)
    assert again.content == first.content
    assert bounded.statuses.count() == 2


# Whose assignment


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


# Who explains it


def test_audit_object_explains_every_write(api, account, pro):
    created = assigned(api.post(LIST, body(account, pro, audit=AUDIT)), 201)
    api.post(f"{LIST}/{created['assignment_id']}/pause", {"audit": AUDIT})

    row = PlanAssignment.objects.get(pk=created["assignment_id"])
    assert explained(row) == [EXPLAINED] * 2


def test_metadata_annotations_explain_an_assignment(api, account, pro):
    created = assigned(api.post(LIST, body(account, pro, metadata=AUDIT)), 201)
    api.patch(
        f"{LIST}/{created['assignment_id']}", {"metadata": {**AUDIT, "operator": "bob"}}
    )

    row = PlanAssignment.objects.get(pk=created["assignment_id"])
    assert explained(row) == [EXPLAINED, ("bob", *EXPLAINED[1:])]
    assert row.metadata["operator"] == "bob"


def test_audit_object_outranks_the_annotations(api, account, pro):
    document = body(account, pro, audit=AUDIT, metadata={**AUDIT, "operator": "bob"})

    created = assigned(api.post(LIST, document), 201)

    assert explained(PlanAssignment.objects.get(pk=created["assignment_id"])) == [
        EXPLAINED
    ]


def test_unexplained_write_falls_back_to_the_key(api, service_key, account, pro):
    before = datetime.now(UTC)

    created = assigned(api.post(LIST, body(account, pro), "k-77"), 201)

    row = PlanAssignment.objects.get(pk=created["assignment_id"])
    known = row.history.get()
    assert explained(row)[0][:3] == (
        service_key.pk,
        "create_billing_plan_assignment",
        "k-77",
    )
    assert before <= known.effective_at <= datetime.now(UTC)
    assert (known.actor_kind, known.actor_id, known.idempotency_key) == (
        "service_key",
        service_key.pk,
        "k-77",
    )
    assert len(known.trace_id) == 32


@pytest.mark.parametrize(
    ("audit", "field"),
    [
        ({"operator": ""}, "audit.operator"),
        ({"effective_at": "soon"}, "audit.effective_at"),
        ({"who": "ada"}, "audit.who"),
        ("ada", "audit"),
    ],
)
def test_bad_audit_object_is_refused(api, account, pro, audit, field):
    assert refusal(api.post(LIST, body(account, pro, audit=audit))) == invalid(field)


@pytest.mark.parametrize("notes", [{"operator": 7}, {"effective_at": "soon"}])
def test_bad_annotation_is_refused(api, account, pro, notes):
    answer = api.post(LIST, body(account, pro, metadata=notes))

    assert refusal(answer) == invalid(f"metadata.{next(iter(notes))}")


@pytest.fixture
def strict_realm(realm, at, by):
    """The realm, where every management write must be explained."""
    return change_realm(
        realm=realm, name="x", metadata={"require_audit_fields": True}, at=at, by=by
    )


@pytest.mark.parametrize("missing", ["operator", "reason", "ticket_id", "effective_at"])
def test_realm_may_require_every_audit_field(api, strict_realm, account, pro, missing):
    partial = {name: value for name, value in AUDIT.items() if name != missing}

    for document in (
        body(account, pro),
        body(account, pro, audit=partial),
        body(account, pro, metadata=partial),
    ):
        answer = api.post(LIST, document)
        expected = (
            f"audit.{missing}"
            if "audit" in document or document.get("metadata")
            else "audit.operator"
        )
        assert refusal(answer) == invalid(expected)
    assert not account.assignments.exists()


@pytest.mark.parametrize("place", ["audit", "metadata"])
def test_realm_that_requires_audit_fields_takes_them_in_both_places(
    api, strict_realm, account, pro, place
):
    assert api.post(LIST, body(account, pro, **{place: AUDIT})).status_code == 201


def test_realm_that_requires_audit_fields_requires_them_of_every_management_write(
    api, strict_realm, account, bounded, user, pro
):
    writes = [
        api.post("billing-plans", {"plan_code": "x", "name": "x", "kind": "base"}),
        api.patch(f"billing-plans/{pro.pk}", {"name": "x"}),
        api.post(
            f"billing-plans/{pro.pk}/entitlements", {"mode": "append", "items": []}
        ),
        api.delete(f"billing-plans/{pro.pk}/entitlements/{new_id()}"),
        api.patch(f"billing-accounts/{account.pk}", {"seat_limit": 1}),
        api.patch(
            f"billing-accounts/{account.pk}/billing-details", {"legal_name": "x"}
        ),
        api.post(f"billing-accounts/{account.pk}/users", {"user_id": "x"}),
        api.patch(f"billing-users/{user.pk}", {"display_name": "x"}),
        api.post(f"billing-users/{user.pk}/disable"),
        api.post(f"billing-users/{user.pk}/restore"),
        api.patch(f"{LIST}/{bounded.pk}", {"window_end": None}),
        api.post(f"{LIST}/{bounded.pk}/pause"),
    ]

    assert {refusal(answer) for answer in writes} == {invalid("audit.operator")}
    assert api.get(LIST).status_code == 200
    assert (
        api.post("token/issue", {"principal_id": "acme", "user_id": "u-1"}).status_code
        == 200
    )


# The list


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
