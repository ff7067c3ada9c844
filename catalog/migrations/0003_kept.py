"""What is not rewritten: codes, links and prices; and the meter of each feature."""

from django.db import migrations

from config.tenancy.operations import immutable, kept, set_once, whole


class Migration(migrations.Migration):
    dependencies = [("catalog", "0002_rules")]
    operations = [
        # Gate rows, plans of the integrator and evidence refer to things by code.
        immutable("feature_families", "realm_id, feature_family_code"),
        immutable("features", "realm_id, feature_code"),
        immutable("meters", "realm_id, meter_code"),
        immutable("feature_meters", "realm_id, feature_id, meter_id, is_primary"),
        immutable(
            "meter_prices",
            "realm_id, meter_id, window_start, unit_price_xusd, "
            "unit_price_base_xusd, unit_price_dynamic_xusd, unit_quantity_minor, "
            "unit_cost_xusd, cost_unit_quantity_minor",
        ),
        set_once("meter_prices", "window_end"),
        kept("meter_prices"),
        whole(
            "feature_has_its_primary_meter",
            """EXISTS (SELECT FROM features f WHERE f.id = subject AND NOT EXISTS (
                SELECT FROM feature_meters l
                JOIN meters m ON m.realm_id = l.realm_id AND m.id = l.meter_id
                WHERE l.realm_id = f.realm_id AND l.feature_id = f.id
                    AND l.is_primary AND m.meter_code = f.feature_code))""",
            features=("INSERT", "id"),
            feature_meters=("INSERT OR DELETE", "feature_id"),
        ),
    ]
