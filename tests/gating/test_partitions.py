"""Ratings and their lines stand by month: made ahead, dropped whole, sealed always."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime

import psycopg
import pytest
from django.db import DatabaseError, connection, transaction

from config.kernel.ids import new_id
from gating.models import RatedRecord, Rating
from gating.services.partitions import move_to_month
from tests.gating.racing import arena, wait_for_waiting
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


def test_without_its_month_a_rating_stands_in_the_default_until_it_is_moved(used):
    rating = used_at(used, datetime(2031, 5, 3, tzinfo=UTC))
    assert placed(Rating) == ["gate_ratings_default"]

    assert make(FAR, 2) == 2
    assert "gate_ratings_203105" not in partitions()
    assert placed(Rating) == ["gate_ratings_default"]
    assert Rating.objects.get(pk=rating.pk).lines.count() == 1
    later = used_at(used, datetime(2031, 5, 4, tzinfo=UTC))
    assert later.lines.count() == 1


MONTH = (datetime(2031, 5, 1, tzinfo=UTC), datetime(2031, 6, 1, tzinfo=UTC))


def bounds(table="gate_ratings"):
    """Return the bounds of the partitions of May 2031, by name."""
    found = rows(
        "SELECT relname, regexp_matches(pg_get_expr(relpartbound, oid), $re$\\('([^']+)'\\) TO \\('([^']+)'\\)$re$)"
        " FROM pg_class WHERE relispartition AND relname ~ %s ORDER BY relname",
        [f"^{table}_203105"],
    )
    return {
        name: tuple(datetime.fromisoformat(f"{end}:00") for end in ends)
        for name, ends in found
    }


def move(most, month=FAR):
    return rows("SELECT gate_move_to_month(%s, %s)", [month, most])[0][0]


def strays():
    return rows(
        "SELECT count(*) FROM gate_ratings_default WHERE rated_at > '2031-01-01'"
    )[0][0]


@pytest.fixture
def stray(used):
    """Five ratings of May and one of June 2031, in the default partition."""
    days = [(5, day) for day in (1, 2, 2, 20, 31)] + [(6, 1)]
    return [
        used_at(used, datetime(2031, month, day, tzinfo=UTC)) for month, day in days
    ]


def same(ratings):
    """Every rating is found as it was, with its line."""
    for rating in ratings:
        found = Rating.objects.get(pk=rating.pk)
        assert (found.rated_at, found.evidence) == (rating.rated_at, rating.evidence)
        assert found.lines.get().rated_at == rating.rated_at


def test_a_month_is_moved_out_of_the_default_partition_at_once(stray):
    assert [move(100), move(100)] == [5, 0]

    assert bounds() == {"gate_ratings_203105": MONTH}
    assert bounds("gate_rated_records") == {"gate_rated_records_203105": MONTH}
    assert strays() == 1
    same(stray)


@pytest.mark.parametrize(
    ("most", "moved"),
    [(1, [1, 2, 1, 1, 0]), (2, [1, 2, 2, 0]), (3, [3, 2, 0]), (4, [4, 1, 0])],
)
def test_a_month_is_moved_in_parts_that_leave_no_gap(stray, most, moved):
    found = []
    for count in moved:
        found.append(move(most))
        same(stray)
        assert found[-1] == count

    parts = sorted(bounds().values())
    assert (parts[0][0], parts[-1][1]) == MONTH
    assert all(one[1] == next_[0] for one, next_ in itertools.pairwise(parts))
    assert len(parts) == len(moved) - 1
    assert sorted(bounds("gate_rated_records").values()) == parts
    assert move(most, date(2031, 6, 1)) == 1
    assert strays() == 0


def test_what_is_moved_is_sealed_and_takes_what_comes_later(stray, used):
    move(2)
    used_at(used, datetime(2031, 5, 1, 1, tzinfo=UTC))
    used_at(used, datetime(2031, 5, 9, tzinfo=UTC))
    while move(2):
        pass
    run("SET CONSTRAINTS ALL IMMEDIATE")
    names = [
        *bounds(),
        *bounds("gate_rated_records"),
        *(f"{t}_default" for t in TABLES),
    ]

    assert strays() == 1
    assert len(names) == 10
    for name in names:
        for statement in ("UPDATE", "DELETE", "TRUNCATE"):
            with pytest.raises(DatabaseError) as refusal, transaction.atomic():
                run(STATEMENTS[statement].format(name, name))
            assert refusal.value.__cause__.sqlstate == APPEND_ONLY, name
    assert (
        rows(
            "SELECT t FROM unnest(%s::text[]) t WHERE has_table_privilege('plangate_app', t, 'INSERT, UPDATE, DELETE, TRUNCATE')",
            [names],
        )
        == []
    )


def test_all_parts_of_a_month_are_dropped_together(stray):
    while move(2):
        pass
    run("SET CONSTRAINTS ALL IMMEDIATE")

    dropped = drop(date(2031, 6, 1))

    assert {name for name in dropped if "_2031" in name} == {
        f"{table}_203105{part}" for table in TABLES for part in ("", "_2", "_3")
    }
    assert (
        Rating.objects.filter(rated_at__gt=datetime(2031, 1, 1, tzinfo=UTC)).count()
        == 1
    )


def test_the_job_moves_months_until_the_default_partition_is_empty(stray, at):
    moved = []
    while count := move_to_month(most=2):
        moved.append(count)

    assert rows("SELECT count(*) FROM gate_ratings_default") == [(0,)]
    assert sum(moved) >= 6
    same(stray)


def test_a_commit_waits_for_the_move_of_its_month_and_follows_it(committed, by):
    """In February 1995, of which nothing stays behind."""
    at = datetime(1995, 2, 3, tzinfo=UTC)
    gate = arena(at, by.effective(at))
    gate.feature()
    gate.commit(gate.lease(), 1)
    lease = gate.lease()
    try:
        with ThreadPoolExecutor(1) as other:
            with transaction.atomic():
                assert move(10, date(1995, 2, 1)) == 1
                committing = other.submit(gate.commit, lease, 1)
                wait_for_waiting()
            committing.result()
            other.submit(lambda: connection.close()).result()

        places = rows(
            "SELECT DISTINCT tableoid::regclass::text FROM gate_ratings WHERE realm_id = %s",
            [gate.realm.pk],
        )
        assert places == [("gate_ratings_199502",)]
        assert RatedRecord.objects.filter(realm=gate.realm).count() == 2
    finally:
        drop(date(1995, 3, 1))


@pytest.mark.parametrize("ddl", ["drop", "move"])
def test_a_commit_that_has_its_rating_stored_is_not_stopped(committed, by, ddl):
    """Between rating and line: the drop, or the move, waits, and not for half of it."""
    at = datetime(1995, 2, 3, tzinfo=UTC)
    gate = arena(at, by.effective(at))
    gate.feature()
    first = gate.rating(gate.commit(gate.lease(), 1))
    line = first.lines.get()
    make(date(1994, 2, 1), 1)
    work = {
        "drop": lambda: drop(date(1994, 3, 1)),
        "move": lambda: move(9, date(1995, 2, 1)),
    }
    try:
        with ThreadPoolExecutor(1) as other:
            with transaction.atomic():
                first.pk = line.rating_id = new_id()
                first.save(force_insert=True)
                working = other.submit(work[ddl])
                wait_for_waiting()
                line.pk = new_id()
                line.save(force_insert=True)
            assert working.result()
            other.submit(lambda: connection.close()).result()
        assert RatedRecord.objects.filter(realm=gate.realm).count() == 2
    finally:
        move(10, date(1995, 2, 1))
        drop(date(1995, 3, 1))


def test_the_application_moves_and_cannot_write_to_what_it_moves(committed):
    with psycopg.connect(database_url("plangate_app")) as served:
        served.execute("SELECT gate_move_to_month('2031-05-01', 10)")
        for statement in (
            "SELECT gate_take_from_default('gate_ratings', '_203105', '2031-05-01', '2031-06-01')",
            "ALTER TABLE gate_ratings_default DISABLE TRIGGER append_only",
        ):
            with (
                pytest.raises(psycopg.errors.InsufficientPrivilege),
                served.transaction(),
            ):
                served.execute(statement)
        served.rollback()


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


@pytest.mark.parametrize("scans", ["on", "off"])
def test_other_tables_whose_names_end_in_digits_are_in_nobodys_way(db, scans):
    """As those of large values do, `pg_toast_` and a number, in a database of some age."""
    make(FAR, 1)
    run("CREATE TABLE kept_521753 (id int)")
    for way in ("nestloop", "indexscan", "bitmapscan", "mergejoin"):
        run(f"SET LOCAL enable_{way} = {scans}")

    assert monthly("203105") <= set(drop(date(2031, 6, 1)))


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
