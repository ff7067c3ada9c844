"""Reads of feature families."""

from django.db.models import Q

from catalog.models import FeatureFamily
from config.tenancy.models import Realm, RealmQuerySet


def feature_families(
    *, realm: Realm, text: str | None = None, active: bool | None = None
) -> RealmQuerySet[FeatureFamily]:
    """Return a realm's families; `text` is looked for in code and name."""
    families = FeatureFamily.objects.in_realm(realm)
    if text:
        families = families.filter(
            Q(feature_family_code__icontains=text) | Q(name__icontains=text)
        )
    if active is not None:
        families = families.filter(active=active)
    return families
