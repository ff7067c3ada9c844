"""Making and closing budgets, and what the database keeps of them."""

from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction

from catalog.services.families import upsert_feature_family
from catalog.services.features import upsert_feature
from config.kernel.audit import NotYetEffective
from config.kernel.errors import Invalid, NotFound
from config.kernel.money import INT64_MAX
from config.tenancy.history import auditing
from config.tenancy.models import DomainEvent
from grants.models import Budget
from grants.selectors.budgets import budget_named, budget_of, budgets_of
from grants.services.budgets import (
    BudgetTaken,
    BudgetTerms,
    close_budget,
    create_budget,
)

KEPT = "PG002"


@pytest.fixture
def make(user, at, by):
    def make(reference="trip", limit_xusd=5000, whose=None, **terms):
        return create_budget(
            user=whose or user,
            terms=BudgetTerms(limit_xusd, **terms),
            reference=reference,
            at=at,
            by=by,
        )

    return make


@pytest.fixture
def chat(realm, at, by):
    upsert_feature_family(realm=realm, feature_family_code="ai", at=at, by=by)
    for code in ("chat", "draw"):
        upsert_feature(
            realm=realm, feature_code=code, feature_family_code="ai", at=at, by=by
        )


def move(budget, *, reserved=0, consumed=0):
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT grants_settle_budget(%s, %s, %s, now())",
            [budget.pk, -reserved, consumed],
        )


def test_a_budget_is_made_once_per_reference(make):
    budget, made = make()
    again, made_again = make()

    assert (made, made_again) == (True, False)
    assert (again.pk, again.created_at) == (budget.pk, budget.created_at)
    assert budget.history.count() == 1


def test_a_repeat_is_the_same_however_the_budget_stands_by_now(make, at, by):
    budget, _ = make()
    close_budget(budget=budget, at=at, by=by)
    move(budget, consumed=10)

    again, made = make()

    assert (made, again.consumed_xusd, again.closed_at) == (False, 10, at)


@pytest.mark.parametrize(
    "other",
    [
        {"limit_xusd": 5001},
        {"limit_xusd": None},
        {"name": "Trip"},
        {"metadata": {"a": 1}},
        {"scope_kind": "feature", "feature_codes": ["chat"]},
        {"window_end": "later"},
    ],
)
def test_a_reference_on_other_terms_is_refused(make, chat, at, other):
    make()
    if other.get("window_end"):
        other = {"window_end": at + timedelta(days=1)}

    with pytest.raises(BudgetTaken) as refused:
        make(**other)

    assert (refused.value.status, refused.value.field) == (409, "budget")


def test_true_is_not_1_in_metadata(make):
    make(metadata={"a": 1})

    with pytest.raises(BudgetTaken):
        make(metadata={"a": True})


def test_a_budget_without_a_reference_goes_by_its_id(make):
    first, _ = make(None)
    second, _ = make(None)

    assert first.reference == str(first.pk)
    assert second.pk != first.pk


def test_users_have_their_own_references(make, make_user, realm):
    neighbor = make_user(realm, "u-2")

    own, _ = make()
    theirs, made = make(whose=neighbor, limit_xusd=1)

    assert made and theirs.pk != own.pk


@pytest.mark.parametrize(
    ("terms", "field"),
    [
        ({"limit_xusd": -1}, "limit_xusd"),
        ({"limit_xusd": INT64_MAX + 1}, "limit_xusd"),
        ({"scope_kind": "feature"}, "scope_payload"),
        ({"feature_codes": ["chat"]}, "scope_payload"),
        ({"window_end": "now"}, "window_end"),
        ({"window_end": "before"}, "window_end"),
    ],
)
def test_terms_that_make_no_sense_are_refused(make, chat, at, terms, field):
    if end := terms.get("window_end"):
        shift = timedelta(0) if end == "now" else timedelta(microseconds=1)
        terms = {"window_start": at, "window_end": at - shift}

    with pytest.raises(Invalid) as refused:
        make(**terms)

    assert refused.value.field == field
    assert not Budget.objects.exists()


def test_a_budget_of_an_unknown_feature_is_refused(make, chat):
    with pytest.raises(NotFound) as refused, transaction.atomic():
        make(scope_kind="feature_set", feature_codes=["chat", "sing"])

    assert "no feature sing" in refused.value.message
    assert not Budget.objects.exists()


def test_the_features_of_a_scope_are_kept_once_and_sorted(make, chat):
    budget, _ = make(scope_kind="feature_set", feature_codes=["draw", "chat", "draw"])
    again, made = make(scope_kind="feature_set", feature_codes=["chat", "draw"])

    assert budget.feature_codes == ["chat", "draw"]
    assert (made, again.pk) == (False, budget.pk)


def test_making_and_closing_are_recorded(make, at, by):
    budget, _ = make()
    why = replace(by, reason="the trip is over")

    close_budget(budget=budget, notes={"case": 7}, at=at, by=why)

    events = DomainEvent.objects.filter(subject_id=budget.pk).order_by("pk")
    assert [event.kind for event in events] == ["budget.created", "budget.closed"]
    told = events[1].payload
    assert (told["budget"], told["reason"], told["notes"]) == (
        "trip",
        "the trip is over",
        {"case": 7},
    )
    assert [trace.reason for trace in budget.history.order_by("history_id")] == [
        by.reason,
        "the trip is over",
    ]


def test_closing_twice_changes_nothing(make, at, by):
    budget, _ = make()
    first = close_budget(budget=budget, at=at, by=by)

    second = close_budget(budget=budget, at=at + timedelta(hours=1), by=by)

    assert first.closed_at == second.closed_at == at
    assert budget.history.count() == 2


def test_a_closing_meant_for_later_is_refused(make, at, by):
    budget, _ = make()

    with pytest.raises(NotYetEffective):
        close_budget(budget=budget, at=at, by=by.effective(at + timedelta(hours=1)))


# How they are found


def test_how_a_budget_stands_follows_from_its_instants(make, user, at, by):
    make("open")
    make("over", window_end=at)
    make("to-come", window_start=at + timedelta(hours=1))
    closed, _ = make("closed", window_end=at)
    close_budget(budget=closed, at=at, by=by)

    def named(*status):
        found = budgets_of(user=user, at=at, status=status)
        return sorted(budget.reference for budget in found)

    assert named("active") == ["open", "to-come"]
    assert named("expired") == ["over"]
    assert named("closed") == ["closed"]
    assert named("canceled") == []
    assert named("active", "closed", "expired") == ["closed", "open", "over", "to-come"]
    assert {
        budget.reference: budget.status(at=at).value for budget in user.budgets.all()
    } == {"open": "active", "to-come": "active", "over": "expired", "closed": "closed"}


def test_a_budget_is_found_by_id_or_reference_of_its_user_only(make, make_user, realm):
    budget, _ = make()
    neighbor = make_user(realm, "u-2")

    assert budget_of(user=budget.user, budget_id=str(budget.pk)) == budget
    assert budget_named(user=budget.user, name="trip") == budget
    assert budget_named(user=budget.user, name=str(budget.pk)) == budget
    assert budget_named(user=neighbor, name="trip") is None
    for wrong in (str(neighbor.pk), "trip"):
        with pytest.raises(NotFound):
            budget_of(user=budget.user, budget_id=wrong)
    with pytest.raises(NotFound):
        budget_of(user=neighbor, budget_id=str(budget.pk))


def test_an_id_outranks_a_reference_that_spells_it(make):
    budget, _ = make()
    make(str(budget.pk))

    assert budget_named(user=budget.user, name=str(budget.pk)) == budget


# What the database keeps


def test_what_the_gate_counts_leaves_no_history(make):
    budget, _ = make()

    move(budget, reserved=100)
    move(budget, reserved=-100, consumed=60)

    budget.refresh_from_db()
    assert (budget.consumed_xusd, budget.reserved_xusd) == (60, 0)
    assert budget.history.count() == 1


@pytest.mark.parametrize("amount", [5001, INT64_MAX])
def test_no_more_is_held_than_is_left(make, amount):
    budget, _ = make()

    with connection.cursor() as cursor:
        cursor.execute("SELECT grants_hold_budget(%s, %s, now())", [budget.pk, amount])
        assert cursor.fetchone() == (False,)
        cursor.execute("SELECT grants_hold_budget(%s, 5000, now())", [budget.pk])
        assert cursor.fetchone() == (True,)


def test_no_more_is_given_back_than_is_held(make):
    budget, _ = make()

    with pytest.raises(DatabaseError) as refused, transaction.atomic():
        move(budget, reserved=-1)

    assert refused.value.__cause__.sqlstate == "40001"


@pytest.mark.parametrize(
    ("amounts", "rule"),
    [
        ({"reserved_xusd": 5001}, "budget_reserves_within_its_limit"),
        ({"consumed_xusd": INT64_MAX, "reserved_xusd": 1}, "budget_fits_64_bits"),
        ({"consumed_xusd": -1}, "budget_amounts_are_not_negative"),
    ],
)
def test_amounts_that_cannot_be_are_refused_by_the_table(make, amounts, rule):
    budget, _ = make()

    with pytest.raises(IntegrityError) as refused, transaction.atomic():
        Budget.objects.filter(pk=budget.pk).update(**amounts)

    assert refused.value.__cause__.diag.constraint_name == rule


@pytest.mark.parametrize(
    "change",
    [
        {"limit_xusd": 6000},
        {"reference": "other"},
        {"window_end": "now"},
        {"scope_kind": "feature", "feature_codes": ["chat"]},
    ],
)
def test_terms_are_not_rewritten(make, at, by, change):
    budget, _ = make()
    if "window_end" in change:
        change = {"window_end": at}

    with (
        pytest.raises(DatabaseError) as refused,
        transaction.atomic(),
        auditing(by, at=at),
    ):
        Budget.objects.filter(pk=budget.pk).update(**change)

    assert refused.value.__cause__.sqlstate == KEPT


def test_a_closed_budget_is_never_opened_again(make, at, by):
    budget, _ = make()
    close_budget(budget=budget, at=at, by=by)

    with (
        pytest.raises(DatabaseError) as refused,
        transaction.atomic(),
        auditing(by, at=at),
    ):
        Budget.objects.filter(pk=budget.pk).update(closed_at=None)

    assert refused.value.__cause__.sqlstate == KEPT


def test_no_index_covers_what_the_gate_counts(db):
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT a.attname FROM pg_index i JOIN pg_attribute a"
            " ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)"
            " WHERE i.indrelid = 'budgets'::regclass"
        )
        indexed = {name for (name,) in cursor.fetchall()}

    assert indexed == {"id", "realm_id", "account_id", "user_id", "reference"}
