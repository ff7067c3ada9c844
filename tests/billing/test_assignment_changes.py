"""The named changes of an assignment: extend, end, pause, upgrade and so on."""

from datetime import UTC, datetime

import pytest

from billing.services.assignments import Identity, assign_plan, change_assignment
from config.kernel.ids import new_id
from config.kernel.windows import Window
from tests.billing.answers import invalid, refusal
from tests.billing.assigning import (
    AUDIT,
    END,
    LIST,
    START,
    assigned,
    body,
    text,
    window_and_status,
)


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
