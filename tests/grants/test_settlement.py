"""Settlement puts each use into the ledger once, whatever cuts it off or runs beside it."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from billing.services.assignments import Identity, assign_plan
from billing.services.plans import upsert_plan
from config.kernel.money import INT64_MAX
from config.kernel.windows import Window
from grants.models import GrantAllocation, GrantLot, Posting
from grants.selectors.proof import findings
from grants.selectors.wallets import wallet_of
from grants.services import settlement, settlement_sweep
from grants.services.issuance import issue_lot
from grants.services.ledger import KeyPostedOtherwise
from grants.services.settlement import NoOverageProgram, settle_user
from grants.services.settlement_sweep import Place, settle_pending
from tests.grants.giving import bind as bind_to
from tests.grants.giving import make_program
from tests.grants.lots import DAY, balances, finish_others, give, overage_program, use
from tests.grants.racing import race


@pytest.fixture
def lots(user, at, by):
    """A paid lot of 500 and a promotional one of 300."""
    finish_others(at=at, by=by)
    overage_program(user.realm, at=at, by=by)
    return (
        give(user, 500, at=at, by=by, on_ledger=True),
        give(user, 300, at=at, by=by),
    )


def settle(user, at, by, **options):
    return settle_user(user=user, at=at, by=by, **options)


def test_uses_are_settled_in_one_posting_with_an_entry_per_lot(user, lots, at, by):
    paid, promotional = lots
    for lot, amount in ((paid, 120), (paid, 30), (promotional, 50)):
        use(user, amount, at=at, lot=lot)

    done = settle(user, at, by)

    posting = Posting.objects.get(reason="consumption")
    entries = posting.entries.values_list("ledger_account__kind", "lot", "amount_xusd")
    assert (done.count, done.amount_xusd) == (3, 200)
    assert set(entries) == {
        ("wallet", paid.pk, -150),
        ("consumed", paid.pk, 150),
        ("promotional", promotional.pk, -50),
        ("consumed", promotional.pk, 50),
    }
    assert balances(user) == {
        "wallet": 350, "promotional": 250, "issued": -800, "consumed": 200
    }  # fmt: skip
    assert [GrantLot.objects.get(pk=lot.pk).settled_xusd for lot in lots] == [150, 50]
    assert set(user.grant_allocations.values_list("posting", flat=True)) == {posting.pk}


def test_settling_again_changes_nothing(user, lots, at, by):
    use(user, 120, at=at, lot=lots[0])
    settle(user, at, by)

    again = settle(user, at, by)

    assert (again.count, again.amount_xusd) == (0, 0)
    assert Posting.objects.filter(user=user, reason="consumption").count() == 1


def test_a_batch_takes_the_oldest_and_the_next_goes_on(user, lots, at, by):
    for _ in range(5):
        use(user, 10, at=at, lot=lots[0])

    counts = [settle(user, at, by, batch=2).count for _ in range(4)]

    assert counts == [2, 2, 1, 0]
    assert balances(user)["consumed"] == 50


def test_what_no_lot_paid_is_owed_in_the_period_of_its_use(user, lots, at, by):
    for month, amount in ((1, 40), (2, 7), (2, 5)):
        use(user, amount, at=datetime(2026, month, 28, tzinfo=UTC))

    settle(user, at, by)

    owed = GrantLot.objects.filter(user=user, kind="fallback").order_by("window_start")
    assert [
        (lot.period_start.month, lot.period_end.month, lot.consumed_xusd,
         lot.settled_xusd, lot.remaining_xusd)
        for lot in owed
    ] == [(1, 2, 40, 40, -40), (2, 3, 12, 12, -12)]  # fmt: skip
    assert balances(user)["outstanding"] == -52
    assert not GrantAllocation.objects.filter(user=user, lot=None).exists()


def test_a_period_has_one_overage_lot(user, lots, at, by):
    use(user, 40, at=at)
    settle(user, at, by)
    use(user, 2, at=at)

    settle(user, at, by)

    lot = GrantLot.objects.get(user=user, kind="fallback")
    assert (lot.consumed_xusd, lot.settled_xusd) == (42, 42)


def test_an_anchored_plan_counts_periods_from_its_start(user, lots, at, by):
    plan, _ = upsert_plan(
        realm=user.realm, plan_code="pro", name="Pro", kind="base", priority=10,
        metadata={"billing_defaults": {"period": {"issue_anchor": "binding_start"}}},
        at=at, by=by,
    )  # fmt: skip
    assign_plan(
        identity=Identity(user.account, None, plan, "ops.manual", "c-1"),
        window=Window(datetime(2026, 1, 31, 12, tzinfo=UTC)),
        at=at,
        by=by,
    )
    use(user, 9, at=datetime(2026, 2, 28, 11, tzinfo=UTC))
    use(user, 5, at=datetime(2026, 2, 28, 13, tzinfo=UTC))

    settle(user, at, by)

    owed = GrantLot.objects.filter(user=user, kind="fallback").order_by("window_start")
    assert [(lot.window_start.day, lot.consumed_xusd) for lot in owed] == [
        (31, 9),
        (28, 5),
    ]


def test_a_realm_without_the_overage_program(user, at, by, monkeypatch):
    monkeypatch.setattr(settlement, "FALLBACK_PROGRAM", "gone")
    use(user, 9, at=at)

    with pytest.raises(NoOverageProgram):
        settle(user, at, by)


def test_one_user_that_fails_keeps_no_other_waiting(
    user, lots, make_user, other_realm, at, by
):
    broken = make_user(other_realm, principal="broken")
    for _ in range(2):
        use(broken, INT64_MAX, at=at)
    use(user, 5, at=at, lot=lots[0])

    done = settle_pending(at=at, by=by)

    assert done.amount_xusd == 5
    assert done.failed == [broken.pk]


def test_any_failure_of_one_user_keeps_no_other_waiting(
    user, lots, make_user, other_realm, at, by, monkeypatch
):
    broken = make_user(other_realm, principal="broken")
    use(broken, 5, at=at)
    use(user, 5, at=at, lot=lots[0])

    def fail_of_one(user, **terms):
        if user.pk == broken.pk:
            raise RuntimeError("no luck")
        return settle_user(user=user, **terms)

    monkeypatch.setattr(settlement_sweep, "settle_user", fail_of_one)

    done = settle_pending(at=at, by=by)

    assert (done.amount_xusd, done.failed) == (5, [broken.pk])


@pytest.mark.parametrize("at_once", [1, 2, 500])
def test_a_run_that_is_stopped_is_gone_on_with(
    user, lots, make_user, at, by, monkeypatch, at_once
):
    monkeypatch.setattr(settlement_sweep, "USERS_AT_ONCE", at_once)
    users = [user, *(make_user(user.realm, f"u-{n}") for n in (2, 3))]
    for each in users:
        use(each, 5, at=at)
    runs, place = [], Place()

    while place is not None:
        asked = iter([False, True, True])
        run = settle_pending(at=at, by=by, place=place, stop=lambda: next(asked))
        # What comes in meanwhile at the first ones does not keep the last waiting.
        use(user, 1, at=at)
        runs.append(run.count)
        place = run.place

    assert runs == [1, 1, 1]
    assert all(balances(each).get("consumed") for each in users)


def test_periods_are_asked_once_for_the_uses_of_an_hour(
    user, lots, at, by, monkeypatch
):
    asked = []
    ask = settlement.accounting_period

    def count(**terms):
        asked.append(terms["as_of"])
        return ask(**terms)

    monkeypatch.setattr(settlement, "accounting_period", count)
    for minutes in (0, 1, 2, 61):
        use(user, 5, at=at + timedelta(minutes=minutes))

    settle(user, at + DAY, by)

    assert asked == [at, at + timedelta(minutes=61)]


def test_two_runs_at_once_settle_each_use_once(committed_realm, make_user, at, by):
    user = make_user(committed_realm)
    lot = give(user, 10_000, at=at, by=by)
    for _ in range(40):
        use(user, 10, at=at, lot=lot)

    done = race(lambda _: settle(user, at, by, batch=7), threads=8)

    while settle(user, at, by).count:
        pass
    assert sum(each.count for each in done) <= 40
    assert balances(user) == {"promotional": 9600, "issued": -10_000, "consumed": 400}
    assert GrantLot.objects.get(pk=lot.pk).settled_xusd == 400


def test_control_runs_that_do_not_claim_meet(committed_realm, make_user, at, by):
    user = make_user(committed_realm)
    lot = give(user, 10_000, at=at, by=by)
    for _ in range(10):
        use(user, 10, at=at, lot=lot)

    def unclaimed(pending):
        found = list(pending)
        time.sleep(0.1)  # the time in which another run reads the same
        return found

    def attempt(_):
        try:
            return settle(user, at, by, claim=unclaimed).count
        except KeyPostedOtherwise as error:
            return type(error).__name__

    # The key of the posting then refuses to settle the same allocations again.
    assert sorted(map(str, race(attempt, threads=4))) == [
        "10", "KeyPostedOtherwise", "KeyPostedOtherwise", "KeyPostedOtherwise",
    ]  # fmt: skip


def test_a_run_cut_off_before_its_commit_leaves_nothing(
    committed_realm, make_user, at, by
):
    user = make_user(committed_realm)
    lot = give(user, 500, at=at, by=by)
    use(user, 40, at=at, lot=lot)

    with pytest.raises(ConnectionError), transaction.atomic():
        settle(user, at, by)
        raise ConnectionError

    assert balances(user) == {"promotional": 500, "issued": -500}
    assert settle(user, at, by).amount_xusd == 40
    assert balances(user)["consumed"] == 40


def test_fifty_uses_take_no_more_statements_than_one(user, lots, at, by):
    taken = []
    for uses in (1, 1, 50):
        for _ in range(uses):
            use(user, 1, at=at, lot=lots[0])
        with CaptureQueriesContext(connection) as statements:
            settle(user, at, by)
        taken.append(len(statements))

    assert taken[2] == taken[1]


def pays_what_is_owed(realm, user, at, by):
    """Return a lot of 1,000 that pays what is owed first."""
    program = make_program(
        realm, at, by, amount_xusd=1_000, cadence="once",
        outstanding_application_policy="apply_to_outstanding",
    )  # fmt: skip
    assignment = bind_to(user, program, at, by)
    return issue_lot(assignment=assignment, reference_at=at, at=at, by=by)[0]


def test_a_lot_pays_what_was_owed_before_it_though_it_is_settled_later(
    realm, user, at, by
):
    overage_program(realm, at=at, by=by)
    use(user, 300, at=at)
    lot = pays_what_is_owed(realm, user, at, by)

    settle_user(user=user, at=at, by=by)

    lot.refresh_from_db()
    wallet = wallet_of(user=user, at=at)
    assert (lot.consumed_xusd, lot.settled_xusd) == (300, 300)
    assert (wallet.outstanding_xusd, wallet.gross_xusd) == (0, 700)
    assert list(findings(account_id=user.account_id)) == []


def test_a_lot_pays_the_same_overage_as_often_as_it_grows(realm, user, at, by):
    overage_program(realm, at=at, by=by)
    lot = pays_what_is_owed(realm, user, at, by)
    for amount in (300, 200):
        use(user, amount, at=at)
        settle_user(user=user, at=at, by=by)

    [overage] = GrantLot.objects.filter(user=user, kind="fallback")
    lot.refresh_from_db()
    assert (overage.consumed_xusd, overage.paid_xusd) == (500, 500)
    assert lot.consumed_xusd == 500
    assert list(findings(account_id=user.account_id)) == []
