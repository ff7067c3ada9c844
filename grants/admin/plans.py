"""What plans give: shown on the plan's page, and brought to those who hold it."""

from datetime import datetime
from typing import Any

from django.http import HttpRequest
from unfold.decorators import display

from billing.models import Plan
from config.admin.bases import (
    ActionVariant,
    DefinitionAdmin,
    Preview,
    command,
    extend,
)
from config.kernel.audit import AuditContext
from config.kernel.clock import now
from config.kernel.money import format_xusd
from grants.admin.grant_rows import ROW_FIELDS
from grants.admin.plan_form import (
    UNDERSTOOD,
    ApplyForm,
    PlanWithGrantsForm,
    holders,
)
from grants.admin.words import counted, table
from grants.services.plan_templates import grants_of_plan

GROUP = "Grants"
SHOWN_OF_STORED = ("gives", "held_by")


@extend(Plan)
class PlanGrants(DefinitionAdmin):
    """The part of a plan's screen that is about what the plan gives."""

    form = PlanWithGrantsForm
    readonly_fields = SHOWN_OF_STORED
    fieldsets: Any = (
        (
            GROUP,
            {
                "fields": (*SHOWN_OF_STORED, *ROW_FIELDS, UNDERSTOOD),
                "description": "A program and an amount per row; rows that you do not "
                "need stay empty. Grants with further keys are listed as "
                "<code>grants</code> in “Other keys” above, instead of in rows. Who is "
                "assigned the plan is given its grants as they are then. A change "
                "reaches new holders only: who holds the plan keeps what they have, "
                "until “Apply to holders” is pressed.",
            },
        ),
    )

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return the groups; nobody holds a new plan."""
        groups: Any = super().get_fieldsets(request, obj)
        if obj is not None:
            return groups
        own = {"fields": ROW_FIELDS}
        return [
            (title, options | own if title == GROUP else options)
            for title, options in groups
        ]

    @display(description="Gives now, to new holders")
    def gives(self, plan: Plan) -> Any:
        """Return the stored grants of the plan, each with its amount.

        What a refused form says is not what the plan gives.
        """
        stored = Plan.objects.get(pk=plan.pk)
        return table(
            ("Program", "Amount per period"),
            [
                (
                    grant.grant_program_code,
                    "Nothing: it is suppressed"
                    if grant.effect == "deny"
                    else format_xusd(grant.amount_xusd or 0),
                )
                for grant in grants_of_plan(stored)
            ],
            empty="Nothing.",
        )

    @display(description="Held by")
    def held_by(self, plan: Plan) -> str:
        """Return how many assignments of it are in effect, or to come."""
        return counted(holders(plan, at=now()), "assignment")

    def preview_apply(
        self,
        _request: HttpRequest,
        _plan: Plan,
        form: ApplyForm,
        *,
        at: datetime,
        by: AuditContext,
    ) -> Preview:
        """Return who gains and who loses how much."""
        del by
        return form.preview(at=at)

    @command(
        "Apply to holders",
        form=ApplyForm,
        permission="grants.apply_plan_grants",
        icon="published_with_changes",
        variant=ActionVariant.DANGER,
        description="Brings the plan's grants, as they are now, to all who hold it, "
        "from the next grant on. What was given stays.",
        preview=preview_apply,
    )
    def apply_to_holders(
        self,
        _request: HttpRequest,
        plan: Plan,
        form: ApplyForm,
        *,
        at: datetime,
        by: AuditContext,
    ) -> str:
        """Bring the plan's grants to its holders."""
        changed = form.perform(at=at, by=by)
        return f"{counted(changed, 'assignment')} of {plan} give what the plan says."
