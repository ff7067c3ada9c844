"""Reads of campaigns."""

from typing import Any

from django.db.models import QuerySet

from config.kernel.errors import NotFound
from config.kernel.ids import parse_uuid
from config.tenancy.models import Realm
from grants.models import GrantCampaign


def list_campaigns(realm: Realm, **filters: Any) -> QuerySet[GrantCampaign]:
    """Return the realm's campaigns that match every given filter, unordered.

    `status`, `event_type`, and `q`, which is looked for in names.
    """
    names = {"status": "status", "event_type": "event_type", "q": "name__icontains"}
    asked = {names[name]: value for name, value in filters.items() if value is not None}
    return GrantCampaign.objects.in_realm(realm).filter(**asked)


def campaign_of(realm: Realm, campaign_id: object) -> GrantCampaign:
    """Return the realm's campaign of that id (404 if none)."""
    key = parse_uuid(str(campaign_id))
    found = GrantCampaign.objects.in_realm(realm).select_related("realm")
    campaign = found.filter(pk=key).first() if key else None
    if campaign is None:
        raise NotFound(f"There is no campaign {campaign_id}.")
    return campaign
