"""Leases remember which lots they hold on; the functions that spend by lots."""

from importlib import import_module
from pathlib import Path

import django.contrib.postgres.fields
from django.db import migrations, models

from config.tenancy.operations import sound

SQL = Path(__file__).resolve().parents[1] / "sql"
functions = import_module("gating.migrations.0005_functions")
columns, rules = import_module("gating.migrations.0015_budgets").LEASES
BEFORE = import_module("gating.migrations.0017_one_stride").BEFORE

LEASES = (
    f"{columns}, held_lots uuid[], held_amounts bigint[]",
    rules
    | {
        "gate_lease_holds_money_on_lots": (
            "cardinality(held_lots) = cardinality(held_amounts)"
            " AND (cardinality(held_lots) = 0) = (reserved_xusd = 0)"
            " AND (cardinality(held_lots) <> 1 OR held_amounts[1] = reserved_xusd)"
        ),
    },
)
# What active leases held of a balance, they hold of the lots that it became; of leases
# that ended, the columns tell how much that was, and no more.
HELD = """
UPDATE gate_leases l SET held_lots = p.o_lots, held_amounts = p.o_amounts
FROM (
    SELECT a.id, part.o_lots, part.o_amounts
    FROM (
        SELECT id, user_id, reserved_xusd,
            sum(reserved_xusd) OVER (PARTITION BY user_id ORDER BY id)
                - reserved_xusd AS before
        FROM gate_leases WHERE state = 'active' AND reserved_xusd > 0
    ) a
    JOIN (
        SELECT user_id, array_agg(id ORDER BY window_start, id) AS lots,
            array_agg(reserved_xusd ORDER BY window_start, id) AS held
        FROM grant_lots WHERE reserved_xusd > 0 GROUP BY user_id
    ) u ON u.user_id = a.user_id
    CROSS JOIN LATERAL grants_part(u.lots, u.held, a.before::bigint, a.reserved_xusd) part
) p
WHERE p.id = l.id;
UPDATE gate_leases l
SET held_lots = ARRAY[(
        SELECT g.id FROM grant_lots g WHERE g.user_id = l.user_id
        ORDER BY g.window_start, g.id LIMIT 1)],
    held_amounts = ARRAY[reserved_xusd]
WHERE state <> 'active' AND reserved_xusd > 0;
"""
# What no balance paid was told by ratings alone; settlement puts it on overage lots.
OWED = """
INSERT INTO grant_allocations (
    id, realm_id, account_id, user_id, amount_xusd, source_ref, occurred_at)
SELECT md5(id || '|owed')::uuid, realm_id, account_id, user_id,
    applied_amount_xusd - funded_xusd, 'gate_rating:' || id, rated_at
FROM gate_ratings WHERE applied_amount_xusd > funded_xusd;
"""
FUNCTIONS = (
    "admit.sql", "close.sql", "close_all.sql", "expire.sql", "authorize.sql", "book.sql",
    "commit.sql", "ingest.sql",
)  # fmt: skip


class Migration(migrations.Migration):
    dependencies = [
        ("gating", "0018_billing_mode_labels"),
        ("grants", "0007_funding_by_lots"),
    ]
    operations = [
        migrations.AddField(
            "lease",
            "held_lots",
            django.contrib.postgres.fields.ArrayField(
                models.UUIDField(), default=list, size=None
            ),
        ),
        migrations.AddField(
            "lease",
            "held_amounts",
            django.contrib.postgres.fields.ArrayField(
                models.BigIntegerField(), default=list, size=None
            ),
        ),
        migrations.RunSQL(HELD),
        migrations.RunSQL(OWED),
        migrations.RunSQL(
            """
            ALTER TABLE gate_leases DROP CONSTRAINT gate_leases_are_sound;
            DROP FUNCTION gate_leases_is_sound;
            """
        ),
        sound("gate_leases", *LEASES),
        migrations.RunSQL(BEFORE),
        migrations.RunSQL("DROP FUNCTION IF EXISTS gate_book_money;"),
        *(migrations.RunSQL((SQL / name).read_text()) for name in FUNCTIONS),
        migrations.RunSQL(functions.preflight(functions.sql("authorize.sql"))),
    ]
