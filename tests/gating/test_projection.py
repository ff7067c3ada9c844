from datetime import UTC, datetime
from uuid import UUID

import pytest

from gating.projection import (
    PolicyFact,
    counter_key_of,
    counter_of,
    governing,
    seats_window,
    target_of,
)
from tests.gating.build import ACCOUNT, NOON, POLICY, USER


def policy(
    feature="*", kind="quota", scope="user", *, key="k", seconds=86_400, name="p"
):
    return PolicyFact(
        POLICY, name, kind, scope, feature, key, "unit", seconds, None, "reserve", NOON
    )


def names(policies):
    return sorted(p.name for p in policies)


def test_a_wildcard_governs_only_where_no_policy_names_the_feature():
    rows = [
        policy(name="any quota"),
        policy("chat", name="chat quota"),
        policy(kind="rate", name="any rate"),
        policy(scope="account", name="any account quota"),
        policy("video", name="video quota"),
    ]

    assert names(governing(rows, "chat")) == [
        "any account quota",
        "any rate",
        "chat quota",
    ]
    assert names(governing(rows, "other")) == [
        "any account quota",
        "any quota",
        "any rate",
    ]


@pytest.mark.parametrize(
    ("metadata", "target", "key"),
    [
        ({}, "chat", f"policy:{POLICY}"),
        ({"feature_code": "video", "counter_key": "shared"}, "video", "shared"),
        (
            {"params": {"feature_code": "video", "counter_key": "shared"}},
            "video",
            "shared",
        ),
        (
            {
                "feature_code": "a",
                "counter_key": "b",
                "params": {"feature_code": "c", "counter_key": "d"},
            },
            "a",
            "b",
        ),
        ({"feature_code": " Video ", "counter_key": " s "}, "video", "s"),
        ({"feature_code": None, "params": None}, "chat", f"policy:{POLICY}"),
        ({"feature_code": " ", "counter_key": 7}, "chat", f"policy:{POLICY}"),
        ({"Feature_Code": "video", "label": "x"}, "chat", f"policy:{POLICY}"),
    ],
)
def test_metadata_outranks_the_columns(metadata, target, key):
    assert target_of("chat", metadata) == target
    assert counter_key_of(POLICY, metadata) == key


@pytest.mark.parametrize(("scope", "subject"), [("user", USER), ("account", ACCOUNT)])
def test_the_counter_is_of_the_subject_in_an_aligned_window(scope, subject):
    key = counter_of(
        policy(scope=scope),
        feature_code="chat",
        account_id=ACCOUNT,
        user_id=USER,
        at=NOON,
    )

    assert (key.subject_id, key.feature_code, key.key) == (subject, "chat", "k")
    assert (key.window_start, key.window_end) == (
        datetime(2026, 3, 10, tzinfo=UTC),
        datetime(2026, 3, 11, tzinfo=UTC),
    )


def test_the_instant_of_a_boundary_belongs_to_the_new_window():
    midnight = datetime(2026, 3, 11, tzinfo=UTC)
    key = counter_of(
        policy(), feature_code="chat", account_id=ACCOUNT, user_id=USER, at=midnight
    )

    assert key.window_start == midnight


def test_seats_without_a_window_are_kept():
    assert seats_window(policy(kind="seats", seconds=0), NOON) == (
        datetime(1970, 1, 1, tzinfo=UTC),
        None,
    )


def test_seats_with_a_window_are_taken_in_it():
    assert seats_window(policy(kind="seats"), NOON)[1] == datetime(
        2026, 3, 11, tzinfo=UTC
    )


def test_policies_that_share_a_key_share_a_counter():
    both = [policy(key="shared"), policy("chat", key="shared")]
    keys = {
        counter_of(
            p, feature_code="chat", account_id=ACCOUNT, user_id=UUID(int=9), at=NOON
        )
        for p in both
    }

    assert len(keys) == 1
