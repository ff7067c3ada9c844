"""Programs and campaigns, as one test needs them."""

from grants.services.campaigns import CampaignTerms, create_campaign
from grants.services.programs import ProgramTerms, create_program


def make_program(realm, code="welcome", *, at, by, **terms):
    """Return a program that gives 5000 xusd once, unless told otherwise."""
    given = {"cadence": "once", "window_kind": "forever", "amount_xusd": 5000, **terms}
    return create_program(
        realm=realm, program_code=code, terms=ProgramTerms(**given), at=at, by=by
    )


def grants(*codes, **binding):
    """Return the metadata of a campaign that gives of the programs."""
    each = {"amount_xusd": "700", **binding}
    return {"grants": [{"grant_program_code": code, **each} for code in codes]}


def make_campaign(realm, name="Spring", *, at, by, **terms):
    """Return an active campaign over every account, unless told otherwise."""
    given = {
        "status": "active",
        "window_start": at,
        "metadata": grants("welcome"),
        **terms,
    }
    return create_campaign(
        realm=realm, terms=CampaignTerms(name=name, **given), at=at, by=by
    )


def make_event_campaign(realm, event_type, trigger="first_match", **terms):
    """Return an active campaign on an event."""
    return make_campaign(
        realm, event_type=event_type, assignment_trigger=trigger, **terms
    )
