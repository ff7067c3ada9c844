"""Reads of features with their meters and prices."""

from datetime import datetime
from typing import Literal

from django.db.models import Exists, OuterRef, Prefetch, Q

from catalog.models import Feature, FeatureMeter, MeterPrice
from catalog.selectors.meters import current_prices
from config.tenancy.models import Realm, RealmQuerySet

MissingPriceReason = Literal["auto_registry", "missing_price", "both"]


def features(
    *,
    realm: Realm,
    at: datetime,
    text: str | None = None,
    active: bool | None = None,
    feature_family_code: str | None = None,
) -> RealmQuerySet[Feature]:
    """Return a realm's features with family, meters and prices in force at `at`.

    `text` is looked for in code and name. `shown_links` of a feature are its links,
    the primary one first; each meter has `current_prices`.
    """
    found = Feature.objects.in_realm(realm)
    if text:
        found = found.filter(Q(feature_code__icontains=text) | Q(name__icontains=text))
    if active is not None:
        found = found.filter(active=active)
    if feature_family_code is not None:
        found = found.filter(feature_family__feature_family_code=feature_family_code)
    links = (
        FeatureMeter.objects.select_related("meter")
        .order_by("-is_primary", "meter__meter_code")
        .prefetch_related(current_prices(at=at, path="meter__prices"))
    )
    shown = Prefetch("links", queryset=links, to_attr="shown_links")
    found = found.select_related("feature_family")
    # The attribute is declared on the model, for those who read it.
    return found.prefetch_related(shown)  # type: ignore[no-redef]


def features_needing_configuration(
    *, realm: Realm, at: datetime
) -> RealmQuerySet[Feature]:
    """Return the active features that nobody placed in a family or priced.

    These are the features in the fallback family, and those with an active meter that
    has no price in force at `at`.
    """
    priced = MeterPrice.objects.effective(at).filter(
        realm=OuterRef("realm"), meter=OuterRef("meter")
    )
    unpriced = FeatureMeter.objects.filter(
        ~Exists(priced),
        realm=OuterRef("realm"),
        feature=OuterRef("pk"),
        meter__active=True,
    )
    return features(realm=realm, at=at, active=True).filter(
        Q(feature_family__is_fallback=True) | Exists(unpriced)
    )


def missing_price_reason(feature: Feature) -> MissingPriceReason | None:
    """Return why a feature read by `features` needs configuration, None if not."""
    unpriced = any(
        link.meter.active and not link.meter.current_prices
        for link in feature.shown_links
    )
    if feature.feature_family.is_fallback:
        return "both" if unpriced else "auto_registry"
    return "missing_price" if unpriced else None
