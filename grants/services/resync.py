"""Bringing an edited plan's grants to those who hold it: previewed, then confirmed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import transaction

from billing.models import BillingUser, Plan, PlanAssignment, UserStatus
from billing.services.accounts import lock_account
from catalog.services.rows import locked
from config.kernel.audit import AuditContext
from config.kernel.errors import Conflict
from config.tenancy.services.events import record_event
from grants.bindings import (
    Template,
    fingerprint_of,
    read_templates,
    stored_templates,
    templates_of,
)
from grants.models import GrantProgram, PlanTemplates
from grants.services.enrollment import enroll_account
from grants.services.plan_templates import grants_of_plan, held_assignments


class PreviewOutdated(Conflict):
    """What would change is not what was confirmed any more (409)."""

    default_code = "GRANT.PREVIEW_OUTDATED"


@dataclass(frozen=True, slots=True)
class GrantChange:
    """What one user gains or loses of one program, per period (10^-6 USD).

    `before_xusd` None: there was nothing of it; `after_xusd` None: none will be left.
    """

    account_id: UUID
    user_id: UUID
    plan_assignment_id: UUID
    program_code: str
    before_xusd: int | None
    after_xusd: int | None

    @property
    def gains(self) -> bool:
        """Return whether the user has more of it afterwards."""
        return (self.after_xusd or 0) > (self.before_xusd or 0)


@dataclass(frozen=True, slots=True)
class PlanGrantsPreview:
    """What `resync_plan_grants` would do now; `fingerprint` confirms exactly that."""

    fingerprint: str
    changes: Sequence[GrantChange]


def preview_plan_grants(*, plan: Plan, at: datetime) -> PlanGrantsPreview:
    """Return who would gain and who would lose how much, if the plan were synced now.

    Those who hold it now, with what its `metadata.grants` say now; writes nothing. A
    template whose other terms change, such as its priority, is listed with equal
    amounts.
    """
    changes = [
        change
        for assignment, before, after in _outdated(plan, at)
        for change in _changes_of(assignment, before, after)
    ]
    return PlanGrantsPreview(_fingerprint(plan, at), changes)


@transaction.atomic
def resync_plan_grants(
    *, plan: Plan, confirmed_fingerprint: str, at: datetime, by: AuditContext
) -> int:
    """Bring the plan's grants as they are now to all who hold it; return how many.

    Counted are plan assignments that changed. Users stay bound to a program that both
    name, on its new terms from the next lot on; to others they are bound, or their
    bindings are canceled. Lots that were issued stay. Refuses anything but what
    `preview_plan_grants` would say now (GRANT.PREVIEW_OUTDATED, 409).
    """
    plan = locked(Plan.objects.all(), plan)
    # Sorted by account, and locked before they are compared.
    for assignment in held_assignments(plan=plan, at=at):
        lock_account(assignment.account)
    if _fingerprint(plan, at) != confirmed_fingerprint:
        raise PreviewOutdated(
            f"What syncing {plan} changes is not what was confirmed any more; look "
            "again.",
            field="confirmed_fingerprint",
        )
    outdated = list(_outdated(plan, at))
    for assignment, _before, after in outdated:
        PlanTemplates.objects.filter(plan_assignment=assignment).update(
            templates=stored_templates(after)
        )
    for account in dict.fromkeys(assignment.account for assignment, _, _ in outdated):
        enroll_account(account=account, at=at, by=by)
    record_event(
        realm=plan.realm,
        kind="plan_grants.resynced",
        subject=plan,
        payload={"plan_assignments": len(outdated)},
        at=at,
        by=by,
    )
    return len(outdated)


Outdated = tuple[PlanAssignment, tuple[Template, ...], tuple[Template, ...]]


def _outdated(plan: Plan, at: datetime) -> Iterator[Outdated]:
    """Yield what holders of the plan have, where it is not what the plan says now."""
    grants = grants_of_plan(plan) if plan.active else ()
    held = held_assignments(plan=plan, at=at).filter(grant_templates__isnull=False)
    for assignment in held:
        before = read_templates(assignment.grant_templates.templates)
        after = templates_of(grants, before=before)
        if before != after:
            yield assignment, before, after


def _fingerprint(plan: Plan, at: datetime) -> str:
    """Return what stands for all that a resync would do to whom."""
    changes = [
        [
            str(assignment.pk),
            stored_templates(before),
            stored_templates(after),
            sorted(str(user.pk) for user in _users(assignment)),
        ]
        for assignment, before, after in _outdated(plan, at)
    ]
    return fingerprint_of([str(plan.pk), changes])


def _users(assignment: PlanAssignment) -> Sequence[BillingUser]:
    """Return the active users whom a plan assignment governs."""
    users = BillingUser.objects.in_realm(assignment.realm_id).filter(
        account_id=assignment.account_id, status=UserStatus.ACTIVE
    )
    if assignment.user_id is not None:
        users = users.filter(pk=assignment.user_id)
    return list(users.order_by("pk"))


def _changes_of(
    assignment: PlanAssignment,
    before: Sequence[Template],
    after: Sequence[Template],
) -> Iterator[GrantChange]:
    programs = GrantProgram.objects.in_realm(assignment.realm_id)
    amounts = dict(programs.values_list("program_code", "amount_xusd"))
    old, new = _by_program(before), _by_program(after)
    for user in _users(assignment):
        for code in dict.fromkeys([*old, *new]):
            if code in amounts and old.get(code) != new.get(code):
                yield GrantChange(
                    account_id=assignment.account_id,
                    user_id=user.pk,
                    plan_assignment_id=assignment.pk,
                    program_code=code,
                    before_xusd=_amount(old.get(code), amounts[code]),
                    after_xusd=_amount(new.get(code), amounts[code]),
                )


def _by_program(templates: Sequence[Template]) -> dict[str, Template]:
    return {each.grant.grant_program_code: each for each in templates if each.gives}


def _amount(template: Template | None, of_program: int) -> int | None:
    if template is None:
        return None
    said = template.grant.amount_xusd
    return of_program if said is None else said
