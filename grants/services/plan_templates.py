"""What a plan assignment brings: frozen when it is made, and wanted of its users."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Q, QuerySet

from billing.models import (
    AssignmentStatus,
    BillingAccount,
    BillingUser,
    Plan,
    PlanAssignment,
    UserStatus,
)
from config.kernel.errors import Invalid
from config.kernel.metadata import GrantBinding, PlanMetadata, check_metadata
from config.kernel.windows import Window, format_instant
from grants.bindings import (
    Template,
    read_templates,
    stored_templates,
    templates_of,
    terms_of_binding,
)
from grants.models import GrantProgram, LotKind, PlanTemplates
from grants.schedule import seconds_after


@dataclass(frozen=True, slots=True)
class Wanted:
    """A binding that a user should have.

    `anchor` is the start of the plan assignment: from there periods are counted, also
    for a user who joined later, whose `window` begins later.
    """

    plan_assignment: PlanAssignment
    program: GrantProgram
    template: Template
    window: Window
    anchor: datetime

    @property
    def source_ref(self) -> str:
        """Return what names the binding for good."""
        return f"bpa:{self.plan_assignment.pk}:tpl:{self.template.id}"

    @property
    def metadata(self) -> dict[str, Any]:
        """Return the metadata of the binding: the template, as it was frozen."""
        grant = self.template.grant
        return {
            **(grant.template_meta or {}),
            "grant_override": terms_of_binding(grant),
        }

    @property
    def facts(self) -> list[Any]:
        """Return all of it that matters to the user, and does not depend on now."""
        end = self.window.end
        return [
            self.source_ref,
            str(self.program.pk),
            format_instant(self.anchor),
            None if end is None else format_instant(end),
            terms_of_binding(self.template.grant),
        ]


@dataclass(frozen=True, slots=True)
class AccountGrants:
    """What the plans of an account bring: its assignments, and the realm's programs."""

    brought: Sequence[tuple[PlanAssignment, PlanTemplates]]
    programs: Mapping[str, GrantProgram]


def grants_of_plan(plan: Plan) -> Sequence[GrantBinding]:
    """Return the grant bindings of a plan as it is now.

    Only they are read again: what else its metadata holds was judged as it was stored.
    """
    grants = {"grants": plan.metadata.get("grants")}
    return check_metadata(PlanMetadata, grants).known.grants


def freeze_templates(assignment: PlanAssignment, *, at: datetime) -> PlanTemplates:
    """Return what a plan assignment brings, taken from its plan on first sight."""
    if hasattr(assignment, "grant_templates"):
        frozen: PlanTemplates = assignment.grant_templates
        return frozen
    # As it is now: the caller may have read the plan before it was edited.
    plan = Plan.objects.get(pk=assignment.plan_id)
    frozen, _created = PlanTemplates.objects.get_or_create(
        plan_assignment=assignment,
        defaults={
            "realm_id": assignment.realm_id,
            "templates": stored_templates(templates_of(grants_of_plan(plan))),
            "taken_at": at,
        },
    )
    return frozen


def held_assignments(
    *, at: datetime, account: BillingAccount | None = None, plan: Plan | None = None
) -> QuerySet[PlanAssignment]:
    """Return active plan assignments of an account, or of a plan, not ended by `at`.

    Those that begin later count: their bindings begin with them.
    """
    held = PlanAssignment.objects.filter(
        Q(window_end__isnull=True) | Q(window_end__gt=at),
        status=AssignmentStatus.ACTIVE,
    )
    if account is not None:
        held = held.in_realm(account.realm_id).filter(account=account)
    if plan is not None:
        held = held.in_realm(plan.realm_id).filter(plan=plan)
    related = ("plan", "user", "account__realm", "grant_templates")
    return held.select_related(*related).order_by("account_id", "pk")


def account_grants(account: BillingAccount, *, at: datetime) -> AccountGrants:
    """Return what the plans of a locked account bring, freezing what is new.

    A plan that was made inactive since keeps giving; one that was inactive when it was
    assigned brings something once it is active.
    """
    programs = GrantProgram.objects.in_realm(account.realm_id)
    held = held_assignments(account=account, at=at)
    return AccountGrants(
        brought=[
            (assignment, freeze_templates(assignment, at=at))
            for assignment in held
            if assignment.plan.active or hasattr(assignment, "grant_templates")
        ],
        programs={program.program_code: program for program in programs},
    )


def wanted_bindings(
    grants: AccountGrants, user: BillingUser, *, at: datetime
) -> list[Wanted]:
    """Return the bindings that a user should have, in a fixed order.

    Those of inactive programs are among them, for who is bound already; those of
    programs that the realm does not have are not.
    """
    if user.status != UserStatus.ACTIVE:
        return []
    return [
        _wanted(assignment, frozen, program, template, at=at)
        for assignment, frozen in grants.brought
        if assignment.user_id in {None, user.pk}
        for template in read_templates(frozen.templates)
        if template.gives
        and (program := grants.programs.get(template.grant.grant_program_code))
    ]


def _wanted(
    assignment: PlanAssignment,
    frozen: PlanTemplates,
    program: GrantProgram,
    template: Template,
    *,
    at: datetime,
) -> Wanted:
    start, ends = assignment.window_start, [assignment.window_end]
    seconds = template.grant.window_relative_seconds_override
    if seconds is not None:
        ends.append(seconds_after(start, seconds))
    end = min((end for end in ends if end is not None), default=None)
    # Who joins later is bound from then on, and not for the time before.
    begins = start if frozen.taken_at >= at else max(start, at)
    window = Window(begins if end is None or begins < end else start, end)
    return Wanted(assignment, program, template, window, start)


def refuse_overage(*, subject: Plan, **_: Any) -> None:
    """Refuse (`Invalid`) a plan that gives the program of overage (`plan.changed`).

    Nobody can be bound to it: whoever got the plan would be refused instead.
    """
    codes = [binding.grant_program_code for binding in grants_of_plan(subject)]
    owing = GrantProgram.objects.in_realm(subject.realm_id).filter(
        program_code__in=codes, grant_kind=LotKind.FALLBACK
    )
    for program in owing:
        raise Invalid(
            f"{program.program_code} holds what is owed; nobody can be given it.",
            field=f"metadata.grants.{codes.index(program.program_code)}"
            ".grant_program_code",
        )
