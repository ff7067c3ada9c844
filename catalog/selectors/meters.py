"""Reads of meters."""

from datetime import datetime

from django.db.models import OuterRef, Prefetch, Subquery
from django.db.models.functions import JSONObject

from catalog.models import FeatureMeter, Meter, MeterPrice
from config.tenancy.models import Realm, RealmQuerySet


def meters(
    *,
    realm: Realm,
    at: datetime,
    text: str | None = None,
    active: bool | None = None,
    feature_code: str | None = None,
    semantic_kind: str | None = None,
    unit: str | None = None,
) -> RealmQuerySet[Meter]:
    """Return a realm's meters with the price in force at `at` (aware UTC).

    `text` is looked for in the code. Each meter has `current_prices` (none or one)
    and `shown_feature`, the id and code of one feature it is linked to: the one asked
    for, else the one it is primary to, else the first by code.
    """
    exact = {
        "active": active,
        "links__feature__feature_code": feature_code,
        "semantic_kind": semantic_kind,
        "unit": unit,
    }
    found = Meter.objects.in_realm(realm).filter(
        **{name: value for name, value in exact.items() if value is not None}
    )
    if text:
        found = found.filter(meter_code__icontains=text)
    shown = _shown_feature(feature_code)
    # The attribute is declared on the model, for those who read it.
    found = found.annotate(shown_feature=shown)  # type: ignore[no-redef]
    return found.prefetch_related(current_prices(at=at))


def current_prices(
    *, at: datetime, path: str = "prices"
) -> "Prefetch[str, RealmQuerySet[MeterPrice], str]":
    """Return the prefetch of prices in force at `at`, as `current_prices`.

    `path` leads from the rows read to the prices of a meter.
    """
    prices = MeterPrice.objects.effective(at)
    return Prefetch(path, queryset=prices, to_attr="current_prices")


def _shown_feature(feature_code: str | None) -> Subquery:
    links = FeatureMeter.objects.filter(
        realm=OuterRef("realm"), meter=OuterRef("pk")
    ).order_by("-is_primary", "feature__feature_code")
    if feature_code is not None:
        links = links.filter(feature__feature_code=feature_code)
    one = links.values(
        shown=JSONObject(feature_id="feature_id", feature_code="feature__feature_code")
    )
    return Subquery(one[:1])
