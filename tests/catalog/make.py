"""Minimal rows of the catalog, and what tests of several modules ask of them."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from django.db import DatabaseError, connection

from catalog.services.families import upsert_feature_family
from catalog.services.features import upsert_feature
from catalog.services.meters import upsert_meter
from catalog.services.prices import PriceTerms
from config.kernel.errors import DomainError
from config.tenancy.models import DomainEvent

CHEAP = PriceTerms(unit_price_xusd=100, unit_cost_xusd=40)
DEAR = PriceTerms(unit_price_xusd=900, unit_cost_xusd=400)


def make_family(realm, at, by, code="chat", **values):
    return upsert_feature_family(
        realm=realm, feature_family_code=code, at=at, by=by, **values
    )[0]


def make_feature(realm, at, by, code="chat.reply", family="chat", **values):
    make_family(realm, at, by, family)
    return upsert_feature(
        realm=realm,
        feature_code=code,
        feature_family_code=family,
        at=at,
        by=by,
        **values,
    )[0]


def make_meter(realm, at, by, code="tokens", **values):
    return upsert_meter(realm=realm, meter_code=code, at=at, by=by, **values)[0]


def history_of(row):
    """Return the history rows of a row, oldest first."""
    return list(type(row).history.filter(id=row.pk).order_by("history_id"))


def events_of(realm, prefix=""):
    """Return the kinds of a realm's events, in order."""
    events = DomainEvent.objects.in_realm(realm).filter(kind__startswith=prefix)
    return list(events.order_by("id").values_list("kind", flat=True))


def race(work, threads=8):
    """Run `work(number)` in every thread at once; return results or refusals."""
    barrier = Barrier(threads)

    def run(number):
        try:
            connection.ensure_connection()
            barrier.wait(timeout=30)
            return work(number)
        except (DatabaseError, DomainError) as error:
            return error
        finally:
            connection.close()

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(run, range(threads)))
