"""Bindings by hand: the identity and its merge, approval, and every later change."""

from dataclasses import replace
from datetime import timedelta

import pytest

from config.kernel.audit import NotYetEffective
from config.kernel.errors import Invalid, NotFound
from config.kernel.windows import Window
from config.tenancy.history import auditing
from config.tenancy.models import DomainEvent
from grants import options
from grants.models import GrantAssignment, GrantProgram
from grants.selectors.terms import terms_of
from grants.services.approval import ApprovalRequired
from grants.services.assignment_changes import (
    SourceGivenOtherwise,
    change_assignment,
    create_manual_assignment,
    manual_identity,
    pause_assignment,
    resume_assignment,
)
from grants.services.assignments import (
    GrantIdentity,
    GrantTerms,
    InactiveProgram,
    UnknownProgram,
    assign_grant,
    program_named,
)
from grants.services.binding_sweep import sweep_bindings
from grants.services.issuance import catch_up
from tests.grants.giving import amounts, bind, day, lots_of, make_program

DAY = timedelta(days=1)


@pytest.fixture
def program(realm, at, by):
    return make_program(realm, at, by)


@pytest.fixture
def give(user, program, at, by):
    """Give by hand: `give(5)`."""

    def give(
        amount_xusd, *, source_ref="T-1", window=None, by=by, may_approve=False, **terms
    ):
        return create_manual_assignment(
            identity=manual_identity(user=user, program=program, source_ref=source_ref, by=by),
            window=window or Window(at),
            terms=GrantTerms(amount_xusd=amount_xusd, **terms),
            may_approve=may_approve, at=at, by=by,
        )  # fmt: skip

    return give


@pytest.fixture
def change(at, by):
    def change(assignment, at=at, by=by, may_approve=False, **changes):
        return change_assignment(
            assignment=assignment,
            changes=changes,
            may_approve=may_approve,
            at=at,
            by=by,
        )

    return change


def window_of(assignment):
    assignment.refresh_from_db()
    return Window(assignment.window_start, assignment.window_end)


def test_what_is_given_by_hand_is_issued_at_once(user, give, at):
    assignment, created = give(5)

    assert created
    assert (assignment.status, assignment.amount_xusd, assignment.quantity) == (
        "active",
        5,
        1,
    )
    assert amounts(user) == [5]
    assert (
        DomainEvent.objects.filter(
            kind="grant_assignment.changed", subject_id=str(assignment.pk)
        ).count()
        == 1
    )


def test_what_begins_later_is_issued_by_the_sweep(user, give, at, by):
    give(5, window=Window(at + DAY))

    assert amounts(user) == []
    sweep_bindings(at=at + DAY, by=by)
    assert amounts(user) == [5]


def test_same_source_is_the_same_gift(user, give):
    first, _ = give(5)

    again, created = give(5)

    assert (again.pk, created, amounts(user)) == (first.pk, False, [5])


def test_same_source_with_another_amount_is_refused(user, give):
    give(5)

    with pytest.raises(SourceGivenOtherwise):
        give(6)


def test_same_idempotency_key_is_the_same_gift(user, give, by):
    keyed = replace(by, idempotency_key="k-1\n" + "x" * 300)

    one, _ = give(5, source_ref=None, by=keyed)
    two, created = give(5, source_ref=None, by=keyed)
    other, is_new = give(5, source_ref=None, by=replace(by, idempotency_key="k-2"))

    assert (two.pk, created) == (one.pk, False)
    assert is_new
    assert len({one.source_ref, other.source_ref}) == 2


def test_without_a_key_each_gift_is_a_new_one(user, give):
    assert give(5, source_ref=None)[0].pk != give(5, source_ref=None)[0].pk


@pytest.mark.parametrize(
    ("terms", "field"),
    [
        ({"amount_xusd": None}, "amount_xusd"),
        ({"amount_xusd": -1}, "amount_xusd"),
        ({"amount_xusd": 2**63}, "amount_xusd"),
        ({"amount_xusd": True}, "amount_xusd"),
        ({"amount_xusd": 1, "quantity": 0}, "quantity"),
        ({"amount_xusd": 1, "quantity": 2**63}, "quantity"),
        ({"amount_xusd": 2**62, "quantity": 2}, "amount_xusd"),
        ({"amount_xusd": 1, "outstanding_policy": "often"}, "outstanding_application_policy_override"),
        ({"amount_xusd": 1, "metadata": {"grant_override": {"amount_xusd": -1}}}, "metadata.grant_override.amount_xusd"),
        ({"amount_xusd": 1, "source_ref": " "}, "source_ref"),
        ({"amount_xusd": 1, "source_ref": "x" * 256}, "source_ref"),
        ({"amount_xusd": 1, "source_ref": "a\nb"}, "source_ref"),
        ({"amount_xusd": 1, "source_ref": "a\0b"}, "source_ref"),
    ],
)  # fmt: skip
def test_bad_gift_is_refused(user, give, terms, field):
    with pytest.raises(Invalid) as refusal:
        give(**terms)

    assert refusal.value.field == field
    assert amounts(user) == []


def test_program_of_another_realm_is_refused(user, other_realm, at, by):
    with pytest.raises(NotFound):
        bind(user, make_program(other_realm, at, by), at, by)


def test_user_of_another_account_is_refused(realm, program, make_user, user, at, by):
    stranger = make_user(realm, "u-9", principal="globex")
    identity = GrantIdentity(user.account, stranger, program, "ops.manual", "T-1")

    with pytest.raises(NotFound):
        assign_grant(identity=identity, window=Window(at), at=at, by=by)


def test_unknown_program_is_refused(realm):
    with pytest.raises(UnknownProgram) as refusal:
        program_named(realm, "nothing")

    assert (refusal.value.status, refusal.value.code) == (422, "GRANT.PROGRAM_UNKNOWN")


def test_inactive_program_binds_nobody_anew(realm, user, at, by):
    idle = make_program(realm, at, by, active=False)

    with pytest.raises(InactiveProgram):
        bind(user, idle, at, by)


def test_inactive_program_keeps_who_is_bound(realm, user, program, at, by):
    bind(user, program, at, by)
    from config.tenancy.history import auditing

    with auditing(by, at=at):
        GrantProgram.objects.filter(pk=program.pk).update(active=False)
    program.refresh_from_db()

    assert bind(user, program, at, by, end=at + DAY).window_end == at + DAY


def test_nobody_is_bound_to_overage(realm, user, at, by):
    with pytest.raises(Invalid):
        bind(
            user,
            GrantProgram.objects.get(realm=realm, program_code="fallback-cash"),
            at,
            by,
        )


def test_unknown_source_kind_is_refused(user, program, at, by):
    with pytest.raises(Invalid):
        bind(user, program, at, by, kind="guess")


@pytest.mark.parametrize(
    ("first", "second", "merged"),
    [
        ((0, None), (0, None), (0, None)),
        ((0, None), (1, 5), (0, 5)),
        ((0, 5), (1, None), (0, 5)),
        ((2, 5), (1, 4), (1, 5)),
        ((2, 5), (3, 9), (2, 9)),
    ],
)
def test_same_identity_merges_its_window(user, program, at, by, first, second, merged):
    def when(days):
        return None if days is None else at + days * DAY

    bind(user, program, at, by, start=when(first[0]), end=when(first[1]))
    bind(
        user, program, at, by, start=when(second[0]), end=when(second[1]), amount_xusd=9
    )

    assignment = GrantAssignment.objects.get(user=user)
    assert window_of(assignment) == Window(when(merged[0]), when(merged[1]))
    assert assignment.amount_xusd == 9


def test_repeat_does_not_revive_what_was_canceled(user, program, change, at, by):
    assignment = bind(user, program, at, by)
    change(assignment, status="canceled", at=at + DAY)

    again = bind(user, program, at, by, end=at + 9 * DAY)

    assert (again.pk, again.status, again.window_end) == (
        assignment.pk,
        "canceled",
        at + DAY,
    )


def test_longer_window_is_caught_up_with(user, program, at, by):
    assignment = bind(
        user, program, at, by, start=day("2026-01-05"), end=day("2026-01-20")
    )
    catch_up(assignment=assignment, at=at, by=by)
    assert len(lots_of(user)) == 1

    assignment = bind(
        user, program, at, by, start=day("2026-01-05"), end=day("2026-06-01")
    )
    catch_up(assignment=assignment, at=at, by=by)

    assert [lot.period_start.month for lot in lots_of(user)] == [1, 2, 3]


@pytest.mark.parametrize(
    ("end", "expected"), [(None, DAY), (9 * DAY, DAY), (DAY / 2, DAY / 2)]
)
def test_cancel_ends_the_window_where_it_does_not_end_before(
    user, program, change, at, by, end, expected
):
    assignment = bind(user, program, at, by, end=None if end is None else at + end)

    change(assignment, status="canceled", at=at + DAY)

    assert window_of(assignment) == Window(at, at + expected)
    assert assignment.status == "canceled"


def test_cancel_before_the_start(user, program, change, at, by):
    assignment = bind(user, program, at, by, start=at + DAY)

    change(assignment, status="canceled")

    assert window_of(assignment) == Window(at + DAY, at + DAY + timedelta(seconds=1))
    assert catch_up(assignment=assignment, at=at + 2 * DAY, by=by).lots == ()


def test_cancel_leaves_lots_and_stops_issuance(user, give, change, at, by):
    assignment, _ = give(5)

    change(assignment, status="canceled")
    sweep_bindings(at=at + 90 * DAY, by=by)

    assert [(lot.amount_xusd, lot.status) for lot in lots_of(user)] == [(5, "ready")]


def test_pause_is_not_made_up_for(user, give, at, by):
    assignment, _ = give(5)
    pause_assignment(assignment=assignment, at=at, by=by)
    sweep_bindings(at=day("2026-05-10"), by=by)

    later = day("2026-06-10")
    resume_assignment(assignment=assignment, at=later, by=by)
    sweep_bindings(at=later, by=by)

    assert [lot.period_start.month for lot in lots_of(user)] == [3, 6]


def test_amount_changes_for_lots_to_come(user, give, change, at, by):
    assignment, _ = give(5)

    change(
        assignment, amount_xusd=7, outstanding_policy_override="apply_to_outstanding"
    )
    sweep_bindings(at=day("2026-04-02"), by=by)

    assert [(lot.amount_xusd, lot.outstanding_policy) for lot in lots_of(user)] == [
        (5, "never"), (7, "apply_to_outstanding"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"status": "gone"}, "status"),
        ({"amount_xusd": -1}, "amount_xusd"),
        ({"amount_xusd": 2**63}, "amount_xusd"),
        ({"outstanding_policy_override": "often"}, "outstanding_application_policy_override"),
        ({"metadata": {"grant_override": 3}}, "metadata.grant_override"),
        ({"window_end": day("2026-01-01")}, "window_end"),
    ],
)  # fmt: skip
def test_bad_change_is_refused(user, give, change, changes, field):
    assignment, _ = give(5)

    with pytest.raises(Invalid) as refusal:
        change(assignment, **changes)

    assert refusal.value.field == field


def test_only_a_window_may_be_meant_for_later(user, give, change, at, by):
    assignment, _ = give(5)
    ahead = replace(by, effective_at=at + DAY)

    change(assignment, by=ahead, window_end=at + DAY)
    with pytest.raises(NotYetEffective):
        change(assignment, by=ahead, amount_xusd=6)

    assert window_of(assignment).end == at + DAY


def test_same_change_again_changes_nothing(user, give, change, at):
    assignment, _ = give(5)
    change(assignment, amount_xusd=7)
    told = DomainEvent.objects.filter(subject_id=str(assignment.pk)).count()

    change(assignment, amount_xusd=7)

    assert DomainEvent.objects.filter(subject_id=str(assignment.pk)).count() == told


def test_amount_above_the_limit_needs_approval(user, give, change, limit):
    limit(100)

    with pytest.raises(ApprovalRequired) as refusal:
        give(51, quantity=2)
    approved, _ = give(101, may_approve=True)
    within, _ = give(100, source_ref="T-2")
    with pytest.raises(ApprovalRequired):
        change(within, amount_xusd=101)
    change(approved, window_end=None)

    assert (refusal.value.status, refusal.value.code) == (
        403,
        "GRANT.APPROVAL_REQUIRED",
    )
    assert amounts(user) == [101, 100]


@pytest.mark.parametrize(
    "changes",
    [
        {"amount_xusd": None, "metadata": {"grant_override": {"amount_xusd": 101}}},
        {"amount_xusd": None},
        {"amount_xusd": 101},
    ],
)
def test_limit_holds_wherever_the_amount_is_said(
    realm, user, change, limit, at, by, changes
):
    program = make_program(realm, at, by, program_code="large", amount_xusd=5_000)
    assignment = bind(user, program, at, by, amount_xusd=10)
    limit(100)

    with pytest.raises(ApprovalRequired):
        change(assignment, **changes)
    change(assignment, may_approve=True, **changes)

    assert terms_of(GrantAssignment.objects.get(pk=assignment.pk)).amount_xusd > 100


def test_limit_holds_for_the_override_of_a_binding_nobody_gave(
    user, program, change, limit, at, by
):
    limit(200)
    override = {"amount_xusd": 100}
    assignment = bind(
        user, program, at, by, quantity=2, metadata={"grant_override": override}
    )

    with pytest.raises(ApprovalRequired):
        change(assignment, metadata={"grant_override": {"amount_xusd": 101}})
    change(
        assignment,
        metadata={
            "grant_override": {"amount_xusd": 101, "scale_by_invoice_quantity": False}
        },
    )
    with pytest.raises(ApprovalRequired):
        change(assignment, metadata={"grant_override": {"amount_xusd": 101}})


def test_another_number_gives_again_so_it_needs_approval(
    user, program, change, limit, at, by
):
    assignment = bind(user, program, at, by, amount_xusd=101)
    limit(100)

    change(assignment, metadata={"note": "x"})
    with pytest.raises(ApprovalRequired):
        change(assignment, metadata={"grant_override": {"alloc_seq_override": 1}})


def test_program_that_gives_too_much_is_judged_when_it_counts(
    realm, user, give, change, limit, at, by
):
    assignment, _ = give(50)
    with auditing(by, at=at):
        GrantProgram.objects.filter(pk=assignment.program_id).update(amount_xusd=101)
    limit(100)

    with pytest.raises(ApprovalRequired):
        change(assignment, amount_xusd=None)


def test_what_was_given_before_needs_no_approval_again(user, give, limit):
    limit(100)
    first, _ = give(50, quantity=2)
    limit(99)

    assert give(50, quantity=2) == (first, False)
    with pytest.raises(ApprovalRequired):
        give(50, quantity=3)
    with pytest.raises(ApprovalRequired):
        give(50, quantity=2, source_ref="T-2")


@pytest.mark.parametrize("text", ["-1", "1.5", "x", "٣", "9" * 19, "1" * 40])
def test_limit_that_is_no_amount_stops_the_process(monkeypatch, limit, text):
    from django.core.exceptions import ImproperlyConfigured

    monkeypatch.setenv(options.APPROVAL_LIMIT, text)
    options.approval_limit_xusd.cache_clear()

    with pytest.raises(ImproperlyConfigured):
        options.approval_limit_xusd()
