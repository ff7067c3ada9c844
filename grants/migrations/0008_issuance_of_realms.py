"""What realms that are there already lack: the built-in programs, and what plans bring.

What a plan assignment brings is taken now, so that a later edit of its plan changes
nothing for those who hold it.
"""

from django.db import migrations

from config.kernel.audit import Actor, AuditContext
from config.kernel.clock import now
from config.kernel.ids import new_trace_id
from config.kernel.metadata import PlanMetadata, check_metadata
from config.tenancy.history import auditing
from grants.bindings import stored_templates, templates_of

BATCH = 1_000
YEAR_SECONDS = 365 * 86_400
PROGRAMS = (
    ("one_time_xusd", "One-time credit", "once", "binding_start", "fixed", YEAR_SECONDS, 10, True, "grant"),
    ("daily_xusd", "Daily credit", "daily", "calendar_start", "period", None, 50, False, "grant"),
    ("weekly_xusd", "Weekly credit", "weekly", "calendar_start", "period", None, 50, False, "grant"),
    ("monthly_xusd", "Monthly credit", "monthly", "calendar_start", "period", None, 20, True, "grant"),
    ("period_xusd", "Credit of a billing period", "billing_period", "calendar_start", "period", None, 20, True, "grant"),
    ("quarterly_xusd", "Quarterly credit", "quarterly", "calendar_start", "period", None, 20, True, "grant"),
    ("yearly_xusd", "Yearly credit", "yearly", "calendar_start", "period", None, 50, True, "grant"),
    ("fallback-cash", "Overage", "once", "calendar_start", "forever", None, -100_000, False, "fallback"),
)
COLUMNS = (
    "program_code", "name", "cadence", "issue_anchor", "window_kind",
    "window_default_seconds", "priority", "on_ledger", "grant_kind",
)
METADATA = {"monthly_xusd": {"expiry_policy": "forfeit"}}


def give(apps, schema_editor):
    at = now()
    by = AuditContext(
        actor=Actor("system", "migration"),
        operator="Plangate",
        reason="Every realm has the built-in grant programs.",
        ticket_id="0008_issuance_of_realms",
        effective_at=at,
        trace_id=new_trace_id(),
    )
    program = apps.get_model("grants", "GrantProgram")
    rows = [
        program(
            realm_id=realm_id,
            metadata=METADATA.get(terms[0], {}),
            **dict(zip(COLUMNS, terms, strict=True)),
        )
        for realm_id in apps.get_model("tenancy", "Realm").objects.values_list("pk", flat=True)
        for terms in PROGRAMS
    ]
    with auditing(by, at=at):
        program.objects.bulk_create(rows, BATCH, ignore_conflicts=True)
    freeze(apps, at)


def freeze(apps, at):
    templates = apps.get_model("grants", "PlanTemplates")
    brought = {}
    for plan in apps.get_model("billing", "Plan").objects.filter(active=True):
        known = check_metadata(PlanMetadata, plan.metadata).known
        brought[plan.pk] = stored_templates(templates_of(known.grants))
    assignments = apps.get_model("billing", "PlanAssignment").objects
    rows = (
        templates(
            plan_assignment_id=pk, realm_id=realm, templates=brought[plan], taken_at=at
        )
        for pk, realm, plan in assignments.values_list("pk", "realm_id", "plan_id").iterator()
        if plan in brought
    )
    templates.objects.bulk_create(rows, BATCH, ignore_conflicts=True)


class Migration(migrations.Migration):
    dependencies = [("grants", "0008_issuance")]
    operations = [migrations.RunPython(give, migrations.RunPython.noop)]
