"""The raw change of an assignment."""

from datetime import UTC, datetime

import pytest

from config.kernel.ids import new_id
from tests.billing.answers import explained, invalid, refusal
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
        assert refusal(answer) == (
            422,
            "ASSIGNMENT.STATUS_IN_FUTURE",
            "audit.effective_at",
        )
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
