"""Recorded decisions, made again under a draft: which verdicts flip."""

import pytest

from billing.services.entitlements import Target, replace_entitlements
from billing.services.plans import default_plan
from config.kernel.errors import Invalid
from gating.services.drafts import BundleDraft, PolicyDraft, draft_of_bundle
from gating.services.policies import PolicyExists, PolicyKept, change_policy
from tests.gating.gate import row_counts
from tests.gating.refusals import refusal
from tests.gating.simulating import SAME, changed, counts, planned, run


@pytest.fixture
def story(gate):
    """Six holds of 75 against 500, two of them committed, and a seventh denied."""
    gate.feature(price=10)
    gate.credit(100_000)
    gate.plan("pro", bundle="pro", mode="prepaid")
    gate.bundle("pro")
    gate.policy_of_day = gate.quota(500, bundle=gate.bundle("pro"), name="calls")
    leases = [gate.later(minutes=n).lease(75) for n in range(6)]
    gate.later(minutes=7).commit(leases[0], 75)
    gate.later(minutes=8).commit(leases[1], 5)
    refusal(gate.later(minutes=9).authorize, 200)
    gate.leases = leases
    return gate


def test_without_a_draft_everything_comes_out_as_recorded(story):
    before = row_counts()

    results = run(story, SAME)

    assert counts(results) == (0, 0, 7)
    assert (results.total.decisions, results.total.reproduced) == (7, 7)
    assert not results.not_reproduced
    assert row_counts() == before


@pytest.mark.parametrize("mode", ["replay", "independent"])
def test_the_bundle_as_it_stands_changes_nothing(story, mode):
    results = run(story, changed(story, story.policy_of_day), mode=mode)

    assert counts(results) == (0, 0, 7)
    assert not results.not_judged


def test_a_lowered_quota_denies_what_no_longer_fits_and_no_more(story):
    """150 hold two of 75; what the denied would have held is free for no one else."""
    results = run(story, changed(story, story.policy_of_day, limit_minor=150))

    assert counts(results) == (4, 0, 7)
    (group,) = results.ranked()
    assert group.counts.reasons["admitted_to_denied"] == {"quota_exhausted": 4}
    first = group.examples[0]
    assert first.decision_id == story.row(story.leases[2]).pk
    assert first.was == "Admitted at 2026-03-10 12:02:00 UTC: chat, 75."
    assert first.would == (
        "Blocked at 2026-03-10 12:02:00 UTC: Quota calls: 0 of 150 used and 150 held in "
        "the window that ends 2026-03-11 00:00:00 UTC; 75 asked."
    )


def test_what_a_denied_hold_gives_up_is_there_for_the_next(story):
    """With 300, four of 75 are held; 75 and 5 are used, so 70 more fit at the end."""
    story.later(minutes=10).lease(70)
    last = story.later(minutes=11).lease(1)

    results = run(story, changed(story, story.policy_of_day, limit_minor=300))

    assert counts(results) == (3, 0, 9)
    assert [example.decision_id for example in results.ranked()[0].examples] == [
        story.row(story.leases[4]).pk,
        story.row(story.leases[5]).pk,
        story.row(last).pk,
    ]


def test_independent_judges_each_on_the_numbers_it_saw(story):
    results = run(
        story, changed(story, story.policy_of_day, limit_minor=300), mode="independent"
    )

    assert counts(results) == (2, 0, 7)


def test_a_raised_quota_admits_what_was_denied(story):
    results = run(story, changed(story, story.policy_of_day, limit_minor=1000))

    assert counts(results) == (0, 1, 7)
    (group,) = results.ranked()
    assert group.counts.reasons["denied_to_admitted"] == {"quota_exhausted": 1}
    assert group.examples[0].would == "Admitted at 2026-03-10 12:09:00 UTC: chat, 200."


def test_what_only_the_draft_admits_counts_as_used(gate):
    gate.feature()
    policy = gate.quota(10)
    for minute in range(6):
        refusal(gate.later(minutes=minute).authorize, 30)

    results = run(gate, changed(gate, policy, limit_minor=100))

    assert counts(results) == (0, 3, 6)


def test_denials_that_were_only_counted_are_told_and_not_judged(gate):
    gate.feature()
    policy = gate.quota(10)
    for _ in range(5):
        refusal(gate.authorize, 30)

    results = run(gate, changed(gate, policy, limit_minor=1000))

    assert counts(results) == (0, 1, 1)
    assert results.total.decisions == 5
    assert results.not_judged == results.not_reproduced == {"counted_only": 4}


# --- drafts of bundles --------------------------------------------------------


@pytest.fixture
def counted(gate):
    """Three admissions of 10 on chat, under a quota of a day in the bundle pro."""
    gate.feature()
    gate.pro = gate.plan("pro", bundle="pro", mode="postpaid")
    gate.bundle("pro")
    gate.chats = gate.quota(100, bundle=gate.bundle("pro"), name="chats")
    for minute in (0, 1, 2):
        gate.later(minutes=minute).lease(10)
    return gate


def drafted(gate, *entries, **values):
    return draft_of_bundle(
        gate.bundle("pro"), BundleDraft(entries, **values), at=gate.at
    )


def rate_of(limit, **values):
    given = {"feature_code": "chat", "kind": "rate", "unit": "request", "window_sec": 3600, "limit_count": limit}  # fmt: skip
    return PolicyDraft(given | values)


def test_a_new_policy_is_counted_from_the_beginning_of_the_range(counted):
    draft = drafted(counted, rate_of(2))

    assert counts(run(counted, draft)) == (1, 0, 3)
    alone = run(counted, draft, mode="independent")
    assert counts(alone) == (0, 0, 0)
    assert alone.not_judged == {"numbers_not_recorded": 3}


def test_a_longer_window_that_began_before_the_range_is_approximate(counted):
    month = changed(counted, counted.chats, window_sec=30 * 86_400, limit_minor=20)

    results = run(counted, month)

    assert counts(results) == (1, 0, 3)
    assert results.total.approximate == 3


def test_a_policy_left_out_leaves_nothing_to_govern(counted):
    results = run(counted, drafted(counted, left_out=[counted.chats.pk]))

    assert counts(results) == (3, 0, 3)
    assert results.total.reasons["admitted_to_denied"] == {"policy_not_found": 3}


def test_a_disabled_policy_gives_way_to_the_wildcard(counted):
    counted.quota(15, bundle=counted.bundle("pro"), feature="*", name="rest")

    results = run(counted, changed(counted, counted.chats, status="disabled"))

    assert counts(results) == (2, 0, 3)


def test_another_bundle_takes_the_place(counted):
    small = counted.bundle("small")
    counted.quota(10, bundle=small, name="small chats")

    results = run(counted, drafted(counted, replaced_by=small))

    assert counts(results) == (2, 0, 3)
    assert "Quota small chats" in results.ranked()[0].examples[0].would


def test_a_bundle_that_governs_nobody_changes_nothing(counted):
    idle = counted.quota(1, bundle=counted.bundle("idle"), name="idle")

    assert counts(run(counted, changed(counted, idle, limit_minor=0))) == (0, 0, 3)


def test_a_bundle_of_a_user_plan_is_drafted_in_its_own_scope(counted):
    """The account's bundle goes on governing beside the user's."""
    own = counted.quota(100, bundle=counted.bundle("own"), name="own")
    beside = {
        "bundle": counted.bundle("pro"),
        "subject_scope": "account",
        "name": "all",
    }
    counted.quota(100, **beside)
    counted.later(minutes=9).plan(
        "vip", bundle="own", mode="postpaid", priority=20, user=True
    )
    counted.later(minutes=10).lease(10)

    assert counts(run(counted, changed(counted, own, limit_minor=5))) == (1, 0, 4)
    assert counts(run(counted, changed(counted, counted.chats, limit_minor=5))) == (
        3,
        0,
        4,
    )


def test_seats_are_taken_by_those_the_draft_admits(counted):
    for name, minute in (("u-2", 3), ("u-3", 4), ("u-2", 5)):
        counted.of_user(name).later(minutes=minute).lease(1)
    two = rate_of(2, kind="seats", unit="seat", window_sec=0)

    results = run(counted, drafted(counted, two))

    assert counts(results) == (1, 0, 6)
    assert results.total.reasons["admitted_to_denied"] == {"seats_taken": 1}


def test_who_was_governed_otherwise_is_left_alone(counted):
    """A change since does not rewrite under which plan a decision was made."""
    other = counted.of_principal("globex")
    other.lease(10)
    counted.at_instant(counted.at.replace(hour=20)).plan("pro", bundle="elsewhere", mode="postpaid", assign=False)  # fmt: skip

    results = run(counted, changed(counted, counted.chats, limit_minor=5))

    assert counts(results) == (3, 0, 4)
    assert not results.not_judged


def test_a_bundle_changed_since_is_drafted_as_it_stands(counted):
    change_policy(
        policy=counted.chats,
        at=counted.later(hours=1).at,
        by=counted.by,
        limit_minor=15,
    )

    assert counts(run(counted, drafted(counted))) == (2, 0, 3)


@pytest.mark.parametrize(
    ("entries", "error", "field"),
    [
        (lambda gate: [PolicyDraft({"limit_minor": -5}, gate.chats.pk, "p.0")], Invalid, "p.0.limit_minor"),
        (lambda gate: [PolicyDraft({"window_sec": 0}, gate.chats.pk, "p.0")], Invalid, "p.0.window_sec"),
        (lambda gate: [PolicyDraft({"limit_count": 5}, gate.chats.pk, "p.0")], Invalid, "p.0.limit_count"),
        (lambda gate: [PolicyDraft({"name": "rest"}, gate.chats.pk, "p.0")], PolicyExists, "p.0.name"),
        (lambda gate: [PolicyDraft({}, gate.chats.pk)] * 2, Invalid, "policies.policy_id"),
        (lambda gate: [PolicyDraft({}, gate.realm_policy.pk, "p.0")], Invalid, "p.0.policy_id"),
        (lambda gate: [PolicyDraft({"kind": "rate"}, None, "p.0")], Invalid, "p.0.feature_code"),
        (lambda gate: [rate_of(None, name="r")], Invalid, "policies.limit_count"),
        (lambda gate: [rate_of(1, name="r"), rate_of(2, name="r")], PolicyExists, "policies.name"),
        (lambda gate: [rate_of(1, metadata={"counter_key": 5})], Invalid, "policies.metadata.counter_key"),
    ],
)  # fmt: skip
def test_what_saving_would_refuse_is_refused_on_its_field(
    counted, entries, error, field
):
    counted.quota(1, bundle=counted.bundle("other"), feature="*", name="rest")
    counted.realm_policy = counted.default_bundle().policies.get()

    with pytest.raises(error) as caught:
        drafted(counted, *entries(counted))

    assert caught.value.field == field


def test_the_last_resort_stays_in_a_draft_too(counted):
    bundle = counted.default_bundle()
    kept = bundle.policies.get().pk

    with pytest.raises(PolicyKept) as caught:
        draft_of_bundle(bundle, BundleDraft(left_out=[kept], place="b"), at=counted.at)

    assert caught.value.field == "b.left_out.0"


# --- drafts of plans ----------------------------------------------------------


def need_a_plan(gate):
    """Let the plan that every user starts on allow nothing."""
    plan = default_plan(gate.realm)
    replace_entitlements(plan=plan, targets=[], at=gate.at, by=gate.by)


def test_a_removed_entitlement_flips_every_admission(gate):
    need_a_plan(gate)
    gate.feature(entitlement_required=True)
    gate.quota(100)
    plan = gate.plan("pro", feature_codes=["chat"])
    for _ in range(3):
        gate.lease(1)

    results = run(gate, planned(plan, targets=[]))

    assert counts(results) == (3, 0, 3)
    assert results.total.reasons["admitted_to_denied"] == {"entitlement_required": 3}


def test_a_deny_denies_and_an_allow_admits(gate):
    need_a_plan(gate)
    gate.feature(entitlement_required=True)
    gate.feature("draw", entitlement_required=True)
    gate.quota(100)
    gate.quota(100, feature="draw")
    plan = gate.plan("pro", feature_codes=["chat"])
    gate.lease(1)
    refusal(gate.authorize, 1, feature="draw")
    targets = [
        Target("allow", feature_code="draw"),
        Target("deny", feature_code="chat"),
    ]

    appended = run(gate, planned(plan, targets=targets, appended=True))
    elsewhere = run(gate, planned(gate.plan("other", assign=False), targets=targets))

    assert counts(appended) == (1, 1, 2)
    assert counts(elsewhere) == (0, 0, 2)


def test_postpaid_lifts_what_the_balance_denied(gate):
    gate.feature(price=10)
    gate.quota(100)
    plan = gate.plan("pro", mode="prepaid")
    refusal(gate.authorize, 5)

    results = run(gate, planned(plan, billing_mode="postpaid"))

    assert counts(results) == (0, 1, 1)
    assert results.total.reasons["denied_to_admitted"] == {"funding_exhausted": 1}


def test_prepaid_denies_what_the_balance_then_did_not_cover(gate):
    """70 at the price of 10: three of 2 cost 60, the fourth has 10 of 20."""
    gate.feature(price=10)
    gate.quota(100)
    plan = gate.plan("pro", mode="postpaid")
    gate.credit(70)
    for minute in range(4):
        gate.later(minutes=minute).lease(2)
    gate.later(minutes=5).credit(1_000)
    gate.later(minutes=6).lease(2)

    results = run(gate, planned(plan, billing_mode="prepaid"))

    assert counts(results) == (1, 0, 5)
    example = results.ranked()[0].examples[0]
    assert example.reason == "funding_exhausted"
    assert example.at == gate.later(minutes=3).at


def test_another_bundle_key_brings_that_bundles_policies(counted):
    counted.quota(10, bundle=counted.bundle("small"), name="small chats")

    assert counts(run(counted, planned(counted.pro, gate_bundle_key="small"))) == (
        2,
        0,
        3,
    )
    assert counts(run(counted, planned(counted.pro, gate_bundle_key="missing"))) == (
        3,
        0,
        3,
    )
    assert counts(run(counted, planned(counted.pro, gate_bundle_key=""))) == (0, 0, 3)


def test_a_plan_switched_off_leaves_what_others_give(counted):

    results = run(counted, planned(counted.pro, active=False))

    # Without the plan the account is prepaid, and has nothing: but chat is free.
    assert counts(results) == (0, 0, 3)


def test_priority_decides_which_plan_governs(counted):
    counted.quota(10, bundle=counted.bundle("small"), name="small chats")
    weak = counted.later(minutes=4).plan(
        "weak", bundle="small", mode="postpaid", priority=1
    )
    for minute in (5, 6):
        counted.later(minutes=minute).lease(10)

    results = run(counted, planned(weak, priority=99))

    # What came before the weaker plan was assigned is not its business.
    assert counts(results) == (1, 0, 5)


def test_a_bundle_key_that_is_none_is_refused(counted):

    with pytest.raises(Invalid) as caught:
        planned(counted.pro, gate_bundle_key="no key at all")

    assert caught.value.field == "plan.gate_bundle_key"


def test_plans_that_history_does_not_tell_are_left_out_and_said(counted):
    """The feature needs no plan since: nobody knows what it needed then."""
    counted.later(days=1).feature(entitlement_required=False)

    results = run(counted, planned(counted.pro, priority=5))

    assert counts(results) == (0, 0, 0)
    assert results.not_judged == {"plans_not_reconstructed": 3}
    assert results.total.reproduced == 3


# --- budgets, and usage without a lease ---------------------------------------


def test_a_budget_has_what_the_draft_did_not_take(gate):
    """Of 100, three of 30 are held, and a fourth denied; the quota denies the second."""
    gate.feature(price=10)
    gate.quota(100, seconds=86_400, name="day")
    minute = gate.quota(3, seconds=60, name="minute")
    gate.plan("pro", mode="prepaid")
    gate.credit(10_000)
    gate.budget(100)
    for second in (0, 1):
        gate.later(seconds=second * 60).lease(3, budget="trip")
    gate.later(minutes=2).lease(3, budget="trip")
    refusal(gate.later(minutes=3).authorize, 3, budget="trip")

    same = run(gate, SAME)
    smaller = run(gate, changed(gate, minute, window_sec=120))

    assert counts(same) == (0, 0, 4)
    assert counts(smaller) == (1, 0, 4)
    assert smaller.total.denied_otherwise == 1


def test_denials_of_ingested_usage_come_out_as_recorded(gate):
    need_a_plan(gate)
    gate.feature(entitlement_required=True)
    gate.quota(100)
    plan = gate.plan("pro")
    refusal(gate.ingest, 5)

    same = run(gate, SAME)
    lifted = run(gate, planned(plan, targets=[Target("allow", feature_code="chat")]))

    assert counts(same) == (0, 0, 1)
    assert counts(lifted) == (0, 0, 0)
    assert lifted.not_judged == {"numbers_not_recorded": 1}
