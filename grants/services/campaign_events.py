"""Campaigns by event: what happened gives, in the transaction in which it happened."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from django.db import connection, transaction
from django.db.models import QuerySet

from billing.models import BillingAccount, BillingUser, UserStatus
from config.kernel.audit import AuditContext
from config.kernel.errors import DomainError
from config.kernel.ids import parse_uuid
from config.tenancy.models import DomainEvent
from grants.models import CampaignTrigger, GrantCampaign
from grants.services.campaign_enrollment import targets
from grants.services.campaign_giving import Gift, give
from grants.services.campaign_terms import OWN_EVENTS
from grants.services.campaigns import record

log = structlog.get_logger("plangate.grants")

# Shared, so that events do not wait for one another, and whoever ends or pauses a
# campaign waits for those it still gives on.
_MATCHING = """
SELECT * FROM grant_campaigns
WHERE realm_id = %s AND event_type = %s AND status IN ('scheduled', 'active')
  AND window_start <= %s AND (window_end IS NULL OR window_end > %s)
  AND payload_match <@ %s::jsonb AND id <> ALL (%s)
ORDER BY id FOR SHARE
"""

_giving: ContextVar[frozenset[UUID]] = ContextVar("_giving", default=frozenset())
"""The campaigns that are giving: what they bring about does not set them off again."""


def give_on_event(
    *, event: DomainEvent, subject: Any, at: datetime, by: AuditContext
) -> None:
    """Let the campaigns that match an event give; subscribed to every kind.

    A campaign matches by the event's kind and where the payload contains its
    `payload_match`, as JSON. Whom it gives to: the user that the payload or the subject
    names, else every active user of the account that they name, else nobody; of those
    whom it targets. `first_match` gives once per user, `every_match` once per event.

    A campaign that cannot give does not stop what happened: that is recorded as
    `grant_campaign.failed`.
    """
    if event.kind.startswith(OWN_EVENTS):
        return
    busy = _giving.get()
    facts = [event.realm_id, event.kind, event.occurred_at, event.occurred_at]
    found = list(
        GrantCampaign.objects.raw(
            _MATCHING, [*facts, json.dumps(event.payload), list(busy)]
        )
    )
    if not found:
        return
    users = beneficiaries(event, subject)
    for campaign in found:
        with _set_off(campaign):
            _give_to_all(campaign, event, users, at=at, by=by)


def beneficiaries(event: DomainEvent, subject: Any) -> QuerySet[BillingUser]:
    """Return the active users whom an event is about, in order of id.

    The user that its payload names (`billing_user_id`), or its subject; where neither
    does, all of the account that they name (`billing_account_id`).
    """
    users = (
        BillingUser.objects.in_realm(event.realm_id)
        .select_related("account__realm")
        .filter(status=UserStatus.ACTIVE)
        .order_by("pk")
    )
    user_id = _named(event, "billing_user_id", subject, BillingUser, "user_id")
    if user_id is not None:
        return users.filter(pk=user_id)
    account_id = _named(
        event, "billing_account_id", subject, BillingAccount, "account_id"
    )
    return users.none() if account_id is None else users.filter(account=account_id)


def _named(
    event: DomainEvent,
    name: str,
    subject: Any,
    kind: type[BillingUser | BillingAccount],
    column: str,
) -> UUID | None:
    told = event.payload.get(name)
    if told is not None:
        return parse_uuid(told)
    found = subject.pk if isinstance(subject, kind) else getattr(subject, column, None)
    return found if isinstance(found, UUID) else None


@contextmanager
def _set_off(campaign: GrantCampaign) -> Iterator[None]:
    token = _giving.set(_giving.get() | {campaign.pk})
    try:
        yield
    finally:
        _giving.reset(token)


def _give_to_all(
    campaign: GrantCampaign,
    event: DomainEvent,
    users: QuerySet[BillingUser],
    *,
    at: datetime,
    by: AuditContext,
) -> None:
    gift = Gift(campaign, _reference(campaign, event), event.occurred_at)
    # What happened may be meant for later; the gift holds from now on.
    why = replace(by, reason=f"Campaign {campaign.name}: {event.kind}", effective_at=at)
    for user in users.filter(targets(campaign)):
        try:
            with transaction.atomic():
                give(gift, user, at=at, by=why)
        except DomainError as refusal:
            code, message = refusal.code, refusal.message
        except Exception:
            # What happened must stand, whatever kept the gift from being given.
            if connection.needs_rollback:
                raise
            log.exception("a campaign did not give", campaign=campaign.pk, user=user.pk)
            code, message = "SERVER.UNEXPECTED", "It failed; the log says why."
        else:
            continue
        record(
            campaign,
            "failed",
            at=at,
            by=why,
            event_id=str(event.pk),
            billing_user_id=str(user.pk),
            code=code,
            message=message,
        )


def _reference(campaign: GrantCampaign, event: DomainEvent) -> str:
    if campaign.assignment_trigger == CampaignTrigger.EVERY_MATCH:
        return f"{campaign.pk}:{event.pk}"
    return str(campaign.pk)
