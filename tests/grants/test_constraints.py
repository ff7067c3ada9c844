"""What the database lets a use change of a lot, and what it refuses to.

That each rule refuses a row is shown for all tables at once (tests/test_constraints.py);
here: updates, and the values at the limits.
"""

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction

from config.kernel.money import INT64_MAX
from config.tenancy.history import auditing
from grants.models import GrantLot
from grants.models.lots import MONEY_COLUMNS

UNEXPLAINED = "PG001"


@pytest.fixture
def lot(user, credit):
    """A lot of $0.0005."""
    credit(user, 500)
    return GrantLot.objects.get(user=user)


def change(lot, **amounts):
    """Write amounts as the gate does: without saying who and why."""
    with transaction.atomic():
        GrantLot.objects.filter(pk=lot.pk).update(**amounts)
    lot.refresh_from_db()


@pytest.mark.parametrize(
    "amounts",
    [
        {"consumed_xusd": 501},
        {"reserved_xusd": 501},
        {"consumed_xusd": 250, "reserved_xusd": 251},
        {"consumed_xusd": INT64_MAX, "reserved_xusd": INT64_MAX},
    ],
)
def test_lot_overdrawn(lot, amounts):
    with pytest.raises(IntegrityError) as refusal:
        change(lot, **amounts)

    rule = refusal.value.__cause__.diag.constraint_name
    assert rule == "grant_lot_is_never_overdrawn"


def test_lot_spent_to_its_end_is_accepted(lot):
    change(lot, consumed_xusd=250, reserved_xusd=250)

    assert lot.available_xusd == 0


def test_lot_at_the_limits_of_64_bits_is_accepted(lot, at, by):
    with auditing(by, at=at):
        change(
            lot,
            amount_xusd=INT64_MAX,
            consumed_xusd=1,
            reserved_xusd=INT64_MAX - 1,
            settled_xusd=1,
        )

    assert lot.available_xusd == 0


@pytest.mark.parametrize("column", MONEY_COLUMNS)
def test_what_a_use_changes_leaves_no_history(lot, column):
    before = lot.history.count()

    change(lot, **{column: 0}, updated_at=lot.created_at)

    assert lot.history.count() == before


def test_what_was_given_is_not_changed_unexplained(lot):
    with pytest.raises(DatabaseError) as refusal:
        change(lot, amount_xusd=501)

    assert refusal.value.__cause__.sqlstate == UNEXPLAINED


def test_no_index_covers_what_a_use_changes(db):
    """A use then writes no index: the row's next version stays on its page."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT indexdef FROM pg_indexes WHERE tablename = 'grant_lots'"
            " AND schemaname = 'public'"
        )
        indexes = [definition for (definition,) in cursor.fetchall()]

    assert len(indexes) >= 5
    assert [
        (index, column)
        for index in indexes
        for column in MONEY_COLUMNS
        # What is settled is changed by settlement, and by no use.
        if column in index and column != "settled_xusd"
    ] == []
