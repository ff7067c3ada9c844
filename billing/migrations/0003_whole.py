"""What must agree: an assignment with its statuses, billing details with themselves."""

from django.db import migrations, models

from config.tenancy.operations import whole


def any_tax_id(path):
    return models.Func(
        models.F("tax_ids"),
        models.Value(path),
        function="jsonb_path_exists",
        output_field=models.BooleanField(),
    )


class Migration(migrations.Migration):
    dependencies = [("billing", "0002_rules")]
    operations = [
        whole(
            "plan_assignment_has_the_status_last_given",
            """EXISTS (SELECT FROM billing_plan_assignments a
                WHERE a.id = subject AND a.status IS DISTINCT FROM (
                    SELECT s.status FROM billing_plan_assignment_statuses s
                    WHERE s.realm_id = a.realm_id AND s.assignment_id = a.id
                    ORDER BY s.sequence DESC LIMIT 1))""",
            billing_plan_assignments=("INSERT OR UPDATE OF status", "id"),
            billing_plan_assignment_statuses=("INSERT", "assignment_id"),
        ),
        migrations.RemoveConstraint(
            model_name="billingdetails", name="billing_details_address_is_complete"
        ),
        migrations.AddConstraint(
            model_name="billingdetails",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("default_address__isnull", True),
                    models.Q(
                        ("default_address__contains", {}),
                        (
                            "default_address__has_keys",
                            ["line1", "city", "country_code"],
                        ),
                    ),
                    _connector="OR",
                ),
                name="billing_details_address_is_complete",
                violation_error_message="An address needs line1, city and country_code.",
            ),
        ),
        migrations.AddConstraint(
            model_name="billingdetails",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        any_tax_id(
                            '$[*] ? (!exists(@."type") || !exists(@.value)'
                            ' || @."type".type() != "string"'
                            ' || @.value.type() != "string")'
                        ),
                        _negated=True,
                    ),
                    models.Q(
                        any_tax_id('$[*].type() ? (@ != "object")'), _negated=True
                    ),
                ),
                name="billing_details_tax_ids_have_type_and_value",
                violation_error_message="A tax id is an object of type and value.",
            ),
        ),
    ]
