"""Reads of campaigns."""

from typing import Any

from django.db.models import QuerySet, Sum

from config.kernel.errors import NotFound
from config.kernel.ids import parse_uuid
from config.tenancy.models import Realm
from grants.models import GrantAssignment, GrantCampaign, GrantLot


def list_campaigns(realm: Realm, **filters: Any) -> QuerySet[GrantCampaign]:
    """Return the realm's campaigns that match every given filter, unordered.

    `status`, `event_type`, and `q`, which is looked for in names.
    """
    names = {"status": "status", "event_type": "event_type", "q": "name__icontains"}
    asked = {names[name]: value for name, value in filters.items() if value is not None}
    return GrantCampaign.objects.in_realm(realm).filter(**asked)


def given_by(campaign: GrantCampaign) -> tuple[int, int]:
    """Return to how many users a campaign gave, and how much so far (10^-6 USD)."""
    bound = GrantAssignment.objects.in_realm(campaign.realm_id).filter(
        campaign=campaign
    )
    lots = GrantLot.objects.in_realm(campaign.realm_id).filter(
        assignment__campaign=campaign, carried_from__isnull=True
    )
    people = bound.values("user").distinct().count()
    return people, lots.aggregate(total=Sum("amount_xusd"))["total"] or 0


def campaign_of(realm: Realm, campaign_id: object) -> GrantCampaign:
    """Return the realm's campaign of that id (404 if none)."""
    key = parse_uuid(str(campaign_id))
    found = GrantCampaign.objects.in_realm(realm).select_related("realm")
    campaign = found.filter(pk=key).first() if key else None
    if campaign is None:
        raise NotFound(f"There is no campaign {campaign_id}.")
    return campaign
