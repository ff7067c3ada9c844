"""Many at once issue each lot once. Each race has a control without its guard."""

import os
import signal
import subprocess
import sys
import time
from datetime import timedelta

import pytest
from django.db import connection, transaction

from billing.services.users import ensure_user
from config.kernel.ids import new_id
from config.kernel.metadata import GrantBinding
from config.kernel.windows import Window
from config.tenancy.history import auditing
from grants.models import GrantAssignment, GrantLot, GrantProgram, IssuanceCursor
from grants.services.assignment_changes import create_manual_assignment, manual_identity
from grants.services.assignments import GrantTerms
from grants.services.binding_sweep import sweep_bindings
from grants.services.enrollment import enroll_account
from grants.services.issuance import issue_lot
from grants.services.outstanding import pay_outstanding
from grants.services.purchases import Purchase, assign_purchase
from tests.billing.races import race
from tests.grants.giving import (
    amounts,
    assert_proven,
    balances,
    bind,
    day,
    give_plan,
    lots_of,
    make_program,
    plan_with,
)

THREADS = 8


@pytest.fixture
def racing_user(committed_realm, make_user):
    """A user that every thread can see."""
    return make_user(committed_realm)


@pytest.fixture
def quiet(committed):
    """Let no sweep find what other tests left, before or afterwards."""

    def rest():
        IssuanceCursor.objects.filter(next_at__isnull=False).update(next_at=None)

    rest()
    yield
    rest()


def issue_without_guard(assignment, number, at, by):
    """Look, then insert: what `issue_lot` must not be."""
    if GrantLot.objects.filter(assignment=assignment).exists():
        return
    time.sleep(0.05)  # the time in which another thread does the same
    with transaction.atomic(), auditing(by, at=at):
        GrantLot.objects.create(
            realm_id=assignment.realm_id, account_id=assignment.account_id,
            user_id=assignment.user_id, program_id=assignment.program_id,
            assignment=assignment, alloc_seq=number, issue_key=f"naive:{assignment.pk}:{number}",
            period_start=day("2026-03-01"), period_end=day("2026-04-01"), window_start=at,
            source_kind=assignment.source_kind, source_ref=assignment.source_ref, amount_xusd=100,
        )  # fmt: skip


def test_issuing_at_once_makes_one_lot(racing_user, at, by):
    assignment = bind(racing_user, make_program(racing_user.realm, at, by), at, by)

    answers = race(
        lambda _: issue_lot(assignment=assignment, reference_at=at, at=at, by=by),
        THREADS,
    )

    assert len({lot.pk for lot, _ in answers}) == 1
    assert sum(created for _, created in answers) == 1
    assert balances(racing_user) == {"promotional": 100, "issued": -100}


def test_control_issuing_without_the_guard_makes_many(racing_user, at, by):
    assignment = bind(racing_user, make_program(racing_user.realm, at, by), at, by)

    race(lambda number: issue_without_guard(assignment, number, at, by), THREADS)

    assert len(lots_of(racing_user)) > 1


def test_lot_that_was_inserted_meanwhile_is_the_same_lot(racing_user, at, by):
    """The key alone is enough: the lock of the assignment spares only the attempt."""
    assignment = bind(racing_user, make_program(racing_user.realm, at, by), at, by)
    lot, _ = issue_lot(assignment=assignment, reference_at=at, at=at, by=by)
    columns = [
        f.attname
        for f in GrantLot._meta.concrete_fields
        if f.name not in ("id", "created_at")
    ]
    twin = GrantLot(
        pk=new_id(), **{name: getattr(lot, name) for name in columns if name != "id"}
    )

    with transaction.atomic(), auditing(by, at=at):
        GrantLot.objects.bulk_create([twin], ignore_conflicts=True)

    assert [row.pk for row in lots_of(racing_user)] == [lot.pk]


def test_sweeps_at_once_issue_each_lot_once(quiet, racing_user, at, by):
    program = make_program(racing_user.realm, at, by, cadence="daily")
    start = at - timedelta(days=4)
    for number in range(6):
        bind(racing_user, program, at, by, start=start, ref=f"ref-{number}")

    swept = race(lambda _: sweep_bindings(at=at, by=by), 4)

    assert [each.failed for each in swept] == [[]] * 4
    assert sum(each.issued for each in swept) == 30
    assert len(lots_of(racing_user)) == 30
    assert_proven(racing_user)


def test_control_sweeps_without_the_guard_issue_twice(quiet, racing_user, at, by):
    program = make_program(racing_user.realm, at, by)
    due = [
        bind(racing_user, program, at, by, ref=f"ref-{number}") for number in range(3)
    ]

    def naive(number):
        for assignment in due:
            issue_without_guard(assignment, number, at, by)

    race(naive, 4)

    assert len(lots_of(racing_user)) > len(due)


def test_purchases_of_one_event_at_once_issue_once(racing_user, at, by):
    grants = [
        GrantBinding(grant_program_code=code, amount_xusd=50)
        for code in ("one_time_xusd", "weekly_xusd")
    ]

    def buy(number):
        # Whatever the order in which the event lists them, nobody waits in a circle.
        ordered = grants if number % 2 else grants[::-1]
        purchase = Purchase("provider.one_time", "pi_1", Window(at))
        return assign_purchase(
            user=racing_user,
            bindings=ordered,
            quantity=1,
            purchase=purchase,
            at=at,
            by=by,
        )

    answers = race(buy, THREADS)

    assert sum(each.is_new for answer in answers for each in answer) == 2
    assert amounts(racing_user) == [50, 50]
    assert GrantAssignment.objects.filter(user=racing_user).count() == 2
    assert_proven(racing_user)


def test_control_purchases_without_the_identity_issue_many(racing_user, at, by):
    def buy(number):
        purchase = Purchase("provider.one_time", f"pi_{number}", Window(at))
        grants = [GrantBinding(grant_program_code="one_time_xusd", amount_xusd=50)]
        return assign_purchase(
            user=racing_user,
            bindings=grants,
            quantity=1,
            purchase=purchase,
            at=at,
            by=by,
        )

    race(buy, THREADS)

    assert amounts(racing_user) == [50] * THREADS


def test_gifts_of_one_source_at_once_are_one(racing_user, at, by):
    program = make_program(racing_user.realm, at, by)
    identity = manual_identity(
        user=racing_user, program=program, source_ref="T-1", by=by
    )

    answers = race(
        lambda _: create_manual_assignment(
            identity=identity,
            window=Window(at),
            terms=GrantTerms(amount_xusd=5),
            at=at,
            by=by,
        ),
        THREADS,
    )

    assert sum(created for _, created in answers) == 1
    assert amounts(racing_user) == [5]


def test_enrollments_at_once_bind_once(racing_user, make_user, at, by):
    realm, account = racing_user.realm, racing_user.account
    monthly = {"grant_program_code": "monthly_xusd", "amount_xusd": 10}
    give_plan(account, plan_with(realm, at, by, monthly), at, by)

    def work(number):
        if number % 2:
            enroll_account(account=account, at=at, by=by)
            return None
        return ensure_user(
            account=account, business_user_id=f"new-{number}", at=at, by=by
        )

    newcomers = [each for each in race(work, THREADS) if each]

    assert [amounts(each) for each in [racing_user, *newcomers]] == [[10]] * 5
    for each in newcomers:
        assert GrantAssignment.objects.filter(user=each).count() == 1


def test_lots_issued_at_once_pay_what_is_owed_once(racing_user, at, by):
    realm = racing_user.realm
    fallback = GrantProgram.objects.get(realm=realm, program_code="fallback-cash")
    with transaction.atomic(), auditing(by, at=at):
        overage = GrantLot.objects.create(
            realm=realm, account=racing_user.account, user=racing_user, program=fallback,
            period_start=day("2026-02-01"), period_end=day("2026-03-01"),
            window_start=day("2026-02-01"), window_end=day("2026-03-01"), issue_key="overage",
            source_kind="internal.catalog", source_ref="overage", kind="fallback",
            priority=-100_000, amount_xusd=0, consumed_xusd=70,
        )  # fmt: skip
    program = make_program(
        realm,
        at,
        by,
        outstanding_application_policy="apply_to_outstanding",
        amount_xusd=20,
    )
    bound = [bind(racing_user, program, at, by, ref=f"ref-{n}") for n in range(THREADS)]

    lots = race(
        lambda number: issue_lot(
            assignment=bound[number], reference_at=at, at=at, by=by
        )[0],
        THREADS,
    )

    overage.refresh_from_db()
    assert overage.paid_xusd == 70
    assert sorted(lot.consumed_xusd for lot in lots) == [0] * 4 + [10] + [20] * 3
    assert balances(racing_user) == {
        "promotional": 90,
        "issued": -160,
        "outstanding": 70,
    }
    assert (
        race(lambda n: pay_outstanding(lot=lots[n], at=at, by=by), THREADS)
        == [0] * THREADS
    )


SWEEP = """
import os, sys
import django
django.setup()
from datetime import datetime
from django.conf import settings
from django.db import connection
from config.kernel.audit import Actor, AuditContext
from grants.services.binding_sweep import sweep_bindings
settings.DATABASES["default"]["NAME"] = sys.argv[1]
connection.settings_dict["NAME"] = sys.argv[1]
at = datetime.fromisoformat(sys.argv[2])
by = AuditContext(Actor("job", "sweep"), "job", "due", "sweep", at, "0" * 32)
sweep_bindings(at=at, by=by)
"""


def test_sweep_killed_in_the_middle_is_finished_by_the_next(quiet, racing_user, at, by):
    program = make_program(racing_user.realm, at, by, cadence="daily")
    bindings, days = 12, 40
    for number in range(bindings):
        bind(
            racing_user,
            program,
            at,
            by,
            start=at - timedelta(days=days - 1),
            ref=f"ref-{number}",
        )
    name = connection.settings_dict["NAME"]
    sweep = subprocess.Popen(
        [sys.executable, "-c", SWEEP, name, at.isoformat()],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings"},
        # To nobody's pipe: one that is full would stop it.
        stdout=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 120
        while not lots_of(racing_user):
            assert sweep.poll() is None, "the sweep ended before it was killed"
            assert time.monotonic() < deadline, "the sweep does not begin"
            time.sleep(0.02)
    finally:
        sweep.send_signal(signal.SIGKILL)
        sweep.wait(timeout=30)
    cut_off = len(lots_of(racing_user))

    # What the killed process held is free once the server has noticed.
    issued, deadline = 0, time.monotonic() + 60
    while cut_off + issued < bindings * days:
        assert time.monotonic() < deadline, "the next sweep does not finish"
        issued += sweep_bindings(at=at, by=by).issued

    assert 0 < cut_off < bindings * days
    # A binding is served whole, or not at all.
    assert cut_off % days == 0
    assert len(lots_of(racing_user)) == bindings * days
    assert_proven(racing_user)
