"""Grants that nobody names: whoever is eligible is bound."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from django.db import transaction

from billing.models import BillingUser, UserStatus
from billing.policies.periods import IN_FORCE, Subscription
from billing.selectors.subscriptions import subscriptions_of
from config.kernel.audit import AuditContext
from config.kernel.metadata import ProgramEligibility, check_metadata
from config.kernel.windows import Window
from grants.models import (
    Eligibility,
    GrantAssignment,
    GrantProgram,
    GrantSource,
    IssuanceMode,
    LotKind,
)
from grants.services.assignments import GrantIdentity, assign_grant
from grants.services.issuance import issue_for_all


@transaction.atomic
def enroll_eligible(
    *, user: BillingUser, at: datetime, by: AuditContext
) -> list[GrantAssignment]:
    """Bind an active user to the programs it is eligible to; return its bindings.

    `all_accounts`: from `at` on, once. `subscription_group`: for the current period of
    each subscription of the group that is trialing or active; a later period prolongs
    it. Issues at once, unless the program is lazy. Without an app that keeps
    subscriptions nobody is in a group.
    """
    bound = bind_eligible(user=user, at=at, by=by)
    issue_for_all(at_once(bound), at=at, by=by)
    return bound


def at_once(bound: Sequence[GrantAssignment]) -> list[GrantAssignment]:
    """Return the bindings that issue without being asked: not of lazy programs."""
    return [each for each in bound if each.program.issuance_mode != IssuanceMode.LAZY]


@transaction.atomic
def bind_eligible(
    *, user: BillingUser, at: datetime, by: AuditContext
) -> list[GrantAssignment]:
    """Bind an active user as `enroll_eligible` does, and issue nothing.

    Whoever also issues for other bindings of the user binds them all first.
    """
    if user.status != UserStatus.ACTIVE:
        return []
    programs = GrantProgram.objects.in_realm(user.realm_id).filter(active=True)
    eligible = programs.exclude(eligibility_kind=Eligibility.MANUAL)
    by = by.effective(min(by.effective_at, at))
    return [
        _bind(user, program, source_ref, window, at=at, by=by)
        for program in eligible.exclude(grant_kind=LotKind.FALLBACK).order_by("pk")
        for source_ref, window in _windows(program, user, at)
    ]


def _windows(
    program: GrantProgram, user: BillingUser, at: datetime
) -> Iterator[tuple[str, Window]]:
    """Yield the source ref and window of each binding to a program."""
    code = program.program_code
    if program.eligibility_kind == Eligibility.ALL_ACCOUNTS:
        yield f"eligibility:all_accounts:{code}", Window(at)
        return
    payload = check_metadata(ProgramEligibility, program.eligibility_payload).known
    for found in subscriptions_of(account_id=user.account_id, at=at):
        if found.status in IN_FORCE and _is_of(found, payload):
            group = payload.subscription_group_id or payload.group_key
            yield f"eligibility:subscription_group:{code}:{group}", found.period


def _is_of(subscription: Subscription, group: ProgramEligibility) -> bool:
    if group.subscription_group_id is not None:
        return subscription.group_id == group.subscription_group_id
    return group.group_key is not None and subscription.group_key == group.group_key


def _bind(
    user: BillingUser,
    program: GrantProgram,
    source_ref: str,
    window: Window,
    *,
    at: datetime,
    by: AuditContext,
) -> GrantAssignment:
    identity = GrantIdentity(
        account=user.account,
        user=user,
        program=program,
        source_kind=GrantSource.CATALOG,
        source_ref=source_ref,
    )
    return assign_grant(identity=identity, window=window, at=at, by=by)[0]
