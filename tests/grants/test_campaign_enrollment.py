"""Campaigns by the clock: they begin, enroll whom they target, and end."""

import itertools
from datetime import timedelta

import pytest
from django.db import transaction

from billing.models import PlanAssignment
from billing.services.accounts import ensure_account, set_seat_limit
from billing.services.plans import upsert_plan
from billing.services.users import change_user, ensure_user
from config.tenancy.history import auditing
from grants.models import GrantAssignment, GrantCampaign, GrantLot
from grants.services import campaign_enrollment
from grants.services.campaign_enrollment import (
    Advanced,
    Place,
    advance_campaigns,
    enroll_targets,
    sweep_campaigns,
)
from grants.services.campaigns import change_campaign
from grants.services.credits import credit_balance
from grants.services.ledger import MOST_XUSD
from tests.billing.answers import explained
from tests.billing.races import race
from tests.grants.make import grants, make_campaign, make_event_campaign, make_program

DAY = timedelta(days=1)


@pytest.fixture
def program(realm, at, by):
    return make_program(realm, at=at, by=by)


@pytest.fixture
def people(realm, at, by):
    """Return the active users of two accounts: three of acme, two of globex."""
    return populated(realm, at, by)


def populated(realm, at, by, **counts):
    found = {}
    for principal, count in (counts or {"acme": 3, "globex": 2}).items():
        account = ensure_account(realm=realm, principal_id=principal, at=at, by=by)
        set_seat_limit(account=account, seat_limit=None, at=at, by=by)
        found[principal] = [
            ensure_user(account=account, business_user_id=f"u-{n}", at=at, by=by)
            for n in range(count)
        ]
    return found


def lots(campaign):
    """How many lots each user has of a campaign, by user."""
    counts = {}
    for lot in GrantLot.objects.filter(assignment__campaign=campaign):
        counts[lot.user_id] = counts.get(lot.user_id, 0) + 1
    return counts


def test_every_active_user_is_enrolled_once(realm, program, people, at, by):
    change_user(user=people["acme"][2], status="disabled", at=at, by=by)
    campaign = make_campaign(realm, window_end=at + DAY, at=at, by=by)

    first = enroll_targets(campaign, at=at, by=by)
    again = enroll_targets(campaign, at=at, by=by)

    active = [*people["acme"][:2], *people["globex"]]
    assert (first.given, first.failed, first.after) == (4, [], None)
    assert (again.given, again.failed, again.after) == (0, [], None)
    assert lots(campaign) == {user.pk: 1 for user in active}


def test_enrollment_is_of_the_campaigns_window_and_terms(
    realm, program, people, at, by
):
    metadata = {**grants("welcome"), "theme": "spring"}
    campaign = make_campaign(
        realm, window_end=at + DAY, metadata=metadata, at=at, by=by
    )

    enroll_targets(campaign, at=at + timedelta(hours=3), by=by)

    row = GrantAssignment.objects.filter(campaign=campaign).first()
    assert (row.source_kind, row.source_ref) == ("ops.campaign", str(campaign.pk))
    assert (row.window_start, row.window_end) == (at, at + DAY)
    assert row.amount_xusd == 700
    assert row.metadata == {
        "theme": "spring",
        "grant_campaign_id": str(campaign.pk),
        "grant_override": {
            "grant_program_code": "welcome",
            "amount_xusd": row.metadata["grant_override"]["amount_xusd"],
        },
    }


def test_only_targeted_accounts_are_enrolled(realm, program, people, at, by):
    globex = people["globex"][0].account
    campaign = make_campaign(
        realm, target_filter={"billing_account_ids": [str(globex.pk)]}, at=at, by=by
    )

    enroll_targets(campaign, at=at, by=by)

    assert set(lots(campaign)) == {user.pk for user in people["globex"]}


def test_user_who_comes_later_is_enrolled_by_the_next_run(
    realm, program, people, at, by
):
    campaign = make_campaign(realm, at=at, by=by)
    enroll_targets(campaign, at=at, by=by)
    account = people["acme"][0].account
    newcomer = ensure_user(account=account, business_user_id="new", at=at, by=by)

    assert enroll_targets(campaign, at=at + DAY, by=by).given == 1
    assert newcomer.pk in lots(campaign)


def test_enrollment_goes_on_where_it_stopped(realm, program, people, at, by):
    campaign = make_campaign(realm, at=at, by=by)
    seen, after = [], None
    while True:
        run = enroll_targets(campaign, at=at, by=by, after=after, batch=2)
        seen.append(run.given)
        after = run.after
        if after is None:
            break

    assert seen == [2, 2, 1]
    assert len(lots(campaign)) == 5


def test_run_that_was_killed_is_made_up_for(
    realm, program, people, monkeypatch, at, by
):
    campaign = make_campaign(realm, at=at, by=by)
    give, calls = campaign_enrollment.give, []

    class Killed(BaseException):
        """What no handler of failures catches."""

    def dying(*args, **kwargs):
        if len(calls) == 2:
            raise Killed
        calls.append(1)
        return give(*args, **kwargs)

    monkeypatch.setattr(campaign_enrollment, "give", dying)
    with pytest.raises(Killed):
        enroll_targets(campaign, at=at, by=by)
    monkeypatch.undo()

    assert len(lots(campaign)) == 2
    assert enroll_targets(campaign, at=at, by=by).given == 3
    assert set(lots(campaign).values()) == {1}


@pytest.mark.parametrize("status", ["paused", "ended"])
def test_campaign_that_does_not_run_enrolls_nobody(
    realm, program, people, status, at, by
):
    campaign = make_campaign(realm, at=at, by=by)
    stale = GrantCampaign.objects.get(pk=campaign.pk)
    change_campaign(campaign=campaign, changes={"status": status}, at=at, by=by)
    campaign.refresh_from_db()

    assert enroll_targets(campaign, at=at, by=by).given == 0
    # Also where the caller read it before.
    assert enroll_targets(stale, at=at, by=by).given == 0
    assert lots(campaign) == {}


def test_campaign_enrolls_within_its_window_only(realm, program, people, at, by):
    campaign = make_campaign(realm, window_end=at + DAY, at=at, by=by)

    before = enroll_targets(campaign, at=at - timedelta(microseconds=1), by=by)
    after = enroll_targets(campaign, at=at + DAY, by=by)

    assert (before.given, after.given) == (0, 0)


def test_event_campaign_enrolls_nobody_by_the_clock(realm, program, people, at, by):
    campaign = make_event_campaign(realm, "shop.paid", at=at, by=by)

    assert enroll_targets(campaign, at=at, by=by).given == 0


def test_user_who_cannot_be_given_does_not_stop_the_others(
    realm, program, people, at, by
):
    unlucky = people["acme"][1]
    credit_balance(user=unlucky, amount_xusd=MOST_XUSD, source_ref="all", at=at, by=by)
    campaign = make_campaign(realm, at=at, by=by)

    run = enroll_targets(campaign, at=at, by=by)

    assert (run.given, run.failed) == (4, [unlucky.pk])
    assert unlucky.pk not in lots(campaign)
    assert not GrantAssignment.objects.filter(user=unlucky, campaign=campaign).exists()


def test_plan_and_all_grants_are_given(realm, program, people, at, by):
    make_program(realm, "second", at=at, by=by)
    upsert_plan(realm=realm, plan_code="promo", name="P", kind="promo", at=at, by=by)
    metadata = {**grants("welcome", "second"), "billing_plan_code": "promo"}
    campaign = make_campaign(
        realm, window_end=at + DAY, metadata=metadata, at=at, by=by
    )

    first = enroll_targets(campaign, at=at, by=by)
    again = enroll_targets(campaign, at=at, by=by)

    assert (first.given, again.given) == (10, 0)
    found = PlanAssignment.objects.filter(plan__plan_code="promo")
    assert found.count() == 5
    assert {(row.window_start, row.window_end) for row in found} == {(at, at + DAY)}


# --- begin and end ------------------------------------------------------------


def mine(campaign):
    return GrantCampaign.objects.get(pk=campaign.pk)


def test_campaigns_begin_and_end_by_their_windows(realm, program, at, by):
    soon = {"status": "scheduled", "at": at, "by": by}
    begins = make_campaign(realm, "begins", window_start=at, **soon)
    later = make_campaign(realm, "later", window_start=at + DAY, **soon)
    paused = make_campaign(realm, "paused", window_start=at, **soon)
    change_campaign(campaign=paused, changes={"status": "paused"}, at=at, by=by)
    ends = make_campaign(
        realm, "ends", window_start=at - DAY, window_end=at, at=at, by=by
    )
    missed = make_campaign(
        realm, "missed", window_start=at - 3 * DAY, window_end=at - DAY, **soon
    )

    run = advance_campaigns(at=at, by=by)

    assert run == Advanced(activated=1, ended=2)
    states = {
        row.name: (row.status, row.ended_at)
        for row in map(mine, (begins, later, paused, ends, missed))
    }
    assert states == {
        "begins": ("active", None),
        "later": ("scheduled", None),
        "paused": ("paused", None),
        "ends": ("ended", at),
        "missed": ("ended", at - DAY),
    }
    assert len(explained(begins)) == 2
    assert advance_campaigns(at=at, by=by) == Advanced(0, 0)


def test_sweep_begins_enrolls_and_ends(realm, program, people, at, by):
    campaign = make_campaign(
        realm, status="scheduled", window_start=at, window_end=at + DAY, at=at, by=by
    )

    advanced, enrolled = sweep_campaigns(at=at, by=by, batch=2)

    assert (advanced.activated, enrolled.given, enrolled.failed) == (1, 5, [])
    advanced, enrolled = sweep_campaigns(at=at + DAY, by=by)
    assert (advanced.ended, enrolled.given) == (1, 0)
    assert mine(campaign).status == "ended"
    assert len(lots(campaign)) == 5


def break_metadata(campaign, at, by):
    """Write what no form would: metadata that nothing can read."""
    with transaction.atomic(), auditing(by, at=at):
        GrantCampaign.objects.filter(pk=campaign.pk).update(
            metadata={"grants": [{"grant_program_code": "welcome"}, 3]}
        )


def test_one_campaign_that_fails_stops_no_other(realm, program, people, at, by):
    broken = make_campaign(realm, "broken", at=at, by=by)
    sound = make_campaign(realm, "sound", at=at, by=by)
    break_metadata(broken, at, by)

    _, enrolled = sweep_campaigns(at=at, by=by)

    assert (enrolled.given, enrolled.failed) == (5, [broken.pk])
    assert len(lots(sound)) == 5


def test_one_campaign_that_cannot_end_stops_no_other(
    realm, program, at, by, monkeypatch
):
    ends = {"window_start": at - DAY, "window_end": at, "at": at, "by": by}
    broken, sound = (make_campaign(realm, name, **ends) for name in ("bad", "good"))
    end = campaign_enrollment.end_campaign

    def fail_of_one(campaign, **terms):
        if campaign.pk == broken.pk:
            raise RuntimeError("no luck")
        return end(campaign, **terms)

    monkeypatch.setattr(campaign_enrollment, "end_campaign", fail_of_one)

    run = advance_campaigns(at=at, by=by)

    assert run == Advanced(activated=0, ended=1, failed=[broken.pk])
    assert mine(sound).status == "ended"


def test_a_sweep_that_is_stopped_goes_on_where_it_was(realm, program, people, at, by):
    made = [make_campaign(realm, name, at=at, by=by) for name in ("one", "two")]
    asked, given, place = itertools.count(1), [], Place()

    while place is not None:
        _, swept = sweep_campaigns(
            at=at, by=by, batch=2, place=place, stop=lambda: next(asked) % 2 == 0
        )
        given.append(swept.given)
        place = swept.place

    assert (sum(given), max(given)) == (10, 2)
    assert [len(lots(campaign)) for campaign in made] == [5, 5]


def test_few_users_are_looked_at_by_one_statement(
    realm, program, people, at, by, monkeypatch
):
    campaign = make_campaign(realm, at=at, by=by)
    enroll_targets(campaign, at=at, by=by)
    late = populated(realm, at, by, later=1)["later"][0]
    monkeypatch.setattr(campaign_enrollment, "LOOKED_AT", 2)

    runs, after = [], None
    while not runs or after is not None:
        run = enroll_targets(campaign, at=at, by=by, after=after)
        runs.append(run.given)
        after = run.after

    assert runs[:3] == [0, 0, 1]
    assert late.pk in lots(campaign)


# --- at once ------------------------------------------------------------------


@pytest.fixture
def crowd(committed_realm, at, by):
    make_program(committed_realm, at=at, by=by)
    populated(committed_realm, at, by, acme=6)
    return committed_realm


def test_two_sweeps_at_once_enroll_each_user_once(crowd, at, by):
    campaign = make_campaign(crowd, at=at, by=by)

    given = race(lambda _: enroll_targets(campaign, at=at, by=by).given, threads=4)

    assert sum(given) == 6
    assert list(lots(campaign).values()) == [1] * 6
    assert GrantAssignment.objects.filter(campaign=campaign).count() == 6


def test_without_its_one_reference_the_same_race_gives_twice(
    crowd, monkeypatch, at, by
):
    """The control: a reference of its own for each run is what must not be."""
    import itertools
    from dataclasses import replace

    give, numbers = campaign_enrollment.give, itertools.count()

    def unguarded(gift, user, *, at, by):
        own = replace(gift, source_ref=f"{gift.source_ref}:{next(numbers)}")
        return give(own, user, at=at, by=by)

    monkeypatch.setattr(campaign_enrollment, "give", unguarded)
    campaign = make_campaign(crowd, at=at, by=by)

    given = race(lambda _: enroll_targets(campaign, at=at, by=by).given, threads=4)

    assert sum(given) > 6


def test_campaign_advanced_by_many_at_once_begins_once(crowd, at, by):
    campaign = make_campaign(crowd, status="scheduled", at=at, by=by)

    race(lambda _: advance_campaigns(at=at, by=by), threads=4)

    assert mine(campaign).status == "active"
    assert len(explained(campaign)) == 2


def test_nobody_is_enrolled_after_the_end_was_told(crowd, at, by):
    """Whoever ends a campaign waits for those being enrolled, and no more follow."""
    campaign = make_campaign(crowd, at=at, by=by)

    def work(which):
        if which == 0:
            with transaction.atomic():
                change_campaign(
                    campaign=campaign, changes={"status": "ended"}, at=at, by=by
                )
                return GrantAssignment.objects.filter(campaign=campaign).count()
        return enroll_targets(campaign, at=at, by=by).given

    seen, given = race(work, threads=2)

    assert GrantAssignment.objects.filter(campaign=campaign).count() == given
    assert given == seen
