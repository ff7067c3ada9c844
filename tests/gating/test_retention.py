"""What is kept for a time only goes when it may, and what refers to it still stands."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from config.kernel.clock import now
from config.kernel.errors import NotFound
from gating import jobs
from gating.models import Denial, Lease, Rating, RatingKey, SeatBilling
from gating.options import options
from gating.selectors.decisions import decision_of
from gating.services.denials import GateDenied
from gating.services.leases import LeaseUnknown
from gating.services.retention import (
    drop_old_months,
    purge_counters,
    purge_denials,
    purge_leases,
)
from tests.gating.racing import arena
from tests.tools.server import database_url
from tests.tools.tables import run

DAY = timedelta(days=1)
KEPT = timedelta(days=90)
MOMENT = timedelta(microseconds=1)


@pytest.fixture
def kept(monkeypatch):
    """Sets how long things are kept."""

    def set_to(**values):
        for name, value in values.items():
            monkeypatch.setenv(f"PLANGATE_{name}", str(value))
        options.cache_clear()

    yield set_to
    monkeypatch.undo()
    options.cache_clear()


@pytest.fixture
def nothing_old(db):
    """Purge what tests with committed rows left behind, so that rows can be counted."""
    while purge_leases(at=now() + 99 * KEPT, batch=10_000).count:
        pass


@pytest.fixture
def used(nothing_old, gate):
    """A gate that stands now, as ids do, and was used."""
    gate = gate.at_instant(now())
    gate.feature(price=1)
    gate.quota(500)
    gate.credit(1_000)
    return gate


def purge(gate, after=KEPT, **options):
    return purge_leases(at=gate.at + after, **options).count


# --- leases ---------------------------------------------------------------------


@pytest.mark.parametrize("how", ["commit", "cancel", "expire"])
def test_a_lease_that_ended_long_ago_is_purged(used, how):
    lease = used.lease(5)
    end = used.later(days=1)
    if how == "commit":
        end = used
        used.commit(lease, 5)
    elif how == "cancel":
        end = used
        used.cancel(lease)
    else:
        end.authorize(1, key="next")

    assert purge(end, batch=1_000) == 0
    assert purge(end, KEPT + timedelta(seconds=1), batch=1_000) == 1
    assert not Lease.objects.filter(user=used.user, lease=lease).exists()


def test_a_lease_that_has_not_ended_is_kept_for_good(used):
    used.lease(5)

    assert purge(used, 9 * KEPT) == 0


def test_leases_are_purged_in_batches_one_behind_the_other(used):
    leases = [used.commit(used.lease(1), 1) for _ in range(5)]
    at, last, counts = used.at + KEPT + DAY, None, []
    for _ in range(4):
        purged = purge_leases(at=at, batch=2, **({"after": last} if last else {}))
        counts.append(purged.count)
        last = purged.last

    assert counts == [2, 2, 1, 0]
    assert len(leases) == 5
    assert Lease.objects.filter(user=used.user).count() == 0


def test_how_long_leases_are_kept_is_the_deployments(used, kept):
    used.commit(used.lease(1), 1)
    kept(LEASES_KEPT_DAYS=7)

    assert [purge(used, 7 * DAY), purge(used, 8 * DAY)] == [0, 1]


def test_what_a_lease_led_to_outlives_it(used):
    lease = used.lease(5)
    first = used.commit(lease, 5, key="once")
    rating, balance = used.rating(first), used.balance()
    purge(used, KEPT + DAY)

    again = used.commit(lease, 5, key="once")
    assert (again.replayed, again.data, list(again.hints)) == (
        True,
        first.data,
        list(first.hints),
    )
    assert Rating.objects.get(pk=rating.pk).lease_id == rating.lease_id
    assert (used.balance(), used.used()) == (balance, (5, 0))
    with pytest.raises(LeaseUnknown):
        used.commit(lease, 5, key="another")
    with pytest.raises(NotFound):
        decision_of(used.realm, str(rating.lease_id))


def test_a_key_of_authorize_is_free_again_once_its_lease_is_purged(used):
    first = used.authorize(5, key="k")
    used.commit(first.data["lease"], 5)
    assert used.authorize(5, key="k").replayed

    purge(used, KEPT + DAY)

    again = used.authorize(5, key="k")
    assert (again.replayed, again.data["lease"] != first.data["lease"]) == (False, True)


# --- denials --------------------------------------------------------------------


def denied(gate):
    with pytest.raises(GateDenied):
        gate.authorize(501)


def test_denials_are_kept_unless_the_deployment_says_how_long(used):
    denied(used)

    assert purge_denials(at=used.at + 9_999 * DAY) == 0


def test_denials_of_months_that_are_kept_no_longer_go(used, kept):
    kept(DENIALS_KEPT_MONTHS=2)
    run("DELETE FROM gate_denials")
    for month in (3, 4, 4, 5):
        denied(used.at_instant(datetime(2031, month, 30, month, tzinfo=UTC)))
        denied(used.at_instant(datetime(2031, month, 30, 23, tzinfo=UTC)))

    at = datetime(2031, 6, 1, tzinfo=UTC)
    counts = [purge_denials(at=at, batch=1) for _ in range(3)]
    assert counts == [1, 1, 0]
    assert {d.first_at.month for d in Denial.objects.filter(user=used.user)} == {4, 5}


# --- counters -------------------------------------------------------------------


def test_counters_go_once_no_lease_that_is_kept_counts_there(used):
    run("DELETE FROM gate_counters")
    used.commit(used.lease(1), 1)
    end = used.counter().window_end
    used.at_instant(used.at + DAY).lease(1)
    # An authorization lasts 30 days at most, and its grace likewise.
    kept = options().leases_kept + 60 * DAY

    assert purge_counters(at=end + kept) == 0
    assert purge_counters(at=end + kept + MOMENT, batch=1) == 1
    assert purge_counters(at=end + kept + 400 * DAY) == 0
    left = used.counter()
    assert (left.window_end, left.reserved_minor) == (end + DAY, 1)


# --- months of ratings ------------------------------------------------------------


@pytest.fixture
def then(db, by):
    """A gate that was used in March 2021, in months that have their partitions."""
    run("SELECT gate_make_partitions('2021-03-01', 3)")
    at = datetime(2021, 3, 1, tzinfo=UTC)
    gate = arena(at, by.effective(at))
    gate.feature(price=1)
    gate.quota(500)
    gate.credit(1_000)
    return gate


@pytest.fixture
def old(then):
    """Ratings of three months that are long over."""
    return [rated(then.later(days=days)) for days in (8, 40, 70)]


def rated(gate):
    """A rating of that instant, whose commit had a key of its month."""
    committed = gate.commit(gate.lease(1), 1, key=f"of {gate.at:%B}")
    run("SET CONSTRAINTS ALL IMMEDIATE")
    return gate.rating(committed)


def test_months_are_kept_unless_the_deployment_says_how_many(old, then):
    assert drop_old_months(at=now()) == []
    assert Rating.objects.filter(user=then.user).count() == 3


def test_whole_months_are_dropped_with_the_keys_of_their_ratings(old, then, kept):
    kept(RATINGS_KEPT_MONTHS=12)

    dropped = drop_old_months(at=datetime(2022, 5, 31, 23, tzinfo=UTC))

    assert {name for name in dropped if "_2021" in name} == {
        f"{table}_2021{month}"
        for table in ("gate_ratings", "gate_rated_records")
        for month in ("03", "04")
    }
    assert [r.pk for r in Rating.objects.filter(user=then.user)] == [old[2].pk]
    keys = RatingKey.objects.filter(user=then.user)
    assert [key.rating_id for key in keys] == [old[2].pk]


def test_a_retry_of_so_old_a_key_is_told_that_its_lease_is_gone(old, then, kept):
    kept(RATINGS_KEPT_MONTHS=12)
    lease = Lease.objects.get(pk=old[0].lease_id).lease
    purge_leases(at=now() + KEPT + DAY, batch=10_000)
    balance = then.balance()
    drop_old_months(at=now())

    with pytest.raises(LeaseUnknown):
        then.commit(lease, 1, key="of March")
    assert then.balance() == balance


def test_a_retry_whose_lease_is_still_there_is_kept_aside(old, then, kept):
    """Should leases not have been purged: nothing is charged either."""
    kept(RATINGS_KEPT_MONTHS=12)
    lease = Lease.objects.get(pk=old[0].lease_id).lease
    balance = then.balance()
    drop_old_months(at=now())

    again = then.commit(lease, 1, key="of March")

    assert (again.replayed, again.data["application_status"], then.balance()) == (
        False,
        "quarantined",
        balance,
    )


def test_keys_of_many_ratings_go_in_batches(old, then, kept, monkeypatch):
    monkeypatch.setattr("gating.services.retention.KEYS_AT_ONCE", 1)
    march = then.later(days=20)
    for number in range(3):
        march.commit(march.lease(1), 1, key=f"more {number}")
    run("SET CONSTRAINTS ALL IMMEDIATE")
    kept(RATINGS_KEPT_MONTHS=12)

    drop_old_months(at=now())

    assert RatingKey.objects.filter(user=then.user).count() == 0


def test_the_keys_of_seats_outlive_their_month(then, kept):
    then.feature("seat", price=1)
    terms = {"billing_feature_code": "seat", "billing_meter_code": "seat"}
    then.seats(5, metadata={**terms, "billing_mode": "assigned"})
    then.lease()
    april = then.at_instant(datetime(2021, 4, 1, tzinfo=UTC))
    assert april.bill().rated == 1
    run("SET CONSTRAINTS ALL IMMEDIATE")
    SeatBilling.objects.filter(realm=then.realm).delete()
    kept(RATINGS_KEPT_MONTHS=12)

    drop_old_months(at=now())

    assert Rating.objects.filter(user=then.user).count() == 0
    assert april.bill().rated == 0


def test_a_months_partition_may_be_dropped_by_the_serving_role_once_old(db):
    with psycopg.connect(database_url("plangate_app")) as served:
        served.execute("SELECT gate_make_partitions('2021-03-01', 1)")
        [(dropped,)] = served.execute(
            "SELECT gate_drop_old_partitions('2021-04-01')"
        ).fetchall()
        year_ago = served.execute(
            "SELECT (date_trunc('month', now() AT TIME ZONE 'UTC') - interval '12 months')::date"
        ).fetchone()[0]
        served.execute("SELECT gate_drop_old_partitions(%s)", [year_ago])
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            served.execute(
                "SELECT gate_drop_old_partitions(%s)", [year_ago + timedelta(days=1)]
            )
        served.rollback()

    assert [name for name in dropped if "_2021" in name] == [
        "gate_rated_records_202103",
        "gate_ratings_202103",
    ]


# --- the jobs ---------------------------------------------------------------------


def test_the_jobs_do_their_work_and_then_find_nothing(then, kept):
    kept(RATINGS_KEPT_MONTHS=12, DENIALS_KEPT_MONTHS=1)
    rated(then)
    denied(then)

    work = (jobs.purge_denials, jobs.drop_old_months, jobs.make_partitions)
    first = [job(timestamp=0) for job in work]
    again = [job(timestamp=0) for job in work]

    assert all(first[:2])
    assert again == [0, 0, 0]
