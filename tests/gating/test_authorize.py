from datetime import timedelta

import pytest
from vlunaai.generated.gate_models import AuthorizeResponse, Hint

from gating.decide import decide
from gating.evidence import read_ask, read_facts
from gating.models import Denial, Lease
from gating.services.admissions import KeyReused
from gating.services.authorize import LeaseTaken
from gating.services.denials import GateDenied
from grants.services.funding import lock_balance, settle
from tests.gating.gate import row_counts


def refusal(call, *args, **kwargs):
    with pytest.raises(GateDenied) as caught:
        call(*args, **kwargs)
    for hint in caught.value.hints:
        Hint.model_validate(hint)
    return caught.value


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


# Which policies govern


def test_a_new_realm_limits_nothing(gate):
    gate.feature()

    assert gate.row(gate.lease(10**12)).cap_minor == 10**12


def test_a_plans_bundle_governs(gate):
    gate.feature()
    gate.quota(10, bundle=gate.bundle("pro"))
    gate.plan(bundle="pro")

    assert refusal(gate.authorize, 11).code == "QUOTA.EXHAUSTED"


def test_an_assignments_bundle_outranks_its_plans(gate):
    from billing.models import PlanAssignment
    from billing.services.assignments import change_assignment

    gate.feature()
    gate.quota(10, bundle=gate.bundle("pro"))
    gate.quota(20, bundle=gate.bundle("big"))
    gate.plan(bundle="pro")
    row = PlanAssignment.objects.get(realm=gate.realm, plan__plan_code="pro")
    change_assignment(
        assignment=row,
        changes={"metadata": {"gate_bundle_key": "big"}},
        at=gate.at,
        by=gate.by,
    )

    assert gate.authorize(20)


def test_a_disabled_bundle_does_not_fall_back_to_no_limit(gate):
    gate.feature()
    gate.quota(10, bundle=gate.bundle("pro"))
    gate.plan(bundle="pro")
    gate.bundle("pro", status="disabled")

    assert refusal(gate.authorize).meta["reason"] == "policy_not_found"


def test_account_and_user_bundles_each_give_their_own_scope(gate):
    gate.feature()
    account, user = gate.bundle("of-account"), gate.bundle("of-user")
    gate.quota(100, bundle=account, subject_scope="account")
    gate.quota(5, bundle=account)
    gate.quota(50, bundle=user)
    gate.quota(7, bundle=user, subject_scope="account")
    gate.plan("a", bundle="of-account")
    gate.plan("u", bundle="of-user", user=True)

    assert refusal(gate.authorize, 51).hints[0]["max_quantity_minor"] == 50
    gate.authorize(50)
    assert refusal(gate.of_user("u-2").authorize, 6).hints[0]["max_quantity_minor"] == 5


def test_without_its_default_bundle_a_realm_is_misconfigured(gate):
    gate.feature()
    gate.bundle("__default_bundle__", status="disabled")

    denied = refusal(gate.authorize)

    assert (denied.status, denied.code) == (500, "SERVER.CONFIG")


def test_a_disabled_policy_does_not_govern(gate):
    gate.feature()
    gate.quota(10, status="disabled")

    assert gate.authorize(11)


def test_a_plan_must_entitle(gate):
    gate.feature()
    gate.plan("none", priority=10)
    from billing.models import Plan
    from billing.services.entitlements import Target, append_entitlements

    plan = Plan.objects.get(realm=gate.realm, plan_code="none")
    append_entitlements(
        plan=plan, targets=[Target("deny", feature_code="chat")], at=gate.at, by=gate.by
    )

    denied = refusal(gate.authorize)

    assert (denied.status, denied.code) == (403, "ENTITLEMENT.DENIED")
    assert denied.message == "The plan none denies the feature chat."


# Keys


def test_the_same_request_again_has_the_same_answer(gate):
    gate.feature()
    gate.quota(100)

    first = gate.authorize(75, key="k")
    again = gate.authorize(75, key="k")

    assert (again.data, again.hints) == (first.data, first.hints)
    assert again.replayed
    assert gate.used() == (0, 75)


def test_a_success_stays_a_success_when_nothing_is_left(gate):
    gate.feature(price=10)
    gate.credit(750)
    first = gate.authorize(75, key="k")
    gate.commit(first.data["lease"], 75)
    gate.quota(0)

    assert refusal(gate.authorize, 75)
    assert gate.authorize(75, key="k").data == first.data


def test_a_key_with_another_body_is_a_conflict(gate):
    gate.feature()
    gate.feature("video")
    gate.authorize(75, key="k", labels={"team": "a"})

    for other in (
        {"estimate": 76},
        {"feature": "video"},
        {"labels": {"team": "b"}},
        {"lease": "mine"},
        {"feature_family_code": "ai"},
    ):
        given = {"estimate": 75, "labels": {"team": "a"}, **other}
        with pytest.raises(KeyReused) as caught:
            gate.authorize(given.pop("estimate"), key="k", **given)
        assert (caught.value.status, caught.value.code, caught.value.error_type) == (
            409,
            "WRITE.INVALID_PAYLOAD",
            "conflict",
        )
    assert Lease.objects.filter(realm=gate.realm).count() == 1


def test_another_users_key_is_another_request(gate):
    gate.feature()

    mine, theirs = gate.lease(1, key="k"), gate.of_user("u-2").lease(1, key="k")
    elsewhere = gate.of_principal("other").lease(1, key="k")

    assert len({mine, theirs, elsewhere}) == 3


def test_a_denial_is_not_kept_for_its_key(gate):
    gate.feature(price=10)
    refusal(gate.authorize, 75, key="k")

    gate.credit(750)

    assert gate.authorize(75, key="k")


def test_the_caller_may_name_the_lease_once(gate):
    gate.feature()

    assert gate.lease(1, lease="job/7") == "job/7"
    with pytest.raises(LeaseTaken):
        gate.authorize(1, lease="job/7")
    assert gate.of_user("u-2").lease(1, lease="job/7") == "job/7"


# Evidence


def test_a_denial_keeps_its_evidence_and_can_be_made_again(gate):
    gate.feature()
    gate.quota(500)
    for _ in range(6):
        gate.authorize(75)

    denied = refusal(gate.authorize, 75)

    kept = gate.denials()[0]
    assert (kept.reason, kept.feature_code, kept.count, kept.status) == (
        "quota_exhausted",
        "chat",
        1,
        402,
    )
    assert kept.sentence == denied.message
    verdict = decide(read_ask(kept.evidence["ask"]), read_facts(kept.evidence["facts"]))
    assert verdict.denial.sentence == denied.message
    assert kept.trace_id == gate.by.trace_id


def test_a_flood_of_denials_is_one_row_a_minute(gate):
    gate.feature()
    gate.quota(0)

    for _ in range(20):
        refusal(gate.authorize)
    refusal(gate.later(minutes=1).authorize)

    assert [row.count for row in gate.denials()] == [20, 1]


def test_a_flood_of_unknown_features_is_one_row_a_minute(gate):
    for number in range(20):
        refusal(gate.authorize, feature=f"made-up-{number}")

    assert [
        (row.count, row.feature_code, row.evidence["ask"]["feature_code"])
        for row in gate.denials()
    ] == [(20, "", "made-up-0")]


def test_a_lease_keeps_the_facts_that_admitted_it(gate):
    gate.feature(price=10)
    gate.credit(1000)
    gate.quota(500)

    evidence = gate.row(gate.lease(75)).evidence

    verdict = decide(read_ask(evidence["ask"]), read_facts(evidence["facts"]))
    assert verdict.allowed
    assert verdict.wallet_xusd == 750


# Preflight


def test_preflight_says_what_authorize_would_and_writes_nothing(gate):
    gate.feature(price=10)
    gate.credit(1000)
    gate.quota(500)
    gate.rate(5)
    gate.authorize(50)
    before = row_counts(), gate.used(), gate.used(kind="rate"), gate.balance()

    said = gate.preflight(40)
    denied = refusal(gate.preflight, 60)

    assert {
        k: v for k, v in said.data.items() if k != "as_of"
    }.items() <= gate.authorize(40).data.items()
    assert denied.code == "FUNDING.EXHAUSTED"
    assert denied.meta["as_of"] == gate.at
    gate.cancel(Lease.objects.latest("id").lease)
    after = row_counts()
    after["gate_leases"] -= 1
    assert (after, gate.used()[1], gate.balance()) == (
        before[0],
        before[1][1],
        before[3],
    )


def test_preflight_of_an_untouched_account_makes_no_row(gate):
    gate.feature()
    gate.seats(5)
    gate.rate(5)
    before = row_counts()

    gate.preflight(40)
    refusal(gate.preflight, feature="nothing")

    assert row_counts() == before
    assert Denial.objects.count() == 0


def test_preflight_counts_overdue_leases_as_expired(gate):
    gate.feature(price=10)
    gate.credit(1000)
    gate.quota(100, seconds=30 * 86_400)
    gate.authorize(100)
    much_later = gate.later(hours=13)

    assert refusal(gate.preflight, 1)
    assert much_later.preflight(100)
    assert gate.used() == (0, 100)
    assert much_later.authorize(100)
    assert gate.used() == (0, 100)


def test_money_spent_elsewhere_is_not_promised_again(gate):
    gate.feature(price=10)
    gate.credit(1000)
    balance = lock_balance(user=gate.user, at=gate.at)
    settle(balance, reserved_xusd=0, spend_xusd=900, source_ref="elsewhere", at=gate.at)

    assert refusal(gate.authorize, 11).hints[0]["shortfall_xusd"] == 10
    assert gate.authorize(10)
