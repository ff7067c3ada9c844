from datetime import timedelta
from itertools import pairwise

import pytest
from django.db import IntegrityError, OperationalError, transaction
from psycopg.errors import DeadlockDetected

from catalog.models import Meter, MeterPrice
from catalog.selectors.prices import price_in_force, prices_in_force
from catalog.services.prices import PriceOvertaken, PriceTerms, set_meter_price
from config.kernel.errors import Invalid
from config.tenancy.history import auditing
from tests.catalog.make import CHEAP, DEAR, events_of, history_of, make_meter, race

MICROSECOND = timedelta(microseconds=1)
INT64_MAX = 2**63 - 1


@pytest.fixture
def meter(realm, at, by):
    return make_meter(realm, at, by)


def test_first_price_is_open(meter, at, by):
    price = set_meter_price(meter=meter, terms=CHEAP, at=at, by=by)

    assert (price.window_start, price.window_end) == (at, None)
    assert (price.unit_price_base_xusd, price.unit_price_dynamic_xusd) == (100, 0)
    assert (price.unit_quantity_minor, price.cost_unit_quantity_minor) == (1, 1)
    assert events_of(meter.realm, "meter_price") == ["meter_price.set"]


def test_price_is_superseded_at_the_instant(meter, at, by):
    first = set_meter_price(meter=meter, terms=CHEAP, at=at, by=by)
    later = at + timedelta(days=1)

    second = set_meter_price(meter=meter, terms=DEAR, at=later, by=by)

    first.refresh_from_db()
    assert (first.window_end, second.window_start) == (later, later)
    assert price_in_force(meter, at=at - MICROSECOND) is None
    assert price_in_force(meter, at=at) == first
    assert price_in_force(meter, at=later - MICROSECOND) == first
    assert price_in_force(meter, at=later) == second


def test_superseding_changes_nothing_but_the_end(meter, at, by):
    first = set_meter_price(meter=meter, terms=CHEAP, at=at, by=by)
    later = at + timedelta(days=1)

    set_meter_price(meter=meter, terms=DEAR, at=later, by=by)

    opened, closed = history_of(first)
    assert (opened.window_end, closed.window_end) == (None, later)
    assert opened.unit_price_xusd == closed.unit_price_xusd == 100
    assert (closed.operator, closed.ticket_id) == (by.operator, by.ticket_id)


def test_same_terms_change_nothing(meter, at, by):
    price = set_meter_price(meter=meter, terms=CHEAP, at=at, by=by)

    again = set_meter_price(
        meter=meter,
        terms=PriceTerms(100, 40, unit_price_base_xusd=100),
        at=at + timedelta(days=1),
        by=by,
    )

    assert again == price
    assert MeterPrice.objects.filter(meter=meter).count() == 1
    assert events_of(meter.realm, "meter_price") == ["meter_price.set"]


@pytest.mark.parametrize("earlier", [timedelta(0), timedelta(seconds=1)])
def test_price_not_after_the_current_one_is_refused(meter, at, by, earlier):
    set_meter_price(meter=meter, terms=CHEAP, at=at, by=by)

    with pytest.raises(PriceOvertaken) as refusal:
        set_meter_price(meter=meter, terms=DEAR, at=at - earlier, by=by)

    assert (refusal.value.status, refusal.value.code) == (503, "SERVER.BUSY")


@pytest.mark.parametrize(
    ("terms", "field"),
    [
        (PriceTerms(-1), "unit_price_xusd"),
        (PriceTerms(INT64_MAX + 1), "unit_price_xusd"),
        (PriceTerms(True), "unit_price_xusd"),
        (PriceTerms(1.0), "unit_price_xusd"),
        (PriceTerms(1, -1), "unit_cost_xusd"),
        (PriceTerms(1, 1, 0), "unit_quantity_minor"),
        (PriceTerms(1, 1, 1, 0), "cost_unit_quantity_minor"),
        (PriceTerms(1, 1, 1, 1, -1), "unit_price_base_xusd"),
        (PriceTerms(1, 1, 1, 1, 1, -(2**63) - 1), "unit_price_dynamic_xusd"),
        (PriceTerms(1, 1, 1, 1, 1, 1), "unit_price_xusd"),
        (PriceTerms(1, unit_price_dynamic_xusd=1), "unit_price_xusd"),
        (
            PriceTerms(
                1, unit_price_base_xusd=INT64_MAX, unit_price_dynamic_xusd=INT64_MAX
            ),
            "unit_price_xusd",
        ),
    ],
)
def test_bad_terms_name_the_field(meter, at, by, terms, field):
    with pytest.raises(Invalid) as refusal:
        set_meter_price(meter=meter, terms=terms, at=at, by=by)

    assert refusal.value.field == field


@pytest.mark.parametrize(
    "terms",
    [
        PriceTerms(0, 0),
        PriceTerms(INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX),
        PriceTerms(100, unit_price_base_xusd=150, unit_price_dynamic_xusd=-50),
        PriceTerms(
            0, unit_price_base_xusd=INT64_MAX, unit_price_dynamic_xusd=-INT64_MAX
        ),
    ],
)
def test_extreme_terms_are_kept_exactly(meter, at, by, terms):
    set_meter_price(meter=meter, terms=terms, at=at, by=by)

    stored = MeterPrice.objects.get(meter=meter)
    assert {
        name: getattr(stored, name) for name in MeterPrice.AMOUNTS
    } == terms.checked()


def test_prices_in_force_by_code(realm, other_realm, at, by):
    make_meter(realm, at, by, "tokens", price=CHEAP)
    make_meter(realm, at, by, "seconds", price=DEAR)
    make_meter(realm, at, by, "unpriced")
    make_meter(other_realm, at, by, "tokens", price=DEAR)

    found = prices_in_force(
        realm=realm, meter_codes=["tokens", "seconds", "unpriced", "unknown"], at=at
    )

    assert {code: price.unit_price_xusd for code, price in found.items()} == {
        "tokens": 100,
        "seconds": 900,
    }


def test_prices_in_force_takes_one_query(realm, at, by, django_assert_num_queries):
    for code in ("a", "b", "c"):
        make_meter(realm, at, by, code, price=CHEAP)

    with django_assert_num_queries(1):
        found = prices_in_force(realm=realm, meter_codes=["a", "b", "c"], at=at)

    assert len(found) == 3


def raw_price(meter, at, by):
    """Insert an open price as no verb would: without looking at what is there."""
    with transaction.atomic(), auditing(by, at=at):
        return MeterPrice.objects.create(
            realm=meter.realm,
            meter=meter,
            unit_price_xusd=1,
            unit_price_base_xusd=1,
            unit_cost_xusd=0,
            window_start=at,
        )


def test_two_threads_cannot_put_two_prices_in_force(committed_realm, at, by):
    meter = make_meter(committed_realm, at, by)

    def insert(number):
        """Where each waits for the other's row, one is told to try again, as the edge does."""
        while True:
            try:
                return raw_price(meter, at + timedelta(seconds=number), by)
            except OperationalError as error:
                assert isinstance(error.__cause__, DeadlockDetected)

    results = race(insert, threads=2)

    refused = [result for result in results if isinstance(result, IntegrityError)]
    assert len(refused) == 1
    assert refused[0].__cause__.diag.constraint_name == "meter_price_one_in_force"
    assert MeterPrice.objects.filter(meter=meter).count() == 1


def test_two_threads_both_store_a_price_without_the_constraint(committed_realm, at, by):
    """The control: windows that do not meet are both stored in the same race."""
    meter = make_meter(committed_realm, at, by)

    def insert(number):
        start = at + timedelta(days=number)
        with transaction.atomic(), auditing(by, at=at):
            return MeterPrice.objects.create(
                realm=committed_realm,
                meter=meter,
                unit_price_xusd=1,
                unit_price_base_xusd=1,
                unit_cost_xusd=0,
                window_start=start,
                window_end=start + timedelta(hours=1),
            )

    results = race(insert, threads=2)

    assert [type(result) for result in results] == [MeterPrice, MeterPrice]


def test_concurrent_prices_leave_one_in_force_and_no_gap(committed_realm, at, by):
    meter = make_meter(committed_realm, at, by, price=CHEAP)

    results = race(
        lambda number: set_meter_price(
            meter=meter,
            terms=PriceTerms(unit_price_xusd=1000 + number),
            at=at + timedelta(seconds=1 + number),
            by=by,
        )
    )

    prices = list(MeterPrice.objects.filter(meter=meter).order_by("window_start"))
    assert {type(result) for result in results} <= {MeterPrice, PriceOvertaken}
    assert len(prices) == 1 + sum(isinstance(result, MeterPrice) for result in results)
    for price, following in pairwise(prices):
        assert price.window_end == following.window_start
    assert prices[-1].window_end is None


def test_price_survives_a_change_of_its_meter(meter, at, by):
    price = set_meter_price(meter=meter, terms=CHEAP, at=at, by=by)

    make_meter(meter.realm, at + timedelta(days=1), by, unit="token")

    assert (
        price_in_force(Meter.objects.get(pk=meter.pk), at=at + timedelta(days=2))
        == price
    )
