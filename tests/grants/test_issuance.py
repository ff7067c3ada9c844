"""Lots are issued once per period, on the terms in force, and are in the ledger."""

from dataclasses import replace
from datetime import timedelta

import pytest

from config.kernel.errors import Invalid
from config.kernel.windows import Window
from config.tenancy.models import DomainEvent
from grants.models import GrantAllocation, GrantLot, GrantProgram, Posting
from grants.schedule import NeedsPeriodWindow, NoBillingPeriod
from grants.services.assignments import GrantIdentity, GrantTerms, assign_grant
from grants.services.issuance import catch_up, issue_lot
from grants.services.ledger import MOST_XUSD
from grants.services.outstanding import pay_outstanding
from tests.grants.giving import (
    amounts,
    assert_proven,
    balances,
    bind,
    day,
    lots_of,
    make_program,
)

INT64_MAX = 2**63 - 1


@pytest.fixture
def program(realm, at, by):
    return make_program(realm, at, by, on_ledger=True, priority=7)


@pytest.fixture
def issue(at, by):
    def issue(assignment, reference_at=None, **options):
        return issue_lot(
            assignment=assignment, reference_at=reference_at or at, at=at, by=by, **options
        )  # fmt: skip

    return issue


@pytest.fixture
def owe(realm, user):
    """Return a maker of overage: what the user owes of a month, and what of it was paid."""
    program = GrantProgram.objects.get(realm=realm, program_code="fallback-cash")

    def owe(by, at, start, amount, paid=0):
        from config.tenancy.history import auditing

        end = start + timedelta(days=28)
        with auditing(by, at=at):
            return GrantLot.objects.create(
                realm=realm, account=user.account, user=user, program=program,
                period_start=start, period_end=end, window_start=start, window_end=end,
                issue_key=f"overage:{start}", source_kind="internal.catalog",
                source_ref="overage", kind="fallback", priority=-100_000, amount_xusd=0,
                consumed_xusd=amount, paid_xusd=paid,
            )  # fmt: skip

    return owe


def test_lot_has_the_terms_of_its_program(user, program, issue, at, by):
    assignment = bind(user, program, at, by, metadata={"note": "hello"})

    lot, created = issue(assignment)

    assert created
    assert (lot.amount_xusd, lot.kind, lot.priority, lot.on_ledger) == (
        100,
        "grant",
        7,
        True,
    )
    assert (lot.period_start, lot.period_end) == (day("2026-03-01"), day("2026-04-01"))
    assert (lot.window_start, lot.window_end) == (at, day("2026-04-01"))
    assert (lot.status, lot.outstanding_policy, lot.alloc_seq) == ("ready", "never", 0)
    assert (lot.source_kind, lot.source_ref) == ("ops.manual", "ref-1")
    assert lot.issue_key == (
        f"grant:{assignment.pk}:0:2026-03-01T00:00:00.000000Z:2026-04-01T00:00:00.000000Z"
    )
    assert lot.metadata == {
        "note": "hello", "program_id": str(program.pk), "program_code": "perk",
        "assignment_id": str(assignment.pk), "issuance_mode": "eager", "quantity": 1,
    }  # fmt: skip


def test_override_replaces_the_terms_of_the_program(user, program, issue, at, by):
    override = {
        "amount_xusd": "250", "on_ledger_override": False, "priority_override": 0,
        "kind_override": "promo", "issue_anchor_override": "binding_start",
        "window_kind_override": "relative_duration",
        "window_relative_seconds_override": 60, "alloc_seq_override": 3,
        "metadata": {"campaign": "spring"},
    }  # fmt: skip
    metadata = {"grant_override": override}
    assignment = bind(user, program, at, by, quantity=3, metadata=metadata)

    lot, _ = issue(assignment)

    assert (lot.amount_xusd, lot.kind, lot.priority, lot.on_ledger) == (
        750,
        "promo",
        0,
        False,
    )
    assert (lot.window_start, lot.window_end) == (at, at + timedelta(seconds=60))
    assert (lot.period_start, lot.alloc_seq) == (at, 3)
    assert lot.metadata["campaign"] == "spring"


@pytest.mark.parametrize(
    ("amount", "override", "quantity", "expected"),
    [
        (None, {}, 1, 100),
        (None, {}, 4, 400),
        (40, {"amount_xusd": 70}, 1, 40),
        (None, {"amount_xusd": 70}, 2, 140),
        (None, {"amount_xusd": 70, "scale_by_invoice_quantity": False}, 9, 70),
        (40, {"scale_by_invoice_quantity": True}, 3, 120),
    ],
)
def test_amount_of_a_lot(
    user, program, issue, at, by, amount, override, quantity, expected
):
    assignment = bind(
        user, program, at, by, amount_xusd=amount, quantity=quantity,
        metadata={"grant_override": override},
    )  # fmt: skip

    assert issue(assignment)[0].amount_xusd == expected


@pytest.mark.parametrize("amount", [{"amount_xusd": 0}, {"metadata": {"grant_override": {"amount_xusd": 0}}}])  # fmt: skip
def test_amount_of_zero_creates_nothing(user, program, issue, at, by, amount):
    assert issue(bind(user, program, at, by, **amount)) == (None, False)
    assert lots_of(user) == []


def test_amount_beyond_64_bits_is_refused(user, program, issue, at, by):
    assignment = bind(user, program, at, by, amount_xusd=INT64_MAX, quantity=2)

    with pytest.raises(Invalid):
        issue(assignment)

    assert lots_of(user) == []


def test_balance_beyond_the_most_is_refused(user, program, issue, at, by):
    issue(bind(user, program, at, by, amount_xusd=MOST_XUSD))

    with pytest.raises(Invalid):
        issue(bind(user, program, at, by, ref="ref-2", amount_xusd=1))

    assert amounts(user) == [MOST_XUSD]


def test_period_is_issued_once(user, program, issue, at, by):
    assignment = bind(user, program, at, by)
    first, _ = issue(assignment)

    again, created = issue(assignment, day("2026-03-31T23:59:59"))
    later, is_new = issue(assignment, day("2026-04-01"))

    assert (again, created) == (first, False)
    assert is_new
    assert later != first
    assert Posting.objects.filter(user=user, reason="issue").count() == 2
    assert_proven(user)


def test_further_lot_of_a_period_has_its_own_number(user, program, issue, at, by):
    assignment = bind(user, program, at, by)
    issue(assignment)

    further, created = issue(assignment, alloc_seq=1)
    assert (created, further.alloc_seq) == (True, 1)
    assert issue(assignment, alloc_seq=1) == (further, False)


def test_lot_is_posted_and_told(user, program, issue, at, by):
    lot, _ = issue(bind(user, program, at, by))

    assert balances(user) == {"wallet": 100, "issued": -100}
    posting = Posting.objects.get(user=user)
    assert (posting.reason, posting.idempotency_key) == ("issue", f"issue:{lot.pk}")
    event = DomainEvent.objects.get(realm=user.realm, kind="grant.issued")
    assert event.subject_id == str(lot.pk)
    assert event.payload["amount_xusd"] == "100"


def test_lot_off_the_ledger_is_promotional_credit(realm, user, issue, at, by):
    issue(bind(user, make_program(realm, at, by), at, by))

    assert balances(user) == {"promotional": 100, "issued": -100}


@pytest.mark.parametrize("status", ["paused", "canceled", "expired"])
def test_assignment_that_is_not_active_issues_nothing(
    user, program, issue, at, by, status
):
    from grants.services.assignment_changes import change_assignment

    assignment = bind(user, program, at, by)
    change_assignment(assignment=assignment, changes={"status": status}, at=at, by=by)

    assert issue(assignment) == (None, False)
    assert catch_up(assignment=assignment, at=at, by=by).lots == ()


def test_nothing_is_issued_after_the_window(user, program, issue, at, by):
    assignment = bind(user, program, at, by, end=at + timedelta(days=1))

    assert issue(assignment, at + timedelta(days=1)) == (None, False)


def test_once_is_once_whatever_becomes_of_the_window(realm, user, issue, at, by):
    program = make_program(realm, at, by, cadence="once", window_kind="forever")
    first, _ = issue(bind(user, program, at, by))

    bind(user, program, at, by, end=at + timedelta(days=9))
    assignment = bind(user, program, at, by, start=at - timedelta(days=9))

    assert issue(assignment) == (first, False)
    assert amounts(user) == [100]


def test_start_moved_earlier_gives_no_time_twice(realm, user, at, by):
    program = make_program(realm, at, by, issue_anchor="binding_start")
    assignment = bind(user, program, at, by, start=day("2026-01-31"))
    catch_up(assignment=assignment, at=at, by=by)

    assignment = bind(user, program, at, by, start=day("2026-01-10"))
    catch_up(assignment=assignment, at=at, by=by)

    periods = [(lot.period_start.isoformat()[:10], lot.period_end.isoformat()[:10]) for lot in lots_of(user)]  # fmt: skip
    assert periods == [
        ("2025-12-31", "2026-01-31"), ("2026-01-31", "2026-02-28"), ("2026-02-28", "2026-03-31"),
    ]  # fmt: skip


def test_catch_up_issues_past_periods_and_goes_on_where_it_stopped(realm, user, at, by):
    program = make_program(realm, at, by, cadence="daily")
    assignment = bind(user, program, at, by, start=at - timedelta(days=9))

    runs = [catch_up(assignment=assignment, limit=4, at=at, by=by) for _ in range(4)]

    assert [(len(run.lots), run.more) for run in runs] == [
        (4, True), (4, True), (2, False), (0, False),
    ]  # fmt: skip
    assert len({lot.period_start for lot in lots_of(user)}) == 10
    assignment.refresh_from_db()
    assert assignment.cursor.next_at == day("2026-03-11")
    assert_proven(user)


def test_catch_up_of_what_was_issued_by_hand_fills_the_rest(realm, user, issue, at, by):
    program = make_program(realm, at, by, cadence="daily")
    assignment = bind(user, program, at, by, start=at - timedelta(days=2))
    issue(assignment)

    caught = catch_up(assignment=assignment, at=at, by=by)

    assert (len(caught.lots), len(lots_of(user))) == (2, 3)


def test_accrual_gives_a_part_each_day(realm, user, at, by):
    program = make_program(realm, at, by, accrual_mode="earn_daily", amount_xusd=1000)
    assignment = bind(user, program, at, by, start=day("2026-03-01"))

    catch_up(assignment=assignment, at=at, by=by)
    until_now = amounts(user)
    catch_up(assignment=assignment, at=day("2026-03-31T12:00"), by=by)

    assert len(until_now) == 10
    assert sum(amounts(user)) == 1000
    assert [lot.alloc_seq for lot in lots_of(user)] == list(range(31))
    assert {lot.window_end for lot in lots_of(user)} == {day("2026-04-01")}
    assert [lot.window_start.day for lot in lots_of(user)] == list(range(1, 32))
    assert_proven(user)


def test_accrual_of_less_than_a_unit_a_day_skips_days(realm, user, at, by):
    program = make_program(realm, at, by, accrual_mode="earn_daily", amount_xusd=2)
    assignment = bind(user, program, at, by, start=day("2026-03-01"))

    catch_up(assignment=assignment, at=day("2026-03-31T12:00"), by=by)

    assert amounts(user) == [1, 1]


def test_billing_period_program_follows_the_calendar_by_default(
    realm, user, issue, at, by
):
    program = GrantProgram.objects.get(realm=realm, program_code="period_xusd")

    lot, _ = issue(bind(user, program, at, by, amount_xusd=5))

    assert (lot.period_start, lot.period_end) == (day("2026-03-01"), day("2026-04-01"))


def test_billing_period_program_needs_windows_of_it(realm, user, issue, at, by):
    program = GrantProgram.objects.get(realm=realm, program_code="period_xusd")
    override = {"window_kind_override": "forever"}
    assignment = bind(
        user, program, at, by, amount_xusd=5, metadata={"grant_override": override}
    )

    with pytest.raises(NeedsPeriodWindow):
        issue(assignment)


def test_billing_period_of_a_subscription_that_is_not_there_issues_nothing(
    realm, user, issue, at, by
):
    from config.tenancy.services.realms import change_realm

    period = {
        "billing_defaults": {"period": {"issue_anchor": "subscription_period_start"}}
    }
    change_realm(realm=realm, name="r", metadata=period, at=at, by=by)
    user.account.realm.refresh_from_db()
    program = GrantProgram.objects.get(realm=realm, program_code="period_xusd")
    assignment = bind(user, program, at, by, amount_xusd=5)

    with pytest.raises(NoBillingPeriod):
        issue(assignment)

    assert lots_of(user) == []


def pays_first(realm, at, by, amount):
    return make_program(
        realm, at, by, outstanding_application_policy="apply_to_outstanding", amount_xusd=amount
    )  # fmt: skip


def test_new_lot_pays_what_is_owed_oldest_first(realm, user, owe, issue, at, by):
    older = owe(by, at, day("2026-01-01"), 30, paid=10)
    newer = owe(by, at, day("2026-02-01"), 100)

    lot, _ = issue(bind(user, pays_first(realm, at, by, 50), at, by))

    older.refresh_from_db()
    newer.refresh_from_db()
    assert (older.paid_xusd, newer.paid_xusd) == (30, 30)
    assert (lot.consumed_xusd, lot.settled_xusd, lot.remaining_xusd) == (50, 50, 0)
    paid = GrantAllocation.objects.filter(lot=lot).order_by("amount_xusd")
    assert [(row.amount_xusd, row.source_ref) for row in paid] == [
        (20, f"outstanding:{older.pk}"), (30, f"outstanding:{newer.pk}"),
    ]  # fmt: skip
    assert all(row.posting.reason == "payment" for row in paid)
    assert balances(user) == {"promotional": 0, "issued": -50, "outstanding": 50}


def test_new_lot_keeps_what_is_not_owed(realm, user, owe, issue, at, by):
    owe(by, at, day("2026-01-01"), 30)

    lot, _ = issue(bind(user, pays_first(realm, at, by, 50), at, by))

    assert lot.remaining_xusd == 20
    assert pay_outstanding(lot=lot, at=at, by=by) == 0


@pytest.mark.parametrize(
    ("of_program", "of_assignment", "paid"),
    [
        ("never", None, 0), ("never", "apply_to_outstanding", 30),
        ("apply_to_outstanding", None, 30), ("apply_to_outstanding", "never", 0),
    ],
)  # fmt: skip
def test_assignment_decides_whether_its_lots_pay_what_is_owed(
    realm, user, owe, issue, at, by, of_program, of_assignment, paid
):
    overage = owe(by, at, day("2026-01-01"), 30)
    program = make_program(realm, at, by, outstanding_application_policy=of_program)

    lot, _ = issue(bind(user, program, at, by, outstanding_policy=of_assignment))

    overage.refresh_from_db()
    assert (lot.consumed_xusd, overage.paid_xusd) == (paid, paid)
    assert lot.outstanding_policy == (of_assignment or of_program)


def test_lot_of_another_time_pays_nothing(realm, user, owe, issue, at, by):
    overage = owe(by, at, day("2026-01-01"), 30)
    assignment = bind(
        user, pays_first(realm, at, by, 50), at, by, start=day("2026-01-05")
    )

    past, _ = issue(assignment, day("2026-01-10"))
    coming, _ = issue(assignment, day("2026-04-10"))

    overage.refresh_from_db()
    assert (past.consumed_xusd, coming.consumed_xusd, overage.paid_xusd) == (0, 0, 0)


def test_payment_that_fails_leaves_no_lot(realm, user, owe, at, by):
    """All in one transaction: the lot, its posting and what it pays."""
    owe(by, at, day("2026-01-01"), 30)
    assignment = bind(user, pays_first(realm, at, by, 50), at, by)
    ahead = replace(by, effective_at=at + timedelta(days=1))

    with pytest.raises(Invalid):
        issue_lot(assignment=assignment, reference_at=at, at=at, by=ahead)

    assert balances(user) == {}


def test_identity_of_another_window_is_the_same_assignment(user, program, at, by):
    identity = GrantIdentity(user.account, user, program, "ops.manual", "ref-1")

    one, created = assign_grant(identity=identity, window=Window(at), at=at, by=by)
    two, again = assign_grant(
        identity=identity, window=Window(at), terms=GrantTerms(), at=at, by=by
    )

    assert (one.pk, created, again) == (two.pk, True, False)


def test_binding_is_due_from_its_start(user, program, at, by):
    assignment = bind(user, program, at, by, start=day("2026-02-03"))

    assert assignment.cursor.next_at == day("2026-02-03")
    assert assignment.cursor.user_id == user.pk
