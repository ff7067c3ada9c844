from datetime import timedelta

import pytest
from vlunaai.generated.gate_models import AuthorizeResponse

from tests.gating.refusals import refusal


def test_an_admission_answers_as_the_wire_contract_says(gate):
    gate.feature()
    policy = gate.quota(500)

    admission = gate.authorize(75)

    answer = AuthorizeResponse.model_validate(admission.data)
    assert (answer.feature_code, answer.feature_family_code) == ("chat", "ai")
    assert answer.window_end - answer.window_start == timedelta(days=1)
    row = gate.row(answer.lease)
    assert (row.state, row.reserved_minor, row.policy_id, row.cap_minor) == (
        "active",
        75,
        policy.pk,
        75,
    )
    assert row.expires_at == gate.at + timedelta(hours=12)


def test_what_is_authorized_is_held_until_it_is_committed(gate):
    gate.feature()
    gate.quota(500)

    lease = gate.lease(75)

    assert gate.used() == (0, 75)
    gate.commit(lease, 60)
    assert gate.used() == (60, 0)


def test_six_holds_of_75_fit_into_500(gate):
    gate.feature()
    gate.quota(500)

    for _ in range(6):
        gate.authorize(75)
    denied = refusal(gate.authorize, 75)

    assert (denied.status, denied.code) == (402, "QUOTA.EXHAUSTED")
    assert denied.hints == [{"type": "quota.remaining", "max_quantity_minor": 50}]
    assert gate.used() == (0, 450)


def test_without_an_estimate_one_unit_is_held(gate):
    gate.feature()
    gate.quota(500)

    gate.authorize()

    assert gate.used() == (0, 1)


def test_an_account_quota_is_shared_by_its_users(gate):
    gate.feature()
    gate.quota(100, subject_scope="account")

    gate.authorize(60)

    assert refusal(gate.of_user("u-2").authorize, 60).code == "QUOTA.EXHAUSTED"
    assert gate.of_principal("other").authorize(60)


def test_a_user_quota_is_each_users_own(gate):
    gate.feature()
    gate.quota(100)

    gate.authorize(60)

    assert gate.of_user("u-2").authorize(60)


def test_the_next_window_starts_from_nothing(gate):
    gate.feature()
    gate.quota(100)

    gate.authorize(100)

    assert refusal(gate.authorize, 1)
    assert gate.later(days=1).authorize(100)


def test_policies_of_one_counter_key_share_what_is_used(gate):
    gate.feature()
    gate.quota(100, metadata={"counter_key": "shared"})
    gate.quota(80, metadata={"params": {"counter_key": "shared"}})

    gate.authorize(50)

    assert gate.used(key="shared") == (0, 50)
    assert refusal(gate.authorize, 50).hints[0]["max_quantity_minor"] == 30


def test_metadata_retargets_a_policy(gate):
    gate.feature()
    gate.feature("video")
    gate.quota(10, feature="video", metadata={"feature_code": "chat"})

    assert refusal(gate.authorize, 11).code == "QUOTA.EXHAUSTED"
    assert gate.authorize(11, feature="video")


def test_rates_count_admissions_and_deny_the_next(gate):
    gate.feature()
    gate.rate(2)

    gate.authorize()
    second = gate.authorize()
    denied = refusal(gate.authorize)

    assert (denied.status, denied.code) == (429, "LIMIT.RATE_EXCEEDED")
    assert denied.meta["retry_after"] == 60
    assert second.hints[0]["remaining"] == 0
    assert gate.used(kind="rate") == (2, 0)


def test_a_denied_request_consumes_no_rate(gate):
    gate.feature()
    gate.rate(5)
    gate.quota(1)

    gate.authorize()
    refusal(gate.authorize)

    assert gate.used(kind="rate") == (1, 0)


def test_a_prepaid_feature_holds_its_price(gate):
    gate.feature(price=10)
    gate.credit(1000)

    lease = gate.lease(75)

    assert gate.balance() == (250, 750, 0)
    assert gate.row(lease).reserved_xusd == 750


def test_a_prepaid_feature_needs_a_balance(gate):
    gate.feature(price=10)
    gate.credit(700)

    denied = refusal(gate.authorize, 75)

    assert (denied.status, denied.code) == (402, "FUNDING.EXHAUSTED")
    assert denied.hints == [{"type": "funding.xusd_shortfall", "shortfall_xusd": 50}]
    assert gate.balance() == (700, 0, 0)


@pytest.mark.parametrize("mode", ["postpaid", "hybrid"])
def test_whoever_pays_later_needs_none(gate, mode):
    gate.feature(price=10)
    gate.plan(mode=mode)

    assert gate.row(gate.lease(75)).reserved_xusd == 0


def test_seats_are_taken_at_first_use_and_kept(gate):
    gate.feature()
    gate.seats(1)

    gate.authorize()
    denied = refusal(gate.of_user("u-2").authorize)

    assert (denied.status, denied.code) == (403, "SEAT.CAPACITY_EXCEEDED")
    assert gate.later(days=400).authorize()


def test_a_seat_of_a_window_is_free_in_the_next(gate):
    gate.feature()
    gate.seats(1, seconds=86_400)

    gate.authorize()

    assert refusal(gate.of_user("u-2").authorize)
    assert gate.of_user("u-2").later(days=1).authorize()


def test_a_disabled_user_leaves_the_seat(gate):
    from billing.services.users import change_user

    gate.feature()
    gate.seats(1)
    gate.authorize()

    change_user(user=gate.user, status="disabled", at=gate.at, by=gate.by)

    assert gate.of_user("u-2").authorize()
