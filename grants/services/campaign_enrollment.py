"""Campaigns by the clock: they begin, enroll whom they target, and end."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from billing.models import BillingUser, PlanAssignment, SourceKind, UserStatus
from catalog.services.rows import rewritten
from config.kernel.audit import AuditContext
from config.kernel.ids import parse_uuid
from config.kernel.metadata import CampaignMetadata, check_metadata
from config.tenancy.history import auditing
from config.tenancy.models import RealmStatus
from grants.models import (
    CampaignStatus,
    GrantAssignment,
    GrantCampaign,
    GrantProgram,
    GrantSource,
)
from grants.services.apart import FIRST, apart, never
from grants.services.campaign_giving import Gift, give
from grants.services.campaigns import end_campaign, record

BATCH = 200
LOOKED_AT = 2_000
"""Users that one statement looks at, so that none takes longer as users grow."""
RUNNING = (CampaignStatus.SCHEDULED, CampaignStatus.ACTIVE)
"""The window says when a campaign runs; a sweep may label it later."""

_HELD = "SELECT * FROM grant_campaigns WHERE id = %s FOR SHARE"


@dataclass(frozen=True, slots=True)
class Advanced:
    """How many campaigns a run began, how many it ended, and those that failed."""

    activated: int
    ended: int
    failed: Sequence[UUID] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What a run came to: grants that are new, and users who could not be given any.

    `after` is where the next run goes on, None where everybody was seen.
    """

    given: int
    failed: Sequence[UUID]
    after: UUID | None


@dataclass(frozen=True, slots=True)
class Place:
    """How far a sweep came: the user of the campaign that it looked at last."""

    campaign: UUID = FIRST
    user: UUID = FIRST


@dataclass(slots=True)
class Swept:
    """What enrolling came to, and the `place` of the next run, None at the end.

    `failed` names users and campaigns that could not be served; the reasons are in the
    log, and the next sweep tries again.
    """

    given: int = 0
    failed: list[UUID] = field(default_factory=list)
    place: Place | None = None


def advance_campaigns(*, at: datetime, by: AuditContext) -> Advanced:
    """Begin the campaigns whose window began by `at` (aware UTC); end those it ended.

    A paused one is ended too, and never begun. Each is a transaction; one that
    somebody else is changing is left to the next run, and one that fails is logged
    and told.
    """
    begins = Q(status=CampaignStatus.SCHEDULED, window_start__lte=at)
    ends = Q(window_end__lte=at)
    due = GrantCampaign.objects.filter(
        begins | ends, realm__status=RealmStatus.ACTIVE
    ).exclude(status=CampaignStatus.ENDED)
    keys = list(due.order_by("pk").values_list("pk", flat=True))
    outcomes, failed = list[str | None](), list[UUID]()
    for key in keys:
        with apart("a campaign was not begun or ended", key, failed):
            outcomes.append(_advance(due.filter(pk=key), at=at, by=by))
    return Advanced(
        activated=outcomes.count(CampaignStatus.ACTIVE),
        ended=outcomes.count(CampaignStatus.ENDED),
        failed=failed,
    )


@transaction.atomic
def _advance(
    due: QuerySet[GrantCampaign], *, at: datetime, by: AuditContext
) -> str | None:
    """Advance the one campaign of `due`; return its new status, None where it has none.

    Another run may have been faster, or has it.
    """
    campaign = (
        due.select_for_update(no_key=True, skip_locked=True, of=("self",))
        .select_related("realm")
        .first()
    )
    if campaign is None:
        return None
    if campaign.window_end is not None and campaign.window_end <= at:
        end_campaign(campaign, ended_at=campaign.window_end, at=at, by=by)
        return CampaignStatus.ENDED
    with auditing(by, at=at):
        rewritten(campaign, {"status": CampaignStatus.ACTIVE}, at=at)
        record(campaign, "changed", at=at, by=by)
    return CampaignStatus.ACTIVE


def enroll_targets(
    campaign: GrantCampaign,
    *,
    at: datetime,
    by: AuditContext,
    after: UUID | None = None,
    batch: int = BATCH,
) -> Enrolled:
    """Give a running campaign's grants to the active users it targets, once each.

    Serves up to `batch` users who lack some of it, in order of id, of the next
    `LOOKED_AT` after `after`. Each user is a transaction: one who cannot be given is
    told, and the others go on. A campaign by event, and one that does not run at `at`
    (aware UTC), enrolls nobody.
    """
    if not _enrolls(campaign, at):
        return Enrolled(0, [], None)
    targeted = _targeted(campaign).filter(pk__gt=after or FIRST).order_by("pk")
    seen = list(targeted.values_list("pk", flat=True)[:LOOKED_AT])
    last = seen[-1] if seen else FIRST
    lacking = targeted.filter(_lacks(campaign), pk__lte=last)
    users = list(lacking.select_related("account__realm")[:batch])
    given, failed = 0, list[UUID]()
    for user in users:
        with apart("a user was not enrolled", user.pk, failed, campaign=campaign.pk):
            given += _enroll(campaign, user, at=at, by=by)
    if len(users) == batch:
        return Enrolled(given, failed, users[-1].pk)
    return Enrolled(given, failed, last if len(seen) == LOOKED_AT else None)


def sweep_campaigns(
    *,
    at: datetime,
    by: AuditContext,
    batch: int = BATCH,
    place: Place = Place(),
    stop: Callable[[], bool] = never,
) -> tuple[Advanced, Swept]:
    """Advance every campaign, then enroll everybody whom a running one targets.

    For the job: idempotent, and safe beside another run. Enrolls from `place` on, in
    order of campaigns and users, until `stop()`, asked after each `batch`, is true;
    where it got to is told. A campaign that fails does not stop the others.
    """
    advanced = advance_campaigns(at=at, by=by)
    swept = Swept()
    running = GrantCampaign.objects.select_related("realm").filter(
        status=CampaignStatus.ACTIVE,
        event_type__isnull=True,
        realm__status=RealmStatus.ACTIVE,
    )
    for campaign in running.filter(pk__gte=place.campaign).order_by("pk"):
        after = place.user if campaign.pk == place.campaign else FIRST
        swept.place = Place(campaign.pk, after)
        while swept.place is not None:
            if stop():
                return advanced, swept
            _enroll_some(campaign, swept, at=at, by=by, batch=batch)
    return advanced, swept


def _enroll_some(
    campaign: GrantCampaign,
    swept: Swept,
    *,
    at: datetime,
    by: AuditContext,
    batch: int,
) -> None:
    """Enroll the users that follow the sweep's place, and move it on."""
    after = swept.place.user if swept.place else FIRST
    swept.place = None
    with apart("a campaign enrolled nobody", campaign.pk, swept.failed):
        run = enroll_targets(campaign, at=at, by=by, after=after, batch=batch)
        swept.given += run.given
        swept.failed += run.failed
        if run.after is not None:
            swept.place = Place(campaign.pk, run.after)


def lacking_users(campaign: GrantCampaign) -> QuerySet[BillingUser]:
    """Return the active users it targets who lack some of what it gives, unordered."""
    return _targeted(campaign).filter(_lacks(campaign))


def targets(campaign: GrantCampaign) -> Q:
    """Return the condition that a user is of an account that the campaign targets."""
    named = campaign.target_filter.get("billing_account_ids")
    return Q(account__in=[parse_uuid(each) for each in named]) if named else Q()


@transaction.atomic
def _enroll(
    campaign: GrantCampaign, user: BillingUser, *, at: datetime, by: AuditContext
) -> int:
    """Give one user what the campaign gives by now; return how many grants are new.

    Whoever ends or pauses the campaign waits for this, or this sees that it ended.
    """
    held = GrantCampaign.objects.raw(_HELD, [campaign.pk])
    current = next(iter(held), None)
    if current is None or not _enrolls(current, at):
        return 0
    gift = Gift(current, str(current.pk), current.window_start)
    return give(gift, user, at=at, by=by)


def _enrolls(campaign: GrantCampaign, at: datetime) -> bool:
    by_target = campaign.event_type is None and campaign.status in RUNNING
    return by_target and campaign.holds(at)


def _targeted(campaign: GrantCampaign) -> QuerySet[BillingUser]:
    users = BillingUser.objects.in_realm(campaign.realm_id)
    return users.filter(targets(campaign), status=UserStatus.ACTIVE)


def _lacks(campaign: GrantCampaign) -> Q:
    """Return the condition that a user lacks something that the campaign gives."""
    realm_id, source_ref = campaign.realm_id, str(campaign.pk)
    lacks = Q(pk__in=[])
    programs = GrantProgram.objects.in_realm(realm_id).filter(
        program_code__in=campaign.program_codes, active=True
    )
    for program in programs:
        given = GrantAssignment.objects.filter(
            realm=realm_id,
            user=OuterRef("pk"),
            source_kind=GrantSource.CAMPAIGN,
            source_ref=source_ref,
            program=program,
        )
        lacks |= Q(~Exists(given))
    known = check_metadata(CampaignMetadata, campaign.metadata).known
    if known.billing_plan_code is not None:
        assigned = PlanAssignment.objects.filter(
            realm=realm_id,
            user=OuterRef("pk"),
            source_kind=SourceKind.OPS_CAMPAIGN,
            source_ref=source_ref,
            plan__plan_code=known.billing_plan_code,
        )
        lacks |= Q(~Exists(assigned))
    return lacks
