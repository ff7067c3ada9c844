"""The jobs of grants do their work, and again nothing."""

import pytest

from config.tenancy.models import JobRun
from config.tenancy.periodic import jobs
from grants.models import GrantLot
from grants.selectors import readers
from grants.selectors.readers import register_hold_reader
from grants.services.campaigns import CampaignTerms, create_campaign
from tests.grants.lots import (
    DAY,
    bind,
    finish_others,
    give,
    hold,
    overage_program,
    use,
)


@pytest.fixture
def user(user, at, by):
    finish_others(at=at, by=by)
    return user


def run(name, at):
    """Run a job; return what it came to."""
    outcome = jobs()[name].run(at)
    return outcome.done, outcome.failed


def test_what_bindings_give_is_issued(user, at, by):
    bind(user, at=at, by=by, amount_xusd=70)

    assert [run("sweep_bindings", at) for _ in range(2)] == [(1, 0), (0, 0)]
    assert GrantLot.objects.get(user=user).amount_xusd == 70


def test_campaigns_begin_and_enroll(user, at, by):
    campaign = create_campaign(
        realm=user.realm,
        terms=CampaignTerms(
            name="Spring",
            window_start=at + DAY,
            window_end=at + 9 * DAY,
            metadata={
                "grants": [{"grant_program_code": "one_time_xusd", "amount_xusd": "30"}]
            },
        ),
        at=at,
        by=by,
    )

    begun = [run("sweep_campaigns", at + DAY) for _ in range(2)]

    campaign.refresh_from_db()
    assert begun == [(2, 0), (0, 0)]
    assert campaign.status == "active"
    assert GrantLot.objects.get(user=user).amount_xusd == 30


def test_uses_are_settled(user, at, by):
    lot = give(user, 500, at=at, by=by)
    use(user, 40, at=at, lot=lot)

    assert [run("settle_uses", at) for _ in range(2)] == [(1, 0), (0, 0)]
    posting = user.postings.get(reason="consumption")
    assert (posting.actor_kind, posting.actor_id) == ("job", "settle_uses")
    assert posting.trace_id == JobRun.objects.get(job="settle_uses", done=1).trace_id


def test_lots_that_ended_are_closed(user, at, by):
    give(user, 500, at=at, by=by)

    late = at + 31 * DAY

    assert [run("close_lots", late) for _ in range(2)] == [(1, 0), (0, 0)]
    assert GrantLot.objects.get(user=user).status == "closed"


def test_entries_are_sealed(user, at, by):
    give(user, 500, at=at, by=by)

    assert [run("seal_ledger", at) for _ in range(2)] == [(2, 0), (0, 0)]


def test_what_does_not_hold_is_told_every_night(
    committed_realm, make_user, at, by, monkeypatch
):
    user = make_user(committed_realm)
    lot = give(user, 500, at=at, by=by)
    monkeypatch.setattr(readers, "_use_readers", [])
    monkeypatch.setattr(readers, "_use_lookups", {})
    monkeypatch.setattr(readers, "_hold_readers", [])
    register_hold_reader(lambda realm_id, account_ids: {})
    before = run("prove_ledger", at)
    hold(lot, 3)

    done, failed = run("prove_ledger", at)

    assert done >= 1
    assert failed == before[1] + 1
    hold(lot, -3)


@pytest.mark.parametrize(
    ("policy", "rest"),
    [
        ("forfeit", {"forfeited": 460}),
        ("refund", {"refunded": 460}),
    ],
)
def test_a_month_of_one_user(user, at, by, policy, rest):
    overage_program(user.realm, at=at, by=by)
    assignment = bind(user, at=at, by=by, policy=policy)
    lot = give(user, 500, at=at, by=by, assignment=assignment)
    use(user, 40, at=at, lot=lot)

    for day in range(33):
        for name in ("settle_uses", "close_lots", "seal_ledger"):
            run(name, at + day * DAY)

    found = dict(user.ledger_accounts.values_list("kind", "balance_xusd"))
    assert {kind: found[kind] for kind in rest} == rest
    assert found["consumed"] == 40
    assert found["promotional"] == 0
