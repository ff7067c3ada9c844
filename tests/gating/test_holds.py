"""The desk's verbs and reads: ending a hold in its caller's place, and orphans."""

from dataclasses import replace
from datetime import timedelta
from importlib import import_module

import pytest

from billing.models import PlanAssignment
from billing.services.assignment_changes import end_assignment
from billing.services.entitlements import Target, append_entitlements
from billing.services.users import change_user
from catalog.services.features import delete_feature, upsert_feature
from config.kernel.audit import MOST_AHEAD, NotYetEffective
from gating.models import Lease, LeaseEnd, Rating
from gating.selectors.holds import HoldFilters, held_together, holds
from gating.selectors.orphans import orphaned
from gating.services.admissions import KeyReused
from gating.services.holds import FeatureGone, HoldEnded, commit_hold, release_hold
from gating.services.leases import expire_leases
from gating.services.policies import delete_policy
from gating.services.retention import purge_leases
from tests.tools.tables import run

GRACE = timedelta(hours=12, seconds=60)
OVERDUE = GRACE + timedelta(microseconds=1)


def commit(gate, lease, quantity=50, *, key="k", **given):
    return commit_hold(
        lease=gate.row(lease),
        quantity_minor=quantity,
        idempotency_key=key,
        at=gate.at,
        by=given.pop("by", gate.by),
        **given,
    )


def release(gate, lease, by=None):
    return release_hold(lease=gate.row(lease), at=gate.at, by=by or gate.by)


def ends(gate):
    return list(LeaseEnd.objects.filter(realm=gate.realm))


# --- release -------------------------------------------------------------------


def test_release_is_the_callers_cancel_with_its_explanation(priced):
    lease = priced.lease(75)

    done = release(priced, lease)

    assert (done.canceled, done.released_minor) == (True, 75)
    assert priced.used() == (0, 0)
    assert priced.balance() == (10_000, 0, 0)
    [end] = ends(priced)
    assert (end.kind, end.lease_id, end.occurred_at) == (
        "released",
        priced.row(lease).pk,
        priced.at,
    )
    assert (end.actor_kind, end.actor_id, end.operator, end.reason, end.ticket_id) == (
        "user",
        "ada",
        priced.by.operator,
        priced.by.reason,
        priced.by.ticket_id,
    )


def test_callers_own_cancel_is_explained_too(priced):
    lease = priced.lease(75)
    priced.cancel(lease)

    assert [(end.kind, end.lease.lease) for end in ends(priced)] == [
        ("released", lease)
    ]


@pytest.mark.parametrize("how", ["release", "commit", "expire"])
def test_release_of_an_ended_hold_changes_and_explains_nothing(priced, how):
    lease = priced.lease(75)
    if how == "release":
        release(priced, lease)
    elif how == "commit":
        priced.commit(lease, 75)
    else:
        priced = priced.at_instant(priced.at + OVERDUE)
    before = len(ends(priced))

    done = release(priced, lease)

    assert (done.canceled, done.released_minor) == (False, 0)
    assert len(ends(priced)) == before == (1 if how == "release" else 0)
    assert priced.used()[1] == 0


def test_commit_after_a_release_is_quarantined_with_its_hint(priced):
    lease = priced.lease(75)
    release(priced, lease)

    answer = priced.commit(lease, 75)

    assert answer.data["application_status"] == "quarantined"
    assert {"type": "lease.closed_at_commit", "state": "canceled"} in answer.hints
    assert priced.used() == (0, 0)
    assert priced.balance() == (10_000, 0, 0)


def test_release_does_not_hold_only_later(priced):
    late = replace(
        priced.by, effective_at=priced.at + MOST_AHEAD + timedelta(microseconds=1)
    )

    with pytest.raises(NotYetEffective):
        release(priced, priced.lease(75), by=late)
    assert ends(priced) == []


def test_cancels_of_before_keep_who_and_why(priced):
    lease = priced.row(priced.lease(75))
    priced.cancel(lease.lease)
    [made] = ends(priced)
    # As it was before there were such rows: only the event told.
    run("SET CONSTRAINTS ALL IMMEDIATE")
    run("ALTER TABLE gate_lease_ends DISABLE TRIGGER USER")
    run("DELETE FROM gate_lease_ends")
    run("ALTER TABLE gate_lease_ends ENABLE TRIGGER USER")

    run(import_module("gating.migrations.0012_hold_desk").KEPT)

    [kept] = ends(priced)
    same = ("lease_id", "reference", "kind", "operator", "reason", "ticket_id", "occurred_at", "account_id", "user_id")  # fmt: skip
    assert {name: getattr(kept, name) for name in same} == {
        name: getattr(made, name) for name in same
    }
    assert (kept.actor_kind, kept.actor_id) == ("system", "migration")


def test_end_of_a_hold_outlives_it(priced):
    released, committed = priced.lease(75), priced.lease(75)
    release(priced, released)
    rating = commit(priced, committed).data["commit_id"]

    purged = purge_leases(at=priced.later(days=365).at)

    assert purged.count >= 2
    assert not Lease.objects.filter(realm=priced.realm).exists()
    found = {
        (e.kind, e.reference, e.rating_id and str(e.rating_id)) for e in ends(priced)
    }
    assert found == {("released", released, None), ("committed", committed, rating)}


# --- commit --------------------------------------------------------------------


def test_commit_charges_what_was_used_and_frees_the_rest(priced):
    lease = priced.lease(75)

    answer = commit(priced, lease, 50, labels={"team": "a"})

    assert (answer.data["application_status"], answer.data["amount_xusd"]) == (
        "applied",
        "500",
    )
    assert priced.row(lease).state == "closed"
    assert priced.used() == (50, 0)
    assert priced.balance() == (9_500, 0, 500)
    [end] = ends(priced)
    assert (end.kind, end.reason, end.ticket_id) == (
        "committed",
        priced.by.reason,
        priced.by.ticket_id,
    )
    rating = priced.rating(answer)
    assert (rating.operation, rating.labels) == ("commit_hold", {"team": "a"})
    assert priced.row(lease).rating_id == rating.pk


def test_commit_of_a_disabled_users_hold_is_possible(priced):
    lease = priced.lease(75)
    change_user(user=priced.user, status="disabled", at=priced.at, by=priced.by)

    assert commit(priced, lease).data["application_status"] == "applied"


def test_commit_is_given_again_for_its_key(priced):
    lease = priced.lease(75)
    first = commit(priced, lease)
    late = replace(priced.by, effective_at=priced.at + timedelta(days=1))

    again = commit(priced, lease, by=late)

    assert (again.replayed, again.data) == (True, first.data)
    assert len(ends(priced)) == 1
    with pytest.raises(KeyReused):
        commit(priced, lease, 51)


def test_key_of_the_caller_is_another_key(priced):
    done, lease = priced.lease(75), priced.lease(75)
    priced.commit(done, 75, key="k")

    assert commit(priced, lease, key="k").replayed is False


def ended(priced, how):
    lease = priced.lease(75)
    if how == "commit":
        priced.commit(lease, 10)
    elif how == "release":
        release(priced, lease)
    elif how == "swept":
        expire_leases(at=priced.at + OVERDUE)
    return lease, priced.at_instant(
        priced.at + (OVERDUE if how in {"swept", "overdue"} else timedelta())
    )


@pytest.mark.parametrize(
    ("how", "state", "sentence"),
    [
        ("commit", "closed", "This hold was committed at 2026-03-10 12:00 UTC."),
        ("release", "canceled", "This hold was released at 2026-03-10 12:00 UTC."),
        ("swept", "expired", "it could be committed until 2026-03-11 00:01 UTC."),
        ("overdue", "expired", "it could be committed until 2026-03-11 00:01 UTC."),
    ],
)
def test_commit_of_an_ended_hold_is_refused_and_leaves_nothing(
    priced, how, state, sentence
):
    lease, gate = ended(priced, how)
    before = (priced.row(lease).state, len(ends(gate)), Rating.objects.count())
    balance = priced.balance()

    with pytest.raises(HoldEnded) as refusal:
        commit(gate, lease)

    assert (refusal.value.status, refusal.value.code) == (409, "HOLD.ENDED")
    assert refusal.value.meta == {"state": state}
    assert sentence in refusal.value.message
    assert "Nothing was charged now." in refusal.value.message
    assert before == (priced.row(lease).state, len(ends(gate)), Rating.objects.count())
    assert priced.balance() == balance


def test_commit_within_the_grace_counts(priced):
    lease = priced.lease(75)

    answer = commit(priced.at_instant(priced.at + GRACE), lease)

    assert answer.data["reason_codes"] == ["late_commit"]
    assert answer.data["application_status"] == "applied"


def test_commit_of_a_feature_that_is_gone_is_refused(gate, at, by):
    feature = gate.feature("gone")
    lease = gate.lease(1, feature="gone")
    delete_feature(feature=feature, at=at, by=by)

    with pytest.raises(FeatureGone) as refusal:
        commit(gate, lease)

    assert refusal.value.status == 422
    assert "no feature gone any more" in refusal.value.message
    assert gate.row(lease).state == "active"


def test_commit_does_not_hold_only_later(priced):
    lease = priced.lease(75)
    late = replace(priced.by, effective_at=priced.at + timedelta(days=1))

    with pytest.raises(NotYetEffective):
        commit(priced, lease, by=late)
    assert (priced.row(lease).state, ends(priced)) == ("active", [])


# --- orphans -------------------------------------------------------------------


def listed(gate, **where):
    found = holds(gate.realm, HoldFilters(**where), at=gate.at).order_by("id")
    return {
        lease.lease: [found.reason for found in orphaned(lease, gate.at)]
        for lease in found
    }


def test_hold_in_use_is_no_orphan(priced):
    lease = priced.lease(75)

    assert listed(priced) == {lease: []}
    assert listed(priced, orphaned=True) == {}
    assert listed(priced, orphaned=False) == {lease: []}


def test_hold_is_an_orphan_once_its_grace_has_passed(priced):
    lease = priced.lease(75)

    assert listed(priced.at_instant(priced.at + GRACE), orphaned=True) == {}
    late = priced.at_instant(priced.at + OVERDUE)
    assert listed(late, orphaned=True) == {lease: ["not_swept"]}
    expire_leases(at=late.at)
    assert listed(late) == {}


@pytest.mark.parametrize("status", ["disabled", "deleted"])
def test_hold_of_a_user_who_left_is_an_orphan(priced, status):
    lease = priced.lease(75)
    other = priced.of_user("u-2")
    other.credit(1000)
    kept = other.lease(1)
    change_user(user=priced.user, status=status, at=priced.at, by=priced.by)

    assert listed(priced) == {lease: ["user_inactive"], kept: []}
    [found] = holds(priced.realm, HoldFilters(orphaned=True), at=priced.at)
    [why] = orphaned(found, priced.at)
    assert why.sentence == f"Its user is {status}, so nobody may commit it."


def test_hold_is_an_orphan_when_no_plan_is_left(gate):
    gate.feature(entitlement_required=False)
    without_plan = gate.lease(1)
    gate.feature("paid", entitlement_required=True)
    plan = gate.plan()
    append_entitlements(
        plan=plan,
        targets=[Target(effect="allow", feature_code="paid")],
        at=gate.at,
        by=gate.by,
    )
    lease = gate.lease(1, feature="paid")
    later = gate.later(hours=1)
    default, own = PlanAssignment.objects.filter(account=gate.account).order_by("id")
    end_assignment(assignment=own, end_at=later.at, at=later.at, by=gate.by)
    assert listed(later) == {without_plan: [], lease: []}

    end_assignment(assignment=default, end_at=later.at, at=later.at, by=gate.by)

    assert listed(later) == {without_plan: [], lease: ["plan_ended"]}
    gate.at_instant(later.at).plan("next", priority=1)
    assert listed(later, orphaned=True) == {}


def test_hold_of_a_feature_switched_off_is_an_orphan(priced):
    lease = priced.lease(75)
    upsert_feature(
        realm=priced.realm,
        feature_code="chat",
        feature_family_code="ai",
        active=False,
        at=priced.at,
        by=priced.by,
    )

    assert listed(priced) == {lease: ["feature_off"]}


def committed_within(gate, times):
    for number, seconds in enumerate(times):
        started = gate.later(seconds=number)
        lease = started.lease(1)
        started.later(seconds=seconds).commit(lease, 1)


@pytest.mark.parametrize(
    ("seconds", "after"),
    [
        (1, timedelta(hours=1)),
        (720, timedelta(hours=2)),
    ],
)
def test_hold_is_slow_after_ten_times_what_is_usual_and_an_hour(gate, seconds, after):
    gate.feature()
    committed_within(gate, [seconds] * 20)
    lease = gate.lease(1)

    at_bound = gate.at_instant(gate.at + after)
    assert listed(at_bound, orphaned=True) == {}
    past = gate.at_instant(at_bound.at + timedelta(microseconds=1))
    assert listed(past, orphaned=True) == {lease: ["slow"]}
    [found] = holds(gate.realm, HoldFilters(), at=past.at)
    [why] = orphaned(found, past.at)
    assert (
        why.sentence
        == {
            1: "It has been held for 1 hour; half of the commits of chat come within 1 second.",
            720: "It has been held for 2 hours; half of the commits of chat come within 12 minutes.",
        }[seconds]
    )


def test_few_commits_tell_nothing_of_what_is_usual(gate):
    gate.feature()
    committed_within(gate, [1] * 19)
    gate.lease(1)

    assert listed(gate.later(hours=11), orphaned=True) == {}


def test_commits_by_hand_and_quarantined_ones_do_not_tell_what_is_usual(gate):
    gate.feature()
    committed_within(gate, [1] * 19)
    by_hand = gate.lease(1)
    commit(gate, by_hand)
    gate.commit(by_hand, 1)
    gate.lease(1)

    assert listed(gate.later(hours=11), orphaned=True) == {}


def test_one_hold_may_be_an_orphan_for_several_reasons(priced):
    lease = priced.lease(75)
    change_user(user=priced.user, status="disabled", at=priced.at, by=priced.by)

    late = priced.at_instant(priced.at + OVERDUE)

    assert listed(late, orphaned=True) == {lease: ["not_swept", "user_inactive"]}


# --- reads ---------------------------------------------------------------------


def test_unit_is_that_of_the_policy_while_it_is_there(gate):
    gate.feature()
    policy = gate.quota(500, unit="token")
    gate.lease(5)

    [lease] = holds(gate.realm, HoldFilters(), at=gate.at)
    assert lease.counted_unit == "token"
    delete_policy(policy=policy, at=gate.at, by=gate.by)
    [lease] = holds(gate.realm, HoldFilters(), at=gate.at)
    assert lease.counted_unit == "unit"


def test_holds_are_added_up_by_account_and_feature(priced):
    priced.feature("draw", price=1)
    priced.lease(75)
    priced.later(minutes=1).lease(25)
    priced.later(minutes=2).lease(3, feature="draw")
    other = priced.of_principal("globex")
    other.credit(10_000)
    left = other.later(minutes=3)
    left.lease(10)
    priced.commit(priced.lease(5), 5)
    change_user(user=other.user, status="disabled", at=priced.at, by=priced.by)

    rows, total = held_together(
        priced.realm, HoldFilters(), limit=50, at=priced.later(minutes=10).at
    )

    assert [
        (row.principal_id, row.feature_code, row.count, row.orphaned_count, row.reserved_minor, row.reserved_xusd)
        for row in rows
    ] == [
        ("acme", "chat", 2, 0, 100, 1000),
        ("acme", "draw", 1, 0, 3, 3),
        ("globex", "chat", 1, 1, 10, 100),
    ]  # fmt: skip
    assert [row.oldest_at for row in rows] == [
        priced.at,
        priced.later(minutes=2).at,
        left.at,
    ]
    assert (total.count, total.orphaned_count, total.reserved_xusd) == (4, 1, 1103)
    assert total.oldest_at == priced.at
    [first], whole = held_together(
        priced.realm, HoldFilters(), limit=1, at=priced.later(minutes=10).at
    )
    assert (first.feature_code, whole) == ("chat", total)


def test_nothing_held_adds_up_to_nothing(gate):
    rows, total = held_together(gate.realm, HoldFilters(), limit=50, at=gate.at)

    assert rows == []
    assert (total.count, total.orphaned_count, total.oldest_at, total.reserved_xusd) == (0, 0, None, 0)  # fmt: skip
