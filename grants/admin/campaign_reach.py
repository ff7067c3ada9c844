"""Whom a campaign is about, before somebody starts, pauses or ends it."""

from collections.abc import Sequence

from config.admin.bases import NOTHING, Table
from config.kernel.metadata import CampaignMetadata, GrantBinding, check_metadata
from config.kernel.money import format_xusd
from grants.models import GrantCampaign
from grants.selectors.campaigns import given_by
from grants.services.campaign_enrollment import lacking_users

COUNTED = 10_000
"""People who are counted one by one; of more it is said that there are more."""


def gives_text(campaign: GrantCampaign) -> str:
    """Return what it gives, per program."""
    return ", ".join(
        f"{format_xusd(grant.amount_xusd or 0)} of {grant.grant_program_code}"
        for grant in _grants(campaign)
    )


def _grants(campaign: GrantCampaign) -> Sequence[GrantBinding]:
    return check_metadata(CampaignMetadata, campaign.metadata).known.grants


def reach_table(campaign: GrantCampaign) -> Table:
    """Return how many people were given how much, and how many are still to be."""
    people, given = given_by(campaign)
    return Table(
        title=f"{campaign} gives {gives_text(campaign) or 'no grants'} to each",
        headers=("", "People", "Money"),
        rows=[
            ("Was given so far; that stays", f"{people:,}", format_xusd(given)),
            _to_come(campaign),
        ],
    )


def _to_come(campaign: GrantCampaign) -> tuple[str, str, str]:
    """Return what it gives only while it runs."""
    if campaign.event_type:
        about = f"Whoever {campaign.event_type} is about while it runs"
        return about, NOTHING, f"{gives_text(campaign) or 'Nothing'} each"
    each = sum(grant.amount_xusd or 0 for grant in _grants(campaign))
    waiting = lacking_users(campaign)[: COUNTED + 1].count()
    label = "Is still to be given, while it runs (per period)"
    if waiting > COUNTED:
        amount = f"More than {format_xusd(COUNTED * each)}"
        return label, f"More than {COUNTED:,}", amount
    return label, f"{waiting:,}", format_xusd(waiting * each)
