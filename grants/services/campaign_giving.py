"""What a campaign gives to one user: its grants, and its plan where it names one."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from billing.models import BillingUser, Plan, SourceKind
from billing.services.assignments import Identity, assign_plan
from config.kernel.audit import AuditContext
from config.kernel.metadata import CampaignBinding, CampaignMetadata, check_metadata
from config.kernel.windows import Window
from grants.bindings import terms_of_binding
from grants.models import (
    GrantAssignment,
    GrantCampaign,
    GrantProgram,
    GrantSource,
    IssuanceMode,
)
from grants.services.assignments import GrantIdentity, GrantTerms, assign_grant
from grants.services.issuance import issue_for_all

_OF_CAMPAIGN = ("grants", "billing_plan_code", "billing_plan_window_seconds")
_OF_BINDING = ("binding_window_start", "binding_window_end")


@dataclass(frozen=True, slots=True)
class Gift:
    """Something that a campaign gives, known by its reference.

    The same campaign, user and `source_ref` are the same gift: it is given once.
    `start` is from when it holds (aware UTC), where a binding says nothing else.
    """

    campaign: GrantCampaign
    source_ref: str
    start: datetime


def give(gift: Gift, user: BillingUser, *, at: datetime, by: AuditContext) -> int:
    """Give a user what a campaign gives; return how many grants are new.

    Inside the caller's transaction. What was given before stays as it is by now, and
    an inactive plan or program gives nothing. Lots are issued at once, unless their
    program issues only when asked. Refuses what `assign_grant` and `issue_lot` refuse.
    """
    campaign = gift.campaign
    known = check_metadata(CampaignMetadata, campaign.metadata).known
    _give_plan(gift, user, known, at=at, by=by)
    codes = {binding.grant_program_code for binding in campaign.bindings}
    programs = GrantProgram.objects.in_realm(campaign.realm_id).filter(
        program_code__in=codes, active=True
    )
    found = {program.program_code: program for program in programs}
    bound = [
        assignment
        for binding in campaign.bindings
        if (program := found.get(binding.grant_program_code)) is not None
        and (assignment := _bind(gift, user, binding, program, at=at, by=by))
    ]
    at_once = [
        each for each in bound if each.program.issuance_mode != IssuanceMode.LAZY
    ]
    # All are bound before the first is issued: see `grants.services.issuance`.
    issue_for_all(at_once, at=at, by=by)
    return len(bound)


def _give_plan(
    gift: Gift,
    user: BillingUser,
    known: CampaignMetadata,
    *,
    at: datetime,
    by: AuditContext,
) -> None:
    campaign, seconds = gift.campaign, known.billing_plan_window_seconds
    plan = (
        Plan.objects.in_realm(campaign.realm_id)
        .filter(plan_code=known.billing_plan_code, active=True)
        .first()
    )
    if plan is None:
        return
    identity = Identity(
        account=user.account,
        user=user,
        plan=plan,
        source_kind=SourceKind.OPS_CAMPAIGN,
        source_ref=gift.source_ref,
    )
    ends = campaign.window_end if seconds is None else _later(gift.start, seconds)
    if identity.find() is None:
        assign_plan(
            identity=identity,
            window=Window(gift.start, ends),
            metadata={"grant_campaign_id": str(campaign.pk)},
            at=at,
            by=by,
        )


def _later(start: datetime, seconds: int) -> datetime | None:
    """Return the instant so many seconds later; None, open, after year 9999."""
    try:
        return start + timedelta(seconds=seconds)
    except OverflowError:
        return None


def _bind(
    gift: Gift,
    user: BillingUser,
    binding: CampaignBinding,
    program: GrantProgram,
    *,
    at: datetime,
    by: AuditContext,
) -> GrantAssignment | None:
    """Bind the user to one program, once; return the assignment where it is new."""
    start = binding.binding_window_start or gift.start
    end = binding.binding_window_end or gift.campaign.window_end
    # An event may come after the end of what one binding gives.
    if (end is not None and end <= start) or _was_given(gift, user, program):
        return None
    assignment, created = assign_grant(
        identity=GrantIdentity(
            account=user.account,
            user=user,
            program=program,
            source_kind=GrantSource.CAMPAIGN,
            source_ref=gift.source_ref,
            campaign=gift.campaign,
        ),
        window=Window(start, end),
        terms=GrantTerms(
            amount_xusd=binding.amount_xusd, metadata=_metadata(gift.campaign, binding)
        ),
        at=at,
        by=by,
    )
    return assignment if created else None


def _was_given(gift: Gift, user: BillingUser, program: GrantProgram) -> bool:
    given = GrantAssignment.objects.in_realm(user.realm_id).filter(
        user=user,
        program=program,
        source_kind=GrantSource.CAMPAIGN,
        source_ref=gift.source_ref,
    )
    return given.exists()


def _metadata(campaign: GrantCampaign, binding: CampaignBinding) -> dict[str, Any]:
    """Return the metadata of an assignment: notes of the campaign, and the terms."""
    notes = {
        name: value
        for name, value in campaign.metadata.items()
        if name not in _OF_CAMPAIGN
    }
    terms = binding.model_copy(update=dict.fromkeys(_OF_BINDING))
    return {
        **notes,
        "grant_campaign_id": str(campaign.pk),
        "grant_override": terms_of_binding(terms),
    }
