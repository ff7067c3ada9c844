"""Ratings and their lines stand by month: made ahead, dropped whole, sealed always."""

from datetime import UTC, date, datetime

import psycopg
import pytest
from django.db import DatabaseError, connection, transaction

from gating.models import RatedRecord, Rating
from tests.tools.server import database_url
from tests.tools.tables import rows, run

TABLES = ("gate_rated_records", "gate_ratings")
APPEND_ONLY = "PG002"
FAR = date(2031, 5, 17)


def partitions():
    """Return the partitions by table."""
    found = rows(
        "SELECT inhparent::regclass::text, inhrelid::regclass::text FROM pg_inherits WHERE inhparent::regclass::text = ANY (%s)",
        [list(TABLES)],
    )
    return sorted(name for _, name in found)


def make(first, months):
    return rows("SELECT gate_make_partitions(%s, %s)", [first, months])[0][0]


def drop(before):
    return rows("SELECT gate_drop_partitions(%s)", [before])[0][0]


def monthly(*months):
    return {f"{table}_{month}" for table in TABLES for month in months}


def placed(model):
    """Return the partitions that hold a model's rows of the test."""
    table = model._meta.db_table
    found = rows(
        f"SELECT DISTINCT tableoid::regclass::text FROM {table} WHERE rated_at > '2031-01-01'"
    )
    return [name for (name,) in found]


def used_at(gate, at):
    """Commit something at an instant."""
    gate.credit(10)
    return gate.at_instant(at).rating(
        gate.at_instant(at).commit(gate.at_instant(at).lease(1), 1)
    )


@pytest.fixture
def used(gate):
    gate.feature(price=1)
    gate.quota(500)
    return gate


def test_months_are_made_once_and_without_gaps(db):
    before = set(partitions())

    assert make(FAR, 3) == 6
    assert set(partitions()) - before == monthly("203105", "203106", "203107")
    assert make(FAR, 3) == 0
    assert make(FAR, 4) == 2


def test_the_next_months_are_there_after_migrating(db):
    now = datetime.now(UTC)

    assert set(partitions()) >= monthly(f"{now:%Y%m}")
    assert {f"{table}_default" for table in TABLES} <= set(partitions())


@pytest.mark.parametrize(
    ("at", "month"),
    [
        (datetime(2031, 5, 1, tzinfo=UTC), "203105"),
        (datetime(2031, 5, 31, 23, 59, 59, 999_999, tzinfo=UTC), "203105"),
        (datetime(2031, 6, 1, tzinfo=UTC), "203106"),
    ],
)
def test_a_rating_and_its_lines_stand_in_their_month(used, at, month):
    make(FAR, 2)
    rating = used_at(used, at)

    assert [*placed(Rating), *placed(RatedRecord)] == [
        f"gate_ratings_{month}",
        f"gate_rated_records_{month}",
    ]
    assert rating.lines.count() == 1


def test_a_month_boundary_is_one_of_utc_whatever_the_session_says(db):
    run("SET LOCAL TIME ZONE 'Asia/Tokyo'")
    make(FAR, 1)

    (bounds,) = rows(
        "SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE relname = 'gate_ratings_203105'"
    )[0]
    assert (
        bounds
        == "FOR VALUES FROM ('2031-05-01 09:00:00+09') TO ('2031-06-01 09:00:00+09')"
    )


def test_without_its_month_a_rating_stands_in_the_default_and_stays_there(used):
    rating = used_at(used, datetime(2031, 5, 3, tzinfo=UTC))
    assert placed(Rating) == ["gate_ratings_default"]

    assert make(FAR, 2) == 2
    assert "gate_ratings_203105" not in partitions()
    assert placed(Rating) == ["gate_ratings_default"]
    assert Rating.objects.get(pk=rating.pk).lines.count() == 1
    later = used_at(used, datetime(2031, 5, 4, tzinfo=UTC))
    assert later.lines.count() == 1


def test_old_months_are_dropped_whole_and_only_they(used):
    make(FAR, 3)
    for month in (5, 6, 7):
        used_at(used, datetime(2031, month, 3, tzinfo=UTC))
    run("SET CONSTRAINTS ALL IMMEDIATE")
    dropped = {name for name in drop(date(2031, 7, 1)) if "_2031" in name}

    assert dropped == monthly("203105", "203106")
    assert placed(Rating) == ["gate_ratings_203107"]
    assert placed(RatedRecord) == ["gate_rated_records_203107"]
    assert {f"{table}_default" for table in TABLES} <= set(partitions())


def test_a_month_is_not_dropped_before_it_is_over(db):
    make(FAR, 1)
    drop(date(2031, 5, 31))
    assert monthly("203105") <= set(partitions())

    drop(date(2031, 6, 1))
    assert not monthly("203105") & set(partitions())


STATEMENTS = {
    "UPDATE": "UPDATE {} SET realm_id = realm_id",
    "DELETE": "DELETE FROM {}",
    "TRUNCATE": "TRUNCATE {} CASCADE",
    "INSERT": "INSERT INTO {} SELECT * FROM {}",
}


def test_the_application_may_only_read_a_partition(db):
    make(FAR, 2)
    names = [*partitions(), *TABLES]
    allowed = rows(
        "SELECT t, p FROM unnest(%s::text[]) t, unnest(%s::text[]) p WHERE has_table_privilege('plangate_app', t, p)",
        [names, list(STATEMENTS)],
    )

    assert sorted(allowed) == [(table, "INSERT") for table in TABLES]


@pytest.mark.parametrize("statement", ["UPDATE", "DELETE", "TRUNCATE"])
def test_not_even_the_owner_rewrites_a_partition(db, statement):
    make(FAR, 1)
    run("SET CONSTRAINTS ALL IMMEDIATE")
    for name in partitions():
        with pytest.raises(DatabaseError) as refusal, transaction.atomic():
            run(STATEMENTS[statement].format(name, name))

        assert refusal.value.__cause__.sqlstate == APPEND_ONLY, name


@pytest.mark.parametrize("statement", STATEMENTS)
def test_the_application_is_refused_at_the_database(committed, statement):
    url = database_url("plangate_app")
    with psycopg.connect(url, autocommit=True) as served:
        assert served.execute("SELECT current_user, current_database()").fetchone() == (
            "plangate_app",
            connection.settings_dict["NAME"],
        )
        for (name,) in served.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent::regclass::text = ANY (%s)",
            [list(TABLES)],
        ).fetchall():
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                served.execute(STATEMENTS[statement].format(name, name))
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            served.execute(
                "CREATE TABLE mine PARTITION OF gate_ratings FOR VALUES FROM ('2031-05-01') TO ('2031-06-01')"
            )


def test_the_application_may_make_months_and_not_drop_them(committed):
    with psycopg.connect(database_url("plangate_app")) as served:
        assert served.execute(
            "SELECT gate_make_partitions('2031-05-01', 1)"
        ).fetchone() == (2,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            served.execute("SELECT gate_drop_partitions('2031-07-01')")
        served.rollback()


def test_what_is_found_again_stands_in_any_partition(used):
    """A repeat of a commit is answered from its partition, months later."""
    make(FAR, 1)
    gate = used.at_instant(datetime(2031, 5, 30, tzinfo=UTC))
    gate.credit(10)
    lease = gate.lease(1)
    first = gate.commit(lease, 1, key="once")

    again = gate.later(days=40).commit(lease, 1, key="once")

    assert again.replayed
    assert again.data == first.data


def test_the_job_makes_the_months_to_come_once(db):
    from datetime import UTC, datetime

    from gating.services.partitions import make_partitions

    at = datetime(2031, 11, 5, tzinfo=UTC)

    assert [make_partitions(at=at), make_partitions(at=at)] == [8, 0]
    assert make_partitions(at=at.replace(month=12)) == 2
