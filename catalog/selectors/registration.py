"""What came into being by being used, and what of it waits for a person."""

from datetime import datetime

from django.db.models import Exists, OuterRef

from catalog.models import FeatureMeter, Meter, MeterPrice
from config.tenancy.models import Realm


def is_registered(meter: Meter) -> bool:
    """Return whether the meter was registered by use, as its metadata says."""
    mark = meter.metadata.get("auto_registry")
    return isinstance(mark, dict) and mark.get("auto") is True


def waiting_for_price(realm: Realm, *, at: datetime) -> int:
    """Return how many meters registered by use have no price in force at `at`.

    Those of active features: what is switched off, or lost its feature, does not wait.
    """
    priced = MeterPrice.objects.effective(at).filter(
        realm=OuterRef("realm"), meter=OuterRef("meter")
    )
    waiting = FeatureMeter.objects.in_realm(realm).filter(
        ~Exists(priced),
        feature__active=True,
        meter__active=True,
        meter__metadata__auto_registry__auto=True,
    )
    return waiting.values("meter").distinct().count()
