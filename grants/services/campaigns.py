"""Verbs on campaigns: grants given to many for a while, or on events."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Literal

from django.db import transaction
from django.db.models import Value
from django.db.models.functions import Lower

from billing.models import PlanAssignment, SourceKind
from catalog.services.rows import locked, rewritten
from config.kernel.audit import AuditContext
from config.kernel.errors import Conflict, Invalid, NotFound
from config.tenancy.history import auditing
from config.tenancy.models import Realm
from config.tenancy.services.events import record_event
from grants.models import CampaignStatus, GrantAssignment, GrantCampaign
from grants.services.campaign_terms import check_campaign

Deletion = Literal["deleted", "ended"]

FIELDS = (
    "name",
    "status",
    "window_start",
    "window_end",
    "event_type",
    "payload_match",
    "assignment_trigger",
    "target_filter",
    "metadata",
)
_FOLLOWING: dict[str, tuple[str, ...]] = {
    CampaignStatus.SCHEDULED: (
        CampaignStatus.ACTIVE,
        CampaignStatus.PAUSED,
        CampaignStatus.ENDED,
    ),
    CampaignStatus.ACTIVE: (CampaignStatus.PAUSED, CampaignStatus.ENDED),
    CampaignStatus.PAUSED: (CampaignStatus.ACTIVE, CampaignStatus.ENDED),
    CampaignStatus.ENDED: (),
}
"""By status: those that may follow it."""


class CampaignNameTaken(Conflict):
    """The realm already has a campaign of that name, in some case (409)."""

    default_code = "GRANT.CAMPAIGN_NAME_TAKEN"


class CampaignEnded(Conflict):
    """An ended campaign stays as it ended (409)."""

    default_code = "GRANT.CAMPAIGN_ENDED"


class CampaignStatusRefused(Conflict):
    """The status cannot follow on the present one (409)."""

    default_code = "GRANT.CAMPAIGN_STATUS"


@dataclass(frozen=True, slots=True)
class CampaignTerms:
    """What a campaign is made of (see `GrantCampaign`); instants are aware UTC."""

    name: str
    window_start: datetime
    window_end: datetime | None = None
    status: str = CampaignStatus.SCHEDULED
    event_type: str | None = None
    payload_match: Mapping[str, Any] = field(default_factory=dict)
    assignment_trigger: str | None = None
    target_filter: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)


@transaction.atomic
def create_campaign(
    *, realm: Realm, terms: CampaignTerms, at: datetime, by: AuditContext
) -> GrantCampaign:
    """Create a campaign, scheduled or active; return it.

    Refuses (`CampaignNameTaken`) a name that the realm has, whatever the case, and
    (`Invalid`) bindings that are missing, repeated, without an amount or of unknown
    programs, unknown accounts and plans, a window that ends before it starts, and an
    event without its trigger.
    """
    values = asdict(terms)
    if values["status"] not in {CampaignStatus.SCHEDULED, CampaignStatus.ACTIVE}:
        raise Invalid("A new campaign is scheduled or active.", field="status")
    _check(realm, values)
    campaign = GrantCampaign(realm=realm, **values)
    with auditing(by, at=at):
        # Of two that create one name at once, one inserts and the other is refused.
        GrantCampaign.objects.bulk_create([campaign], ignore_conflicts=True)
        if not GrantCampaign.objects.filter(pk=campaign.pk).exists():
            raise _taken(campaign.name)
        campaign.refresh_from_db()
        record(campaign, "created", at=at, by=by)
    return campaign


@transaction.atomic
def change_campaign(
    *,
    campaign: GrantCampaign,
    changes: Mapping[str, Any],
    at: datetime,
    by: AuditContext,
) -> GrantCampaign:
    """Set the given fields of a campaign, for those enrolled from then on.

    To end it sets `ended_at`, for good. Refuses (`CampaignEnded`) any change of one
    that ended, (`CampaignStatusRefused`) a status that cannot follow, and what
    `create_campaign` refuses.
    """
    campaign = locked(GrantCampaign.objects.all(), campaign)
    values = {name: changes.get(name, getattr(campaign, name)) for name in FIELDS}
    if all(values[name] == getattr(campaign, name) for name in FIELDS):
        return campaign
    if campaign.status == CampaignStatus.ENDED:
        raise CampaignEnded(f"The campaign {campaign} ended, and stays so.")
    _check(campaign.realm, values)
    _require_free_name(campaign, values["name"])
    _require_following(campaign.status, values["status"])
    if values["status"] == CampaignStatus.ENDED:
        values["ended_at"] = at
    with auditing(by, at=at):
        if rewritten(campaign, values, at=at):
            record(campaign, "changed", at=at, by=by)
    return campaign


@transaction.atomic
def delete_campaign(
    *, campaign: GrantCampaign, at: datetime, by: AuditContext
) -> Deletion:
    """Delete a campaign that gave nothing; end one that did; say which of the two.

    What it gave stays given. An ended one's window ends at `at`, unless it ended
    before.
    """
    # The whole lock, which waits for enrollments that refer to the row: none of them
    # can appear between the question and the deletion.
    found = (
        GrantCampaign.objects.select_for_update(of=("self",))
        .select_related("realm")
        .filter(pk=campaign.pk)
        .first()
    )
    if found is None:
        raise NotFound(f"{campaign} was deleted.")
    with auditing(by, at=at):
        if not _has_given(found):
            record(found, "deleted", at=at, by=by)
            GrantCampaign.objects.filter(pk=found.pk).delete()
            return "deleted"
        end_campaign(found, ended_at=at, at=at, by=by)
    return "ended"


def end_campaign(
    campaign: GrantCampaign, *, ended_at: datetime, at: datetime, by: AuditContext
) -> None:
    """End a locked campaign, and its window with it; one that ended stays so."""
    if campaign.status == CampaignStatus.ENDED:
        return
    values: dict[str, Any] = {"status": CampaignStatus.ENDED, "ended_at": ended_at}
    end = campaign.window_end
    # A window that has not begun cannot end before it does.
    if campaign.window_start < ended_at and (end is None or ended_at < end):
        values["window_end"] = ended_at
    with auditing(by, at=at):
        rewritten(campaign, values, at=at)
        record(campaign, "changed", at=at, by=by)


def record(
    campaign: GrantCampaign, what: str, *, at: datetime, by: AuditContext, **facts: str
) -> None:
    """Record the event `grant_campaign.<what>` with the facts given."""
    record_event(
        realm=campaign.realm,
        kind=f"grant_campaign.{what}",
        subject=campaign,
        payload={"name": campaign.name, "status": campaign.status, **facts},
        at=at,
        by=by,
    )


def _check(realm: Realm, values: Mapping[str, Any]) -> None:
    if not values["name"].strip():
        raise Invalid("Name the campaign.", field="name")
    check_campaign(realm, values)


def _require_free_name(campaign: GrantCampaign, name: str) -> None:
    others = GrantCampaign.objects.in_realm(campaign.realm_id).alias(
        folded=Lower("name")
    )
    same = others.filter(folded=Lower(Value(name))).exclude(pk=campaign.pk)
    if same.exists():
        raise _taken(name)


def _taken(name: str) -> CampaignNameTaken:
    return CampaignNameTaken(f"This realm already has a campaign {name}.", field="name")


def _require_following(status: str, following: str) -> None:
    if following != status and following not in _FOLLOWING[status]:
        raise CampaignStatusRefused(
            f"A campaign that is {status} cannot become {following}.", field="status"
        )


def _has_given(campaign: GrantCampaign) -> bool:
    grants = GrantAssignment.objects.in_realm(campaign.realm_id)
    plans = PlanAssignment.objects.in_realm(campaign.realm_id).filter(
        source_kind=SourceKind.OPS_CAMPAIGN, source_ref__startswith=str(campaign.pk)
    )
    return grants.filter(campaign=campaign).exists() or plans.exists()
