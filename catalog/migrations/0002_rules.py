"""What the tables of this app refuse, whoever writes."""

from django.db import migrations

from config.tenancy.operations import audited, same_realm


class Migration(migrations.Migration):
    dependencies = [("catalog", "0001_initial")]
    operations = [
        same_realm("features", "feature_family_id", "feature_families"),
        same_realm("feature_meters", "feature_id", "features"),
        same_realm("feature_meters", "meter_id", "meters"),
        same_realm("meter_prices", "meter_id", "meters"),
        audited("feature_families"),
        audited("features"),
        audited("meters"),
        audited("feature_meters"),
        audited("meter_prices"),
    ]
