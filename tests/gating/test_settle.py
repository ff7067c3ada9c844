from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vlunaai.generated.gate_models import Hint

from gating.settle import settle
from tests.gating.build import NOON, commit, held


def took(settlement):
    return [take.quantity_minor for take in settlement.takes]


def hints(settlement):
    for hint in settlement.hints:
        Hint.model_validate(hint)
    return {hint["type"]: hint for hint in settlement.hints}


def test_a_commit_within_its_hold_is_applied_in_full():
    found = settle(commit(75))

    assert (found.status, list(found.reasons), list(found.hints)) == ("applied", [], [])
    assert (found.quantity_minor, found.amount_xusd, found.cost_xusd) == (75, 750, 75)
    assert took(found) == [75]


def test_a_smaller_commit_gives_the_rest_back():
    found = settle(commit(30))

    assert [(take.quantity_minor, take.held_minor) for take in found.takes] == [
        (30, 75)
    ]


def test_the_excess_comes_out_of_what_is_left():
    found = settle(commit(175, held(75, limit=500, used=400, reserved=75)))

    assert found.status == "applied_clipped"
    assert took(found) == [100]


@pytest.mark.parametrize(
    ("mode", "amount"), [("prepaid", 1000), ("postpaid", 1750), ("hybrid", 1750)]
)
def test_what_does_not_fit_the_quota_is_clipped_for_prepaid_only(mode, amount):
    found = settle(
        commit(175, held(75, limit=500, used=400, reserved=75), billing_mode=mode)
    )

    assert (found.status, list(found.reasons)) == ("applied_clipped", ["overshoot"])
    assert (found.quantity_minor, found.amount_xusd) == (100, amount)
    assert hints(found)["quota.remaining"]["max_quantity_minor"] == 100


def test_a_prepaid_commit_owes_no_more_than_the_balance_has():
    found = settle(commit(75, held_xusd=300, available_xusd=100))

    assert (found.status, found.amount_xusd, found.quantity_minor) == (
        "applied_clipped",
        400,
        75,
    )
    assert hints(found)["funding.xusd_shortfall"]["shortfall_xusd"] == 350


def test_each_counter_takes_what_fits_it():
    narrow, wide = (
        held(75, limit=80, reserved=75, number=1),
        held(75, limit=None, number=2),
    )
    found = settle(commit(100, narrow, wide))

    assert took(found) == [80, 100]
    assert found.quantity_minor == 80


def test_a_hold_is_honored_although_the_limit_was_lowered_and_passed():
    found = settle(commit(75, held(75, limit=500, used=1000, reserved=75)))

    assert (found.status, took(found)) == ("applied", [75])


def test_an_optimistic_counter_takes_what_is_left():
    found = settle(commit(75, held(0, limit=500, used=450, reserved=0)))

    assert (found.status, took(found)) == ("applied_clipped", [50])


QUARANTINES = [
    ({"lease_state": "closed"}, ["lease_closed_at_commit"], {"lease.closed_at_commit"}),
    (
        {"lease_state": "canceled"},
        ["lease_closed_at_commit"],
        {"lease.closed_at_commit"},
    ),
    (
        {"lease_state": "expired", "expires_at": NOON - timedelta(seconds=61)},
        ["lease_closed_at_commit", "late_commit_exceeded"],
        {"lease.closed_at_commit", "lease.expired"},
    ),
    ({"windows": ()}, ["policy_window_not_found"], {"policy.window_not_found"}),
    (
        {"not_allowed": ["x"]},
        ["meter_not_allowed_for_feature"],
        {"feature.meter_not_allowed"},
    ),
    ({"unpriced": ["x"]}, ["pricing_not_configured"], {"pricing.not_configured"}),
]


@pytest.mark.parametrize(("changes", "reasons", "kinds"), QUARANTINES)
def test_quarantined_usage_counts_for_nothing(changes, reasons, kinds):
    found = settle(replace(commit(75), **changes))

    assert (found.status, list(found.reasons), set(hints(found))) == (
        "quarantined",
        reasons,
        kinds,
    )
    assert (found.quantity_minor, found.amount_xusd, found.cost_xusd) == (0, 0, 0)
    assert took(found) == ([0] if found.takes else [])


def test_a_quarantined_commit_of_an_active_lease_gives_up_its_hold():
    found = settle(replace(commit(75), not_allowed=["x"]))

    assert [(take.quantity_minor, take.held_minor) for take in found.takes] == [(0, 75)]


def test_a_commit_of_an_ended_lease_touches_no_counter():
    assert list(settle(replace(commit(75), lease_state="closed")).takes) == []


@pytest.mark.parametrize(
    ("late", "status", "reasons"),
    [
        (timedelta(0), "applied", []),
        (timedelta(microseconds=1), "applied", ["late_commit"]),
        (timedelta(seconds=60), "applied", ["late_commit"]),
        (
            timedelta(seconds=60, microseconds=1),
            "quarantined",
            ["late_commit_exceeded"],
        ),
    ],
)
def test_a_late_commit_counts_within_its_grace(late, status, reasons):
    found = settle(commit(75, expires_at=NOON - late))

    assert (found.status, list(found.reasons), found.late) == (
        status,
        reasons,
        bool(reasons),
    )
    if reasons:
        hint = hints(found)["lease.expired"]
        assert (hint["delta_ms"], hint["grace_ms"]) == (
            late // timedelta(milliseconds=1),
            60_000,
        )
        assert hint["exceeded_grace"] is (status == "quarantined")


def test_the_missing_price_of_a_free_feature_is_no_fault():
    found = settle(
        commit(75, unpriced=["x"], zero_cost=True, amount_xusd=0, cost_xusd=0)
    )

    assert (found.status, took(found)) == ("applied", [75])
    assert list(found.reasons) == ["pricing_not_configured"]


amounts = st.integers(0, 8)
windows = st.lists(
    st.builds(
        lambda held_minor, more, limit, used, number: held(
            held_minor,
            limit=limit,
            used=used,
            reserved=held_minor + more,
            number=number,
        ),
        held_minor=amounts,
        more=amounts,
        limit=st.none() | amounts,
        used=amounts,
        number=st.integers(1, 3),
    ),
    min_size=1,
    max_size=2,
)


@given(
    windows,
    st.integers(1, 20),
    amounts,
    amounts,
    amounts,
    st.sampled_from(["prepaid", "postpaid"]),
)
def test_no_limit_and_no_balance_is_ever_passed(
    windows, quantity, amount, held_xusd, available, mode
):
    found = settle(
        commit(
            quantity,
            *windows,
            amount_xusd=amount,
            held_xusd=held_xusd,
            available_xusd=available,
            billing_mode=mode,
        )
    )

    for window, take in zip(windows, found.takes, strict=True):
        after = (
            window.used_minor
            + take.quantity_minor
            + window.reserved_minor
            - window.held_minor
        )
        before = window.used_minor + window.reserved_minor
        assert take.quantity_minor <= quantity
        # Never beyond the limit, unless a lowered limit had been passed already.
        assert window.limit is None or after <= max(window.limit, before)
        assert take.quantity_minor >= min(quantity, window.held_minor)
    assert found.quantity_minor == min(take.quantity_minor for take in found.takes)
    assert 0 <= found.amount_xusd <= amount
    if mode == "prepaid":
        assert found.amount_xusd <= held_xusd + available
    else:
        assert found.amount_xusd == amount
    assert (found.status == "applied") == (
        found.quantity_minor == quantity and found.amount_xusd == amount
    )
