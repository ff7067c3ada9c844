"""Campaigns by the clock: they begin, enroll whom they target, and end."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import structlog
from django.db import DatabaseError, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from billing.models import BillingUser, PlanAssignment, SourceKind, UserStatus
from catalog.services.rows import rewritten
from config.kernel.audit import AuditContext
from config.kernel.errors import DomainError
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
from grants.services.campaign_giving import Gift, give
from grants.services.campaigns import end_campaign, record

log = structlog.get_logger("plangate.grants")

BATCH = 200
RUNNING = (CampaignStatus.SCHEDULED, CampaignStatus.ACTIVE)
"""The window says when a campaign runs; a sweep may label it later."""

_HELD = "SELECT * FROM grant_campaigns WHERE id = %s FOR SHARE"


@dataclass(frozen=True, slots=True)
class Advanced:
    """How many campaigns a run began, and how many it ended."""

    activated: int
    ended: int


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What a run came to: grants that are new, and users who could not be given any.

    `after` is where the next run goes on, None where everybody was seen.
    """

    given: int
    failed: Sequence[UUID]
    after: UUID | None


def advance_campaigns(*, at: datetime, by: AuditContext) -> Advanced:
    """Begin the campaigns whose window began by `at` (aware UTC); end those it ended.

    A paused one is ended too, and never begun. Each is a transaction; one that
    somebody else is changing is left to the next run.
    """
    begins = Q(status=CampaignStatus.SCHEDULED, window_start__lte=at)
    ends = Q(window_end__lte=at)
    due = GrantCampaign.objects.filter(
        begins | ends, realm__status=RealmStatus.ACTIVE
    ).exclude(status=CampaignStatus.ENDED)
    keys = list(due.order_by("pk").values_list("pk", flat=True))
    outcomes = [_advance(due.filter(pk=key), at=at, by=by) for key in keys]
    return Advanced(
        activated=outcomes.count(CampaignStatus.ACTIVE),
        ended=outcomes.count(CampaignStatus.ENDED),
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

    Looks at up to `batch` users who lack some of it, in order of id, from `after` on.
    Each user is a transaction: one who cannot be given is told, and the others go on.
    A campaign by event, and one that does not run at `at` (aware UTC), enrolls nobody.
    """
    lacking = _lacking(campaign)
    if after is not None:
        lacking = lacking.filter(pk__gt=after)
    users = list(lacking.order_by("pk")[:batch]) if _enrolls(campaign, at) else []
    given, failed = 0, []
    for user in users:
        try:
            given += _enroll(campaign, user, at=at, by=by)
        except (DomainError, DatabaseError) as error:
            log.exception(
                "a user was not enrolled",
                campaign=str(campaign.pk),
                user=str(user.pk),
                error=str(error),
            )
            failed.append(user.pk)
    return Enrolled(given, failed, users[-1].pk if len(users) == batch else None)


def sweep_campaigns(
    *, at: datetime, by: AuditContext, batch: int = BATCH
) -> tuple[Advanced, Enrolled]:
    """Advance every campaign, then enroll everybody whom a running one targets.

    For the job: idempotent, safe beside another run, and it goes on where one was
    stopped, because those who were enrolled are not looked at again.
    """
    advanced = advance_campaigns(at=at, by=by)
    given, failed = 0, list[UUID]()
    running = GrantCampaign.objects.select_related("realm").filter(
        status=CampaignStatus.ACTIVE,
        event_type__isnull=True,
        realm__status=RealmStatus.ACTIVE,
    )
    for campaign in running.order_by("pk"):
        after: UUID | None = None
        while True:
            run = enroll_targets(campaign, at=at, by=by, after=after, batch=batch)
            given, after = given + run.given, run.after
            failed += run.failed
            if after is None:
                break
    return advanced, Enrolled(given, failed, None)


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


def _lacking(campaign: GrantCampaign) -> QuerySet[BillingUser]:
    """Return the targeted active users who lack something that the campaign gives."""
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
    users = BillingUser.objects.in_realm(realm_id).select_related("account__realm")
    return users.filter(targets(campaign), lacks, status=UserStatus.ACTIVE)
