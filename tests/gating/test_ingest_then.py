"""Usage of a past instant: access, prices and payment are those of then."""

from datetime import UTC, datetime, timedelta

import pytest

from billing.services.assignment_changes import cancel_assignment, end_assignment
from billing.services.assignments import Identity, assign_plan
from billing.services.entitlements import Target, append_entitlements
from billing.services.plans import change_plan_definition
from catalog.models import Feature
from catalog.services.families import change_feature_family, upsert_feature_family
from catalog.services.features import change_feature
from config.kernel.errors import Invalid
from config.kernel.windows import Window
from config.tenancy.services.realms import change_realm
from gating.models import Projection, Rating, RuleSet
from gating.options import options
from gating.services.admissions import KeyReused
from gating.services.denials import GateDenied
from gating.services.ingest_requests import OccurredInFuture, OccurredTooEarly
from grants.models import GrantAllocation
from tests.billing.agreeing import agreed, price, termed, times
from tests.tools.tables import rows

DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def used(gate):
    """The gate with a priced feature, money, and 30 days since."""
    gate.feature(price=10)
    gate.credit(100_000)
    return gate.later(days=30)


def rating(gate, *args, **given):
    return gate.rating(gate.ingest(*args, **given))


def refused(gate, ago, code):
    with pytest.raises(GateDenied) as caught:
        gate.ingest(1, occurred_at=gate.at - ago)
    assert caught.value.code == code
    return caught.value


def test_a_rating_is_of_the_instant_at_which_the_usage_occurred(used):
    then = used.at - 10 * DAY - timedelta(microseconds=1)

    found = rating(used, 3, occurred_at=then)

    assert found.rated_at == then
    assert found.lines.get().rated_at == then
    assert found.metadata["ingest"] == {
        "occurred_at_source": "caller",
        "backfill": True,
        "received_at": "2026-04-09T12:00:00.000000Z",
    }
    assert used.balance() == (100_000 - 30, 0, 30)


def test_money_moves_when_the_usage_is_reported(used):
    rating(used, 3, occurred_at=used.at - 10 * DAY)

    assert GrantAllocation.objects.get(user=used.user).occurred_at == used.at


@pytest.mark.parametrize("made", [True, False], ids=["month", "default"])
def test_usage_stands_in_its_own_month_and_is_told_again_from_there(used, made):
    may, june = datetime(2031, 5, 20, tzinfo=UTC), datetime(2031, 6, 3, tzinfo=UTC)
    if made:
        rows("SELECT gate_make_partitions(%s, 2)", [may.date()])
    gate = used.at_instant(june)
    first = gate.ingest(3, occurred_at=may, key="k")

    again = gate.later(days=300).ingest(3, occurred_at=may, key="k")

    assert again.data == first.data
    stored = rows(
        "SELECT r.tableoid::regclass::text, l.tableoid::regclass::text"
        " FROM gate_ratings r JOIN gate_rated_records l ON l.rating_id = r.id"
        " WHERE r.id = %s",
        [first.data["commit_id"]],
    )
    place = "203105" if made else "default"
    assert stored == [(f"gate_ratings_{place}", f"gate_rated_records_{place}")]
    with pytest.raises(KeyReused):
        gate.ingest(3, occurred_at=may - SECOND, key="k")


# Prices


def test_the_price_of_then_applies_and_carries_its_own_remainder(gate):
    gate.feature(price=1, per=2)
    gate.credit(1000)
    later = gate.later(days=20)
    later.price("chat", 3, per=2)
    now = later.later(days=20)

    amounts = [
        rating(now, 1, occurred_at=when).applied_amount_xusd
        for when in (gate.at, later.at, now.at - DAY, later.at - SECOND, None, None)
    ]

    # 1 for 2 carries a half to the fourth; 3 for 2 a half from each to the next.
    assert amounts == [0, 1, 2, 1, 1, 2]


def test_before_its_first_price_a_meter_has_none(gate):
    gate.feature()
    later = gate.later(days=10)
    later.price("chat", 5)
    now = later.later(days=10)
    now.credit(100)

    found = rating(now, 7, occurred_at=later.at - SECOND)

    assert found.reason_codes == ["ingest", "pricing_not_configured"]
    assert (found.applied_amount_xusd, found.application_status) == (0, "applied")
    assert rating(now, 7, occurred_at=later.at).applied_amount_xusd == 35


def test_the_contract_of_then_makes_the_price(gate):
    gate.feature(price=100)
    gate.credit(10_000)
    later = gate.later(days=10)
    contract = agreed(gate.account, later.at, name="E", at=later.at, by=gate.by)
    termed(contract, price(times("0.5")), later.at, at=later.at, by=gate.by)
    now = later.later(days=10)

    amounts = [
        rating(now, 1, occurred_at=when).applied_amount_xusd
        for when in (later.at - SECOND, later.at, None)
    ]

    assert amounts == [100, 50, 50]


def test_a_term_without_effect_is_told_also_when_it_is_told_again(gate):
    gate.feature()
    contract = agreed(gate.account, gate.at, name="E", at=gate.at, by=gate.by)
    termed(contract, price(times("0.5")), gate.at, at=gate.at, by=gate.by)
    now = gate.later(days=10)

    first, again = (now.ingest(1, key="k", occurred_at=gate.at) for _ in range(2))

    assert [hint["type"] for hint in first.hints] == [
        "pricing.not_configured",
        "pricing.meter_price_missing",
    ]
    assert list(again.hints) == list(first.hints)


# Plans


def held(gate, plan, start, end=None):
    identity = Identity(gate.account, None, plan, "ops.manual", f"of {plan}")
    return assign_plan(
        identity=identity, window=Window(start, end), at=gate.at, by=gate.by
    )[0]


def denying(gate, code="strict"):
    """A strong plan that denies the feature, held by nobody."""
    plan = gate.plan(code, priority=50, assign=False)
    append_entitlements(
        plan=plan, targets=[Target("deny", "chat")], at=gate.at, by=gate.by
    )
    return plan


def test_what_the_plans_said_then_decides(used):
    held(used, denying(used), used.at - 20 * DAY, used.at - 10 * DAY)

    assert refused(used, 20 * DAY, "ENTITLEMENT.DENIED")
    assert refused(used, 10 * DAY + SECOND, "ENTITLEMENT.DENIED")
    assert rating(used, 1, occurred_at=used.at - 20 * DAY - SECOND)
    assert rating(used, 1, occurred_at=used.at - 10 * DAY)
    assert rating(used, 1)


def test_a_plan_that_ended_since_still_entitles_to_what_was_used_then(gate):
    gate.feature(price=10)
    strict, kind = denying(gate), gate.plan("kind", priority=60, assign=False)
    append_entitlements(
        plan=kind, targets=[Target("allow", "chat")], at=gate.at, by=gate.by
    )
    held(gate, strict, gate.at)
    assignment = held(gate, kind, gate.at)
    middle, now = gate.later(days=10), gate.later(days=20)
    end_assignment(
        assignment=assignment,
        end_at=middle.at,
        at=middle.at,
        by=gate.by.effective(middle.at),
    )

    found = rating(now, 1, occurred_at=middle.at - SECOND)

    assert found.plan_assignment_id == assignment.pk
    refused(now, now.at - middle.at, "ENTITLEMENT.DENIED")


def test_a_status_counts_from_when_it_was_given(used):
    assignment = held(used, denying(used), used.at - 20 * DAY)
    later = used.later(days=5)
    by = used.by.effective(later.at)
    cancel_assignment(assignment=assignment, at=later.at, by=by)
    now = later.later(days=5)

    refused(now, 5 * DAY + SECOND, "ENTITLEMENT.DENIED")
    assert rating(now, 1, occurred_at=later.at)


def test_a_rule_that_was_added_since_did_not_govern_then(used):
    plan = used.later(days=-20).plan("strict", priority=50, assign=False)
    held(used, plan, used.at - 20 * DAY)
    append_entitlements(
        plan=plan, targets=[Target("deny", "chat")], at=used.at, by=used.by
    )
    now = used.later(days=5)

    assert rating(now, 1, occurred_at=used.at - SECOND)
    refused(now, 5 * DAY, "ENTITLEMENT.DENIED")


def test_the_billing_mode_of_then_holds(used):
    plan = used.plan("later", mode="postpaid", priority=50, assign=False)
    held(used, plan, used.at - 20 * DAY, used.at - 10 * DAY)

    modes = [
        rating(used, 1, occurred_at=used.at - ago).billing_mode
        for ago in (25 * DAY, 15 * DAY, 5 * DAY)
    ]

    assert modes == ["prepaid", "postpaid", "prepaid"]


def test_a_plan_and_a_realm_that_changed_since_are_as_they_were(used):
    plan = used.plan("base", priority=50, assign=False)
    held(used, plan, used.at - 20 * DAY)
    change_realm(
        realm=used.realm,
        name=used.realm.name,
        metadata={
            **used.realm.metadata,
            "billing_defaults": {"period": {"billing_mode": "hybrid"}},
        },
        at=used.at,
        by=used.by,
    )
    later = used.later(days=2)
    period = {"billing_defaults": {"period": {"billing_mode": "postpaid"}}}
    change_plan_definition(
        plan=plan, changes={"metadata": period}, at=later.at, by=used.by
    )
    now = later.later(days=2)

    modes = [
        rating(now, 1, occurred_at=when).billing_mode
        for when in (used.at - SECOND, used.at, later.at, None)
    ]

    assert modes == ["prepaid", "hybrid", "postpaid", "postpaid"]


# The feature


def switch(gate, *, active, code="chat"):
    feature = Feature.objects.get(realm=gate.realm, feature_code=code)
    change_feature(feature=feature, active=active, at=gate.at, by=gate.by)


def test_a_feature_must_have_been_on_then(used):
    switch(used, active=False)
    later = used.later(days=2)
    switch(later, active=True)
    now = later.later(days=2)

    assert rating(now, 1, occurred_at=used.at - SECOND)
    assert refused(now, 3 * DAY, "RESOURCE.NOT_FOUND").meta["reason"] == (
        "feature_inactive"
    )
    assert rating(now, 1, occurred_at=later.at)
    switch(now, active=False)
    after = now.later(days=1)
    assert rating(after, 1, occurred_at=now.at - SECOND)
    refused(after, DAY, "RESOURCE.NOT_FOUND")


def test_before_it_was_recorded_a_feature_counts_as_it_was_first(used):
    used.feature("video", entitlement_required=False)
    switch(used.later(days=1), active=False, code="video")

    found = rating(used, 1, feature="video", occurred_at=used.at - 50 * DAY)

    assert (found.application_status, found.plan_assignment_id) == ("applied", None)


def test_the_family_of_then_decides_and_is_kept(used):
    upsert_feature_family(
        realm=used.realm, feature_family_code="art", at=used.at, by=used.by
    )
    plan = used.plan("strict", priority=50, assign=False)
    held(used, plan, used.at - 20 * DAY)
    append_entitlements(
        plan=plan,
        targets=[Target("deny", None, "art")],
        at=used.at - 20 * DAY,
        by=used.by,
    )
    feature = Feature.objects.get(realm=used.realm, feature_code="chat")
    change_feature(feature=feature, feature_family_code="art", at=used.at, by=used.by)
    now = used.later(days=2)

    assert rating(now, 1, occurred_at=used.at - SECOND).feature_family_code == "ai"
    refused(now, 2 * DAY, "ENTITLEMENT.DENIED")


def test_whether_a_plan_was_needed_is_as_it_was(used):
    family = Feature.objects.get(realm=used.realm).feature_family
    change_feature_family(
        family=family, entitlement_required=False, at=used.at, by=used.by
    )
    held(used, denying(used), used.at - 20 * DAY)
    now = used.later(days=2)

    assert rating(now, 1, occurred_at=used.at)
    refused(now, 2 * DAY + SECOND, "ENTITLEMENT.DENIED")


# How far


def test_a_clock_somewhat_ahead_is_taken_for_now(used):
    found = rating(used, 1, occurred_at=used.at + 5 * MINUTE)

    assert found.rated_at == used.at
    assert found.metadata["ingest"]["backfill"] is False


@pytest.mark.parametrize(
    ("ago", "backfill"), [(5 * MINUTE, False), (5 * MINUTE + SECOND, True)]
)
def test_what_is_reported_much_later_is_a_backfill(used, ago, backfill):
    found = rating(used, 1, occurred_at=used.at - ago)

    assert found.metadata["ingest"]["backfill"] is backfill


@pytest.mark.parametrize(
    ("shift", "refusal", "code"),
    [
        (5 * MINUTE + SECOND, OccurredInFuture, "INGEST.OCCURRED_IN_FUTURE"),
        (-90 * DAY - SECOND, OccurredTooEarly, "INGEST.OCCURRED_TOO_EARLY"),
        (-3650 * DAY, OccurredTooEarly, "INGEST.OCCURRED_TOO_EARLY"),
    ],
)
def test_what_lies_ahead_or_too_far_back_is_refused(used, shift, refusal, code):
    with pytest.raises(refusal) as caught:
        used.ingest(1, occurred_at=used.at + shift)

    assert isinstance(caught.value, Invalid)
    assert (caught.value.status, caught.value.code) == (422, code)
    assert caught.value.field == "occurred_at"
    assert not Rating.objects.filter(realm=used.realm).exists()


def test_a_refused_instant_prepares_nothing(used):
    stranger = used.of_principal("globex")

    with pytest.raises(OccurredTooEarly):
        stranger.ingest(1, occurred_at=used.at - 91 * DAY)

    assert not Projection.objects.filter(user=stranger.user).exists()


def test_how_far_back_is_for_the_deployment_to_say(used, monkeypatch):
    monkeypatch.setenv("PLANGATE_INGEST_AGE_DAYS", "2")
    options.cache_clear()
    try:
        assert rating(used, 1, occurred_at=used.at - 2 * DAY)
        with pytest.raises(OccurredTooEarly):
            used.ingest(1, occurred_at=used.at - 2 * DAY - SECOND)
    finally:
        monkeypatch.undo()
        options.cache_clear()


def test_what_was_taken_is_told_again_however_old_it_has_become(used):
    given = {"occurred_at": used.at - 29 * DAY, "key": "k"}
    first = used.ingest(1, **given)

    assert used.later(days=90).ingest(1, **given).data == first.data


# What is resolved


def test_the_past_does_not_take_the_place_of_the_present(used):
    used.ingest(1)
    present = Projection.objects.get(user=used.user, feature_code="chat")

    used.ingest(1, occurred_at=used.at - 10 * DAY)

    again = Projection.objects.get(user=used.user, feature_code="chat")
    assert (again.pk, again.valid_from, again.rule_set_id) == (
        present.pk,
        present.valid_from,
        present.rule_set_id,
    )


def test_usage_since_the_present_began_needs_no_other_rules(used):
    used.ingest(1)
    sets = RuleSet.objects.filter(realm=used.realm).count()

    later = used.later(hours=1)
    found = rating(later, 1, occurred_at=later.at - 30 * MINUTE)

    assert found.rated_at == later.at - 30 * MINUTE
    assert RuleSet.objects.filter(realm=used.realm).count() == sets


def test_the_same_past_is_stored_once(used):
    for ago in (10, 11, 12):
        used.ingest(1, occurred_at=used.at - ago * DAY)

    assert RuleSet.objects.filter(realm=used.realm).count() == 2
